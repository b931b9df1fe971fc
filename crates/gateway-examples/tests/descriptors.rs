//! Out of descriptors, a server rests, says so once, and recovers.

#[macro_use]
mod child;

use std::time::Instant;

use child::{EXAMPLES, Served, ask, command, request};
use gateway_tests::Client;

on_each_host!(out_of_descriptors_it_rests_says_so_once_and_recovers);

/// How many descriptors the server may have.
const DESCRIPTORS: &str = "64";

/// How many connections are opened: more than there are descriptors.
const CONNECTIONS: usize = 100;

fn out_of_descriptors_it_rests_says_so_once_and_recovers(host: &str) {
    let mut limited = command("sh");
    limited.args(["-c", &format!(r#"ulimit -n {DESCRIPTORS}; exec "$0" "$@""#), EXAMPLES]);
    let served = Served::from(limited.args(["--host", host, "--bind", "127.0.0.1:0"]));
    let mut accepted = served.connect();
    assert_eq!(ask(&mut accepted, "/hello").status, 200);
    let mut held: Vec<Client> = (1..CONNECTIONS).map(|_| served.connect()).collect();
    for client in &mut held {
        client.send(request("/hello"));
    }

    served.program.complaint("cannot accept, resting");
    assert_eq!(ask(&mut accepted, "/sleep?ms=100").status, 200, "who is in is still served");
    let (started, used) = (Instant::now(), served.program.processor());
    assert_eq!(ask(&mut accepted, "/sleep?ms=2000").status, 200);
    let (took, used) = (started.elapsed(), served.program.processor() - used);
    println!("used {used:?} of {took:?}");
    assert!(used < took / 20, "it spins: {used:?} of {took:?}");
    assert_eq!(served.program.complaints(), [""; 0], "once is enough");

    drop((accepted, held));
    for _ in 0..10 {
        assert_eq!(served.get("/hello").text(), "Hello, World!");
    }
}
