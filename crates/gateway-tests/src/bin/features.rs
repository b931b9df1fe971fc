//! The application of `features.rs` as a program: CGI, or with an argument SCGI or `tiny_http`.
//!
//! A server says on standard output where it listens, and stops when its standard input ends.

use std::env;
use std::error::Error;
use std::io::{self, Read};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::thread;

use gateway_cgi::Scgi;
use gateway_tests::features;
use tiny_http::Server;

/// How many requests `tiny_http` has in hand at once.
const THREADS: usize = 4;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let served = match arguments[..] {
        // A query without `=` is passed as arguments as well: RFC 3875, section 4.4.
        _ if env::var_os("GATEWAY_INTERFACE").is_some() => return gateway_cgi::main(features::app),
        [] => return gateway_cgi::main(features::app),
        ["scgi", path] => scgi(path),
        ["tiny-http"] => tiny_http(),
        _ => Err("scgi PATH, scgi -, tiny-http, or nothing for CGI".into()),
    };
    served.map_or_else(
        |error| {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

type Served = Result<(), Box<dyn Error + Send + Sync>>;

/// On a Unix socket, or on a port.
fn scgi(path: &str) -> Served {
    let scgi = if path == "-" {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        println!("{}", listener.local_addr()?);
        Scgi::new(listener)?
    } else {
        let listener = UnixListener::bind(path)?;
        println!("{path}");
        Scgi::new(listener)?
    };
    let stop = scgi.stop();
    at_the_end_of_input(move || stop.stop());
    Ok(scgi.serve(features::app)?)
}

fn tiny_http() -> Served {
    let server = Server::http("127.0.0.1:0")?;
    println!("{}", server.server_addr());
    thread::scope(|scope| {
        scope.spawn(|| {
            wait();
            server.unblock();
        });
        Ok(gateway_tiny_http::serve(&server, THREADS, features::app)?)
    })
}

fn at_the_end_of_input(stop: impl FnOnce() + Send + 'static) {
    thread::spawn(|| {
        wait();
        stop();
    });
}

fn wait() {
    let _ = io::stdin().read(&mut [0]);
}
