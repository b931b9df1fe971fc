//! The portable application as a CGI program: `docs/guide-foreign-servers.md` has a server for it.

use std::process::ExitCode;

use gateway_examples::Portable;

fn main() -> ExitCode {
    gateway_cgi::main(Portable::alone("CGI"))
}
