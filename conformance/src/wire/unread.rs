//! What a program has not read yet: asked of Linux for the one socket (`sock_diag(7)`), which takes as
//! long on a machine with a hundred thousand others.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, sendto,
    socket_with,
};

/// The kinds of messages: `NLMSG_ERROR`, `SOCK_DIAG_BY_FAMILY`; and `NLM_F_REQUEST`.
const ERROR: u16 = 2;
const BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;

/// The lengths of `nlmsghdr`, `inet_diag_req_v2` and `inet_diag_msg`, in bytes.
const HEADER: usize = 16;
const QUESTION: usize = 56;
const ANSWER: usize = 72;

/// Where the two queues are in an `inet_diag_msg`.
const QUEUES: usize = 56;

/// How many bytes the socket at `from`, connected to `to`, has received and nobody has read, and how
/// many it has sent and the other end has not acknowledged.
///
/// # Errors
///
/// The system's: not found, when there is no such socket on this machine.
pub(super) fn queues(from: SocketAddr, to: SocketAddr) -> io::Result<(u32, u32)> {
    let mut question = Vec::with_capacity(HEADER + QUESTION);
    question.extend(((HEADER + QUESTION) as u32).to_ne_bytes());
    question.extend([BY_FAMILY, REQUEST].map(u16::to_ne_bytes).as_flattened());
    // A sequence number, and a port that the system fills in.
    question.extend([1_u32, 0].map(u32::to_ne_bytes).as_flattened());
    let family = if from.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    question.extend([family.as_raw() as u8, ipproto::TCP.as_raw().get() as u8, 0, 0]);
    // In whatever state it is.
    question.extend(u32::MAX.to_ne_bytes());
    question.extend([from, to].map(|end| end.port().to_be_bytes()).as_flattened());
    for end in [from, to] {
        let mut address = [0; 16];
        match end.ip() {
            IpAddr::V4(ip) => address[..4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => address = ip.octets(),
        }
        question.extend(address);
    }
    // On any interface, with any cookie.
    question.extend([0, u32::MAX, u32::MAX].map(u32::to_ne_bytes).as_flattened());

    let flags = SocketFlags::CLOEXEC;
    let asked = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(SOCK_DIAG))?;
    sendto(&asked, &question, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 1024];
    let (length, _) = recv(&asked, &mut answer, RecvFlags::empty())?;
    let word = |at: usize| answer[at..].first_chunk().map_or(0, |word| u32::from_ne_bytes(*word));
    match u16::from_ne_bytes([answer[4], answer[5]]) {
        BY_FAMILY if length >= HEADER + ANSWER => {
            Ok((word(HEADER + QUEUES), word(HEADER + QUEUES + 4)))
        }
        // The error's number is below zero.
        ERROR => Err(io::Error::from_raw_os_error((word(HEADER) as i32).wrapping_neg())),
        kind => Err(io::Error::other(format!("an answer of the kind {kind}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn what_has_come_is_unread_until_it_is_read() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut server, peer) = listener.accept().unwrap();
            let ours = server.local_addr().unwrap();
            assert_eq!(queues(ours, peer).unwrap(), (0, 0));
            client.write_all(b"hello").unwrap();
            assert_eq!(queues(ours, peer).unwrap(), (5, 0));
            server.read_exact(&mut [0; 2]).unwrap();
            assert_eq!(queues(ours, peer).unwrap(), (3, 0));
            drop((client, server, listener));
            let gone = queues(ours, SocketAddr::new(peer.ip(), 9)).unwrap_err();
            assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        }
    }
}
