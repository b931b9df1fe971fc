//! Apps under servers that are not ours: as a CGI/1.1 program (RFC 3875), and as an SCGI server.
//!
//! ```no_run
//! use gateway_core::{Body, Request, Response};
//! use std::process::ExitCode;
//!
//! async fn hello(request: Request) -> Response {
//!     Response::new(Body::from(format!("hello, {}", request.uri().path())))
//! }
//!
//! fn main() -> ExitCode {
//!     gateway_cgi::main(hello)
//! }
//! ```
//!
//! Both run the app through [`gateway_blocking::decorate`], so all that is said there holds here.
//! `docs/guide-foreign-servers.md` has configurations of lighttpd and nginx.
//!
//! | file | what it holds |
//! |---|---|
//! | `variables.rs` | `Variables`: what a server says of a request, and the request made of it |
//! | `answer.rs` | a response on its way back, written chunk by chunk |
//! | `program.rs` | `main`: one request, from the environment and standard input |
//! | `scgi.rs` | `Scgi`: many requests, from a socket |

#![forbid(unsafe_code)]

mod answer;
mod program;
mod scgi;
mod variables;

pub use program::main;
pub use scgi::{HEAD_BYTES, LINGER, SILENCE, Scgi, Stop, THREADS};
pub use variables::Variables;
