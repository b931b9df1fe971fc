//! The probe application of the conformance suite on any host: `probe --host smol --bind ADDRESS`.

use std::process::ExitCode;

fn main() -> ExitCode {
    gateway_launch::main(gateway_conformance::probe::app())
}
