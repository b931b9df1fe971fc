//! The portable application on one host: `cargo run -p gateway-examples -- --host smol`.

use std::process::ExitCode;

use gateway_examples::Portable;
use gateway_examples::guestbook::{Guestbook, Options};
use gateway_examples::postgres::Bounds;

fn main() -> ExitCode {
    gateway_launch::launch_with(|options: Options| {
        let guestbook = Guestbook::new(&options, Bounds::default())?;
        Ok(Portable::alone("this host").with(guestbook).server())
    })
}
