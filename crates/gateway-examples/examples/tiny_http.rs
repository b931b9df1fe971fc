//! The portable application on `tiny_http`, at port 8080: three lines, and its whole server.

use std::error::Error;

use gateway_examples::Portable;

/// How many requests are in hand at once.
const THREADS: usize = 16;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let server = tiny_http::Server::http("127.0.0.1:8080")?;
    println!("listening on http://{}", server.server_addr());
    gateway_tiny_http::serve(&server, THREADS, Portable::alone("tiny_http"))?;
    Ok(())
}
