//! The portable application as an SCGI server on port 4000; a signal ends it when the requests in
//! hand have been answered.

use std::io::{self, Read};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::thread;

use gateway_cgi::Scgi;
use gateway_examples::Portable;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

fn main() -> io::Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let scgi = Scgi::new(TcpListener::bind("127.0.0.1:4000")?)?;
    let (mut signals, signalled) = UnixStream::pair()?;
    pipe::register(SIGINT, signalled.try_clone()?)?;
    pipe::register(SIGTERM, signalled)?;
    let stop = scgi.stop();
    thread::spawn(move || {
        let _ = signals.read(&mut [0]);
        stop.stop();
    });
    scgi.serve(Portable::alone("SCGI"))
}
