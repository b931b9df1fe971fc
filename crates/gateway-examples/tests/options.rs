//! The application's own options, beside the launcher's, and what it says where they are wrong.

#[macro_use]
mod child;

use std::io::ErrorKind;
use std::net::TcpListener;

use child::{EXAMPLES, Program, Served, command};
use gateway_examples::local::{Kind, Service};
use gateway_tests::eventually;

on_each_host!(
    help_lists_them,
    a_url_that_is_none_is_one_sentence_and_code_2,
    a_database_that_is_away_at_the_start_is_one_sentence_and_code_1,
    without_a_database_the_guestbook_says_how_to_start_with_one,
    what_becomes_of_the_cache_is_logged_once,
);

fn run(host: &str, flags: &[&str]) -> child::End {
    let mut command = command(EXAMPLES);
    Program::start(command.args(["--host", host, "--bind", "127.0.0.1:0"]).args(flags)).end()
}

fn help_lists_them(host: &str) {
    let end = run(host, &["--help"]);
    assert_eq!(end.code, Some(0));
    let help = end.out.join("\n");
    let (before, own) = help.split_once("\nGuestbook:\n").expect("they have a heading");
    assert!(before.contains("--bind") && !before.contains("--redis"), "{help}");
    assert!(own.contains("--postgres <URL>") && own.contains("[env: REDIS_URL]"), "{help}");
}

fn a_url_that_is_none_is_one_sentence_and_code_2(host: &str) {
    let redis = ["--postgres", "postgres://me@localhost/a", "--redis", "http://localhost"];
    let trust = ["--postgres", "postgres://me@localhost/a", "--trust", "Cargo.toml"];
    let cases: [(&[&str], &str); 4] = [
        (&["--postgres", "not a URL"], "error: a database's URL is postgres://USER"),
        (&["--postgres", "postgres://me@a,b/c"], "error: a database's URL names one host"),
        (&redis, "error: a cache's URL is redis://USER"),
        (&trust, "error: Cargo.toml has no certificates to trust"),
    ];
    for (flags, said) in cases {
        let end = run(host, flags);
        assert_eq!(end.code, Some(2), "{end:?}");
        assert!(end.err.len() == 1 && end.err[0].starts_with(said), "{end:?}");
    }
}

fn a_database_that_is_away_at_the_start_is_one_sentence_and_code_1(host: &str) {
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let url = format!("postgres://me@{}/a", nobody.expect("an address"));
    let end = run(host, &["--postgres", &url]);
    assert_eq!(end.code, Some(1), "{end:?}");
    let said = "error: the application can't start: the database is away: Connection refused";
    assert!(end.err.len() == 1 && end.err[0].starts_with(said), "{end:?}");
}

fn without_a_database_the_guestbook_says_how_to_start_with_one(host: &str) {
    let served = Served::start(host, &[]);
    for path in ["/guestbook", "/guestbook/entries"] {
        let answer = served.get(path);
        assert_eq!(answer.status, 503, "{answer:?}");
        let text = answer.text();
        assert!(text.contains("--postgres") && text.contains("DATABASE_URL"), "{text}");
        assert!(text.contains("`postgresql` and `redis-server`"), "{text}");
    }
}

fn what_becomes_of_the_cache_is_logged_once(host: &str) {
    let start = |kind| match Service::start(kind, None) {
        Ok(service) => Some(service),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            gateway_tests::skip(&error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    };
    let (Some(postgres), Some(mut redis)) = (start(Kind::Postgres), start(Kind::Redis)) else {
        return;
    };
    let served = Served::start(host, &["--postgres", &postgres.url(), "--redis", &redis.url()]);
    let cache = || {
        let answer = served.get("/guestbook/entries");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.field("server-timing").map(str::to_owned)
    };
    assert_eq!(cache().as_deref(), Some("cache;desc=miss"));
    assert!(served.program.complaint("the cache is there").contains("INFO"));
    redis.kill().expect("it is there");
    for _ in 0..20 {
        assert_eq!(cache().as_deref(), Some("cache;desc=away"));
    }
    redis.restart().expect("it starts again");
    eventually("the cache is used again", || cache().as_deref() == Some("cache;desc=hit"));
    assert!(served.program.complaint("the cache is away").contains("WARN"));
    let then = served.program.complaint("the cache is ");
    // Once, or once more where a second passed in between: not once for each request.
    let again = then.contains("the cache is away");
    assert!(then.contains("the cache is there") || again, "{then}");
    // The passwords are in the URLs, and nowhere else.
    assert!(!then.contains("guestbook:"), "{then}");
    drop(served);
}
