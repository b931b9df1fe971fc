//! The portable application on one host: `cargo run -p gateway-examples -- --host smol`.

use std::process::ExitCode;

use gateway_examples::Portable;

fn main() -> ExitCode {
    gateway_launch::main(Portable::alone("this host"))
}
