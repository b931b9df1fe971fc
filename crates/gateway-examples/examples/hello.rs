//! The smallest application: `cargo run --example hello -- --host smol`.

use std::process::ExitCode;

use gateway_core::{Body, Request, Response};

async fn hello(request: Request) -> Response {
    Response::new(Body::from(format!("hello, {}\n", request.uri().path())))
}

fn main() -> ExitCode {
    gateway_launch::main(hello)
}
