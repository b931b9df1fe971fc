//! The PROXY protocol, versions 1 and 2: a proxy in front says whose connection it passes on.
//!
//! The header comes before everything else, TLS included, and is believed of trusted peers alone:
//! from anybody else it would be a way to pass for another client. Its bytes are looked at before
//! they are taken, so that not one behind its end is. The parsing is a library's. Source: HAProxy's
//! specification, proxy-protocol.txt.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::str::FromStr;

use gateway_net::{Any, Stream};
use hyper::rt::{Read, ReadBuf};
use ipnet::IpNet;
use ppp::{v1, v2};

/// The longest PROXY header that is read, in bytes, with everything that version 2 may add behind
/// the addresses. A connection with a longer one is closed.
pub const PROXY_BYTES: usize = 4096;

/// The longest header of version 1, in bytes, as specified.
const V1_BYTES: usize = 107;

/// What a header of version 1 begins with.
pub(crate) const V1: &[u8; 6] = b"PROXY ";

/// What a header of version 2 begins with.
pub(crate) const V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Proxies whose PROXY headers are believed, and without one they are not heard.
///
/// Made from a list of networks, addresses, and `unix` for peers on Unix sockets:
///
/// ```
/// use gateway_http::Proxies;
///
/// let proxies: Proxies = "10.0.0.0/8, ::1, unix".parse()?;
/// assert_eq!(proxies.to_string(), "10.0.0.0/8,::1/128,unix");
/// assert!("10.0.0.0/33".parse::<Proxies>().is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxies {
    networks: Vec<IpNet>,
    unix: bool,
}

impl Proxies {
    /// Whether a peer is one of them. A peer without an address is on a Unix socket.
    pub(crate) fn contain(&self, peer: Option<SocketAddr>) -> bool {
        // A listener of both families shows IPv4 addresses in the form of IPv6.
        let within = |ip: IpAddr| self.networks.iter().any(|network| network.contains(&ip));
        peer.map_or(self.unix, |peer| within(peer.ip().to_canonical()))
    }
}

impl FromStr for Proxies {
    type Err = io::Error;

    fn from_str(list: &str) -> io::Result<Proxies> {
        let mut proxies = Proxies { networks: Vec::new(), unix: false };
        for item in list.split(',').map(str::trim) {
            let network = item.parse().or_else(|_| item.parse().map(|ip: IpAddr| ip.into()));
            match network {
                Ok(network) => proxies.networks.push(network),
                Err(_) if item == "unix" => proxies.unix = true,
                Err(_) => {
                    let message = format!(
                        "`{item}` is no network such as 10.0.0.0/8, no address, and not unix"
                    );
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
                }
            }
        }
        Ok(proxies)
    }
}

impl std::fmt::Display for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unix = self.unix.then(|| "unix".to_owned());
        let items: Vec<_> = self.networks.iter().map(IpNet::to_string).chain(unix).collect();
        f.write_str(&items.join(","))
    }
}

/// Reads a header, and nothing behind it. Gives the client's address; nothing when the proxy speaks
/// for itself (`LOCAL`) or does not know (`UNKNOWN`).
///
/// # Errors
///
/// `UnexpectedEof` when the peer closes first, `InvalidData` when it sends something else.
pub(crate) async fn read(stream: &mut Stream<Any>) -> io::Result<Option<SocketAddr>> {
    let mut header = vec![0; PROXY_BYTES];
    let mut taken = 0;
    loop {
        let rest = &mut header[taken..];
        let seen = std::future::poll_fn(|cx| stream.poll_peek(cx, rest)).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = end(&header[..taken + seen])?;
        let take = end.map_or(taken + seen, |end| end.min(taken + seen));
        let mut buf = ReadBuf::new(&mut header[taken..take]);
        while buf.filled().len() < take - taken {
            let before = buf.filled().len();
            std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, buf.unfilled())).await?;
            if buf.filled().len() == before {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        taken = take;
        if end == Some(taken) {
            return parse(&header[..taken]);
        }
    }
}

/// Where the header ends that begins with these bytes; nothing as long as they do not tell.
fn end(seen: &[u8]) -> io::Result<Option<usize>> {
    let begins = |opening: &[u8]| opening.iter().zip(seen).all(|(expected, byte)| expected == byte);
    if begins(V2) {
        return match seen {
            [_, _, _, _, _, _, _, _, _, _, _, _, _, _, high, low, ..] => {
                let end = 16 + usize::from(u16::from_be_bytes([*high, *low]));
                if end <= PROXY_BYTES { Ok(Some(end)) } else { Err(malformed("it is too long")) }
            }
            _ => Ok(None),
        };
    }
    if !begins(V1) {
        return Err(malformed("there is none"));
    }
    let line = &seen[..seen.len().min(V1_BYTES)];
    match line.iter().position(|byte| *byte == b'\n') {
        Some(newline) => Ok(Some(newline + 1)),
        None if line.len() == V1_BYTES => Err(malformed("it is too long")),
        None => Ok(None),
    }
}

/// Parses a whole header.
fn parse(header: &[u8]) -> io::Result<Option<SocketAddr>> {
    if header.starts_with(V1) {
        let header = v1::Header::try_from(header).map_err(malformed)?;
        return Ok(match header.addresses {
            v1::Addresses::Tcp4(ip) => Some((ip.source_address, ip.source_port).into()),
            v1::Addresses::Tcp6(ip) => Some((ip.source_address, ip.source_port).into()),
            v1::Addresses::Unknown => None,
        });
    }
    let header = v2::Header::try_from(header).map_err(malformed)?;
    Ok(match (header.command, header.addresses) {
        (v2::Command::Local, _) => None,
        (_, v2::Addresses::IPv4(ip)) => Some((ip.source_address, ip.source_port).into()),
        (_, v2::Addresses::IPv6(ip)) => Some((ip.source_address, ip.source_port).into()),
        (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
    })
}

fn malformed(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, addresses: &[u8], beyond: usize) -> Vec<u8> {
        let length = (addresses.len() + beyond) as u16;
        let rest = vec![0xee; beyond];
        [&V2[..], &[command, family], &length.to_be_bytes(), addresses, &rest].concat()
    }

    /// What comes of bytes, where they are a whole header.
    fn read(bytes: &[u8]) -> Option<Option<SocketAddr>> {
        match end(bytes) {
            Ok(Some(end)) if end <= bytes.len() => parse(&bytes[..end]).ok(),
            _ => None,
        }
    }

    #[test]
    fn a_header_says_whose_connection_it_is() {
        let client = Some(Some("192.0.2.7:4711".parse().unwrap()));
        let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 0, 80];
        assert_eq!(read(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\nGET /"), client);
        assert_eq!(read(&v2(0x21, 0x11, &addresses, 0)), client);
        assert_eq!(read(&v2(0x21, 0x11, &addresses, PROXY_BYTES - 28)), client);
        let client = Some(Some("[2001:db8::7]:1".parse().unwrap()));
        assert_eq!(read(b"PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n"), client);
        let mut addresses = [0; 36];
        addresses[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        (addresses[15], addresses[33]) = (7, 1);
        assert_eq!(read(&v2(0x21, 0x21, &addresses, 0)), client);
    }

    #[test]
    fn a_proxy_that_speaks_for_itself_names_nobody() {
        for header in [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN 1.2.3.4 5.6.7.8 1 2\r\n"] {
            assert_eq!(read(header), Some(None));
        }
        for (command, family, addresses) in
            [(0x20, 0, 0), (0x20, 0x11, 12), (0x21, 0, 9), (0x21, 0x31, 216)]
        {
            let header = v2(command, family, &vec![1; addresses], 3);
            assert_eq!(read(&header), Some(None), "{command:x} {family:x}");
        }
    }

    #[test]
    fn what_is_malformed_is_no_header() {
        let long = [b"PROXY UNKNOWN ", &[b'x'; 200][..], b"\r\n"].concat();
        let lines: [&[u8]; 12] = [
            b"GET / HTTP/1.1\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01",
            b"PROXY\r\n",
            b"PROXYTCP4 1.2.3.4 5.6.7.8 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 70000\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
            b"PROXY TCP4 ::1 ::2 1 2\r\n",
            b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
            b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
            &long,
        ];
        for line in lines {
            assert_eq!(read(line), None, "{}", line.escape_ascii());
        }
        let addresses = [1; 12];
        for (command, family, addresses, beyond) in [
            (0x11, 0x11, &addresses[..], 0),
            (0x22, 0x11, &addresses, 0),
            (0x21, 0x41, &addresses, 0),
            (0x21, 0x13, &addresses, 0),
            (0x21, 0x11, &addresses[1..], 0),
            (0x21, 0x11, &addresses, PROXY_BYTES),
        ] {
            let header = v2(command, family, addresses, beyond);
            assert_eq!(read(&header), None, "{command:x} {family:x} {beyond}");
        }
    }

    #[test]
    fn no_beginning_of_a_header_is_taken_for_a_whole_one_or_for_none() {
        let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 0, 80];
        let headers = [
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n".to_vec(),
            v2(0x21, 0x11, &addresses, 9),
        ];
        for header in headers {
            for cut in 1..header.len() {
                let end = end(&header[..cut]).unwrap();
                assert!(end.is_none_or(|end| end == header.len()), "{cut}");
            }
        }
    }

    #[test]
    fn addresses_of_either_form_are_in_their_network() {
        let proxies: Proxies = "10.0.0.0/8,2001:db8::/32".parse().unwrap();
        let contain = |peer: &str| proxies.contain(Some(peer.parse().unwrap()));
        assert!(
            contain("10.1.2.3:4") && contain("[::ffff:10.1.2.3]:4") && contain("[2001:db8::1]:4")
        );
        assert!(!contain("11.1.2.3:4") && !contain("[::1]:4") && !proxies.contain(None));
    }
}
