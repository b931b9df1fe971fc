//! Finding a server by its URL, and finding out what it offers.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};

use crate::wire::{Declared, Patience, Probe, Received, Session, Stop, Target};

/// The first bytes of HTTP/2 with prior knowledge: the preface, and empty SETTINGS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The first line of the probe application at `/probe`.
const PROBE: &str = "gateway-conformance probe 1";

/// What a URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name or address, without brackets.
    pub host: String,
    /// The port: 80 where none is given.
    pub port: u16,
    /// Host and port as they stand in the URL.
    pub authority: String,
    /// What of the URL goes unused.
    pub unused: Option<String>,
}

impl Place {
    /// Reads a URL like `http://127.0.0.1:8000`.
    ///
    /// # Errors
    ///
    /// When it is none, or not of HTTP over a plain connection.
    pub fn parse(url: &str) -> Result<Place, String> {
        let bad = |why: &str| format!("`{url}` {why}; write a URL like http://127.0.0.1:8000");
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(bad("has no scheme"));
        };
        if scheme.eq_ignore_ascii_case("https") {
            return Err("https is not checked yet; name the server's plain port, http://...".into());
        }
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(bad("is not of the scheme http"));
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(bad("has a user's name in it"));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(|| bad("has a [ without a ]"))?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => 80,
            Some(digits) if digits.bytes().all(|it| it.is_ascii_digit()) => {
                digits.parse().map_err(|_| bad("has no port that can be"))?
            }
            _ => return Err(bad("has no port that can be")),
        };
        if host.is_empty() || host.contains(|it: char| it.is_whitespace() || it.is_control()) {
            return Err(bad("has no host"));
        }
        let unused = (!matches!(path, "" | "/")).then(|| path.to_owned());
        Ok(Place { host: host.to_owned(), port, authority: authority.to_owned(), unused })
    }

    /// The first of the host's addresses that takes a connection.
    ///
    /// # Errors
    ///
    /// When the name is unknown, or nothing listens there: with what to do.
    pub fn find(&self, patience: Patience) -> Result<SocketAddr, String> {
        let addresses: Vec<SocketAddr> = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|error| format!("cannot resolve `{}`: {error}", self.host))?
            .collect();
        let mut last = "the name has no address".to_owned();
        for address in addresses {
            match TcpStream::connect_timeout(&address, patience.signal) {
                Ok(_) => return Ok(address),
                Err(error) => last = error.to_string(),
            }
        }
        Err(format!(
            "nothing takes connections at {} ({last}); start the server first, or let the suite \
             start it with --exec \"command {{port}}\"",
            self.authority
        ))
    }
}

/// Looks at the server: whether it speaks HTTP/1.1, whether it runs the probe application, and
/// whether it speaks HTTP/2 with prior knowledge.
///
/// # Errors
///
/// When what answers is no HTTP server: with what came, and what to do.
pub fn look(
    address: SocketAddr,
    authority: String,
    patience: Patience,
    declared: Declared,
) -> Result<Target, String> {
    let mut target = Target {
        address,
        authority,
        patience,
        probe: None,
        http2: false,
        declared,
        launcher: None,
        instance: None,
    };
    speaks_http(&target)?;
    target.probe = probe(&target);
    target.http2 = speaks_http2(&target);
    Ok(target)
}

fn speaks_http(target: &Target) -> Result<(), String> {
    let mut session = Session::new(target);
    let why = match session.ask(session.request("GET", "/", "Connection: close\r\n")) {
        Ok(Received::Response(_)) => return Ok(()),
        Ok(Received::Nothing) => {
            format!("has not answered `GET /` within {:?}; is it busy?", target.patience.signal)
        }
        Ok(Received::Malformed(what)) if what.contains(r"\x15\x03") => {
            "speaks TLS; name its plain port".to_owned()
        }
        Ok(other) => format!("gave {other} to `GET /`; is this the port of an HTTP server?"),
        Err(Stop::Error(text)) => text,
        Err(other) => format!("{other:?}"),
    };
    Err(format!("what listens at {} {why}", target.authority))
}

fn probe(target: &Target) -> Option<Probe> {
    let mut session = Session::new(target);
    let response = session.get("/probe").ok()?;
    let text = response.text();
    let mut lines = text.lines();
    if lines.next()?.trim_end() != PROBE {
        return None;
    }
    let features = lines.next()?.strip_prefix("features:")?;
    let features: BTreeSet<String> = features.split_whitespace().map(str::to_owned).collect();
    Some(Probe { features })
}

/// Whether the answer to the preface is a SETTINGS frame on stream 0.
fn speaks_http2(target: &Target) -> bool {
    let mut session = Session::new(target);
    let Ok(mut client) = session.connect() else { return false };
    client.send(PREFACE);
    let frame = client.bytes(9, target.patience.signal);
    matches!(frame[..], [_, _, length, 4, 0, 0, 0, 0, 0] if length % 6 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_taken_apart() {
        let cases = [
            ("http://127.0.0.1:8000", "127.0.0.1", 8000, None),
            ("HTTP://localhost", "localhost", 80, None),
            ("http://[::1]:81/", "::1", 81, None),
            ("http://a:1/b?c", "a", 1, Some("/b?c")),
        ];
        for (url, host, port, unused) in cases {
            let place = Place::parse(url).unwrap();
            let seen = (place.host.as_str(), place.port, place.unused.as_deref());
            assert_eq!(seen, (host, port, unused), "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_an_error_that_shows_one() {
        for url in [
            "127.0.0.1:8000",
            "ftp://a",
            "http://",
            "http://:1",
            "http://a:b",
            "http://a:70000",
            "http://[::1",
            "http://a@b",
            "http://a:+1",
        ] {
            let error = Place::parse(url).unwrap_err();
            assert!(error.contains("http://127.0.0.1:8000") && error.contains(url), "{error}");
        }
        assert!(Place::parse("https://a").unwrap_err().contains("not checked yet"));
    }
}
