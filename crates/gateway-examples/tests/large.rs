//! A gigabyte either way, through a server that holds none of it.

#[macro_use]
mod child;

use std::io::{BufRead, Read, Write};
use std::time::Instant;

use child::{Program, Served, ask, request};
use gateway_tests::{Client, PATIENCE};

on_each_host!(a_gigabyte_uploaded_is_not_held, a_gigabyte_streamed_to_a_slow_reader_is_not_held,);

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The SHA-256 of a gigabyte of zeros.
const ZEROS: &str = "49bc20df15e412a64472421e13fe86ff1c5165e18b2afccf160d4dc19fe68a14";

/// How much more the server may ever have held than before.
const HELD: u64 = 64 * MIB;

fn a_gigabyte_uploaded_is_not_held(host: &str) {
    let served = Served::start(host, &[]);
    let mut client = served.connect();
    upload(&mut client, 1);
    let before = served.program.peak();

    let answer = upload(&mut client, GIB / MIB);

    assert_eq!(answer, format!(r#"{{"bytes":{GIB},"sha256":"{ZEROS}"}}"#));
    assert_held_little(&served.program, before);
}

fn a_gigabyte_streamed_to_a_slow_reader_is_not_held(host: &str) {
    let served = Served::start(host, &[]);
    let mut watcher = served.connect();
    assert_eq!(ask(&mut watcher, "/stream?bytes=1048576").body.len() as u64, MIB);
    let before = served.program.peak();
    let mut reader = served.connect();
    reader.send(request(&format!("/stream?bytes={GIB}")));
    while !reader.line().expect("a whole head").is_empty() {}
    let mut received = 0;
    while received < MIB {
        received += chunk(&mut reader).expect("not the end");
    }

    wait_until_at_rest(&served.program, &mut watcher);
    assert_held_little(&served.program, before);
    while let Some(more) = chunk(&mut reader) {
        received += more;
    }

    assert_eq!(received, GIB);
    assert_held_little(&served.program, before);
    assert_eq!(ask(&mut reader, "/hello").status, 200, "the framing was exact");
}

/// Uploads so many MiB of zeros. Gives the answer's text.
fn upload(client: &mut Client, mib: u64) -> String {
    let bytes = mib * MIB;
    client.send(format!("POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: {bytes}\r\n\r\n"));
    let zeros = vec![0; MIB as usize];
    for _ in 0..mib {
        client.stream.get_mut().write_all(&zeros).expect("the server goes on reading");
    }
    client.answer().text()
}

/// Reads a chunk of a chunked body. Gives its size, or nothing for the last one.
fn chunk(client: &mut Client) -> Option<u64> {
    let line = client.line().expect("a chunk's size");
    let size = u64::from_str_radix(&line, 16).expect("a size");
    let mut data = client.stream.by_ref().take(size);
    while data.limit() > 0 {
        let read = data.fill_buf().expect("the chunk's data").len();
        assert!(read > 0, "the body was cut off");
        data.consume(read);
    }
    assert_eq!(client.line().as_deref(), Some(""), "a chunk's end, or the body's");
    (size > 0).then_some(size)
}

/// Waits until the server makes no more of the body: five looks in a row, a tenth of a second apart
/// by the server's own clock, find that it has used hardly any time and not grown.
fn wait_until_at_rest(program: &Program, watcher: &mut Client) {
    let started = Instant::now();
    let mut quiet = 0;
    while quiet < 5 {
        assert!(started.elapsed() < PATIENCE, "it goes on, with nobody to read it");
        let (time, memory) = (program.processor(), program.resident());
        assert_eq!(ask(watcher, "/sleep?ms=100").status, 200);
        let busy = (program.processor() - time).as_millis() > 10;
        let grows = program.resident().saturating_sub(memory) > MIB / 2;
        quiet = if busy || grows { 0 } else { quiet + 1 };
    }
}

fn assert_held_little(program: &Program, before: u64) {
    let grown = program.peak() - before;
    println!("held at most {} KiB more than before", grown / 1024);
    assert!(grown < HELD, "it held {grown} bytes more than before");
}
