//! Random and mutated bytes: whatever comes, the server answers or closes, and goes on serving.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use gateway_core::{Body, Error, Host, Request, Response};
use gateway_http::Server;
use gateway_tests::{PATIENCE, Serving, on_every_host};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

on_every_host!(2: any_bytes_get_an_answer_or_a_close);

/// Requests to mutate: each is in order as it stands.
const WELL_FORMED: [&[u8]; 4] = [
    b"GET /a HTTP/1.1\r\nhost: t\r\n\r\n",
    b"POST /b HTTP/1.1\r\nhost: t\r\ncontent-length: 3\r\n\r\nabc",
    b"POST /c HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
];

/// A well-formed request with some bytes replaced, or bytes without any sense.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let mutated = (0..WELL_FORMED.len(), vec((any::<prop::sample::Index>(), any::<u8>()), 0..6));
    let mutated = mutated.prop_map(|(which, changes)| {
        let mut bytes = WELL_FORMED[which].to_vec();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        bytes
    });
    prop_oneof![3 => mutated, 1 => vec(any::<u8>(), 0..400)]
}

fn any_bytes_get_an_answer_or_a_close(host: impl Host + Send + 'static) {
    let app = async |request: Request| -> Result<Response, Error> {
        Ok(Response::new(Body::from(request.into_body().collect(10_000).await?)))
    };
    let serving = Serving::start(host, Server::new(app));
    let config = Config { cases: 150, failure_persistence: None, ..Config::default() };
    let tried = TestRunner::new(config).run(&bytes(), |bytes| {
        let mut client = TcpStream::connect(serving.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        // The server may close before it has read everything.
        let _ = client.write_all(&bytes);
        let _ = client.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        match client.read_to_end(&mut answer) {
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => {
                Err(TestCaseError::fail(format!("neither an answer nor a close: {error}")))
            }
            _ => Ok(()),
        }
    });
    tried.unwrap();
    assert_eq!(serving.get("/").status, 200);
}
