//! Signals as bytes on a portable socket, so that every host can wait for them.

use std::io;
use std::os::unix::net::UnixStream as Pair;
use std::pin::Pin;

use gateway_net::UnixStream;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// Signals of one meaning, from now on.
pub(crate) struct Signals(UnixStream);

impl Signals {
    /// SIGTERM and SIGINT.
    pub(crate) fn to_end() -> io::Result<Signals> {
        Signals::new(&[SIGTERM, SIGINT])
    }

    /// SIGHUP.
    pub(crate) fn to_reload() -> io::Result<Signals> {
        Signals::new(&[SIGHUP])
    }

    fn new(signals: &[i32]) -> io::Result<Signals> {
        let (read, write) = Pair::pair()?;
        for signal in signals {
            pipe::register(*signal, write.try_clone()?)?;
        }
        Ok(Signals(read.try_into()?))
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> io::Result<()> {
        use hyper::rt::{Read, ReadBuf};
        let mut byte = [0];
        let mut byte = ReadBuf::new(&mut byte);
        std::future::poll_fn(|cx| Pin::new(&mut self.0).poll_read(cx, byte.unfilled())).await
    }
}
