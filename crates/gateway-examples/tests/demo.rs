//! The demo: four hosts in one process, and the ring that goes round them.

mod child;

use std::collections::HashMap;
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use child::{Program, command, get, listening};
use gateway_examples::local::Kind;
use gateway_tests::{chromium, secure};
use rustix::process::Signal;

const DEMO: &str = env!("CARGO_BIN_EXE_demo");

/// The hosts in the order of the ring.
const HOSTS: [&str; 4] = ["tokio", "smol", "async-std", "blocking"];

#[test]
fn every_host_answers() {
    let demo = Demo::start();
    for host in HOSTS {
        assert_eq!(get(demo.of(host), "/hello").text(), "Hello, World!", "{host}");
    }
}

#[test]
fn the_ring_goes_round_all_hosts_in_order_from_wherever_it_starts() {
    let demo = Demo::start();
    for (first, host) in HOSTS.iter().enumerate() {
        let answer = get(demo.of(host), "/ring?hops=8");
        assert_eq!(answer.status, 200, "{answer:?}");
        let text = answer.text();
        let hosts: Vec<_> = text.split(r#""host":""#).skip(1).collect();
        let hosts: Vec<_> = hosts.iter().filter_map(|hop| hop.split('"').next()).collect();
        let expected: Vec<_> = HOSTS.iter().cycle().skip(first).take(8).copied().collect();
        assert_eq!(hosts, expected, "{text}");
    }
}

#[test]
fn the_page_of_every_host_names_all_of_them() {
    let demo = Demo::start();
    for host in HOSTS {
        let page = get(demo.of(host), "/").text();
        assert!(!page.contains("{{"), "a placeholder is left on the page of {host}");
        for other in HOSTS {
            let address = demo.of(other);
            let peer = format!(r#"{{"name":"{other}","url":"http://{address}"}}"#);
            assert!(page.contains(&peer), "the page of {host} does not know {peer}");
        }
    }
}

#[test]
fn a_browser_tries_all_that_the_page_of_every_host_offers() {
    let Some(browser) = chromium::find() else { return };
    let Some((demo, _temporary)) = Demo::with_guestbook() else { return };
    let tries = ["ring", "join", "job", "sse", "echo", "guestbook", "panic", "upload"];
    let query = tries.map(|name| format!("try={name}")).join("&");
    for host in HOSTS {
        let document = chromium::document(&browser, &format!("http://{}/?{query}", demo.of(host)));
        let result = |name: &str| {
            let (_, form) = document.split_once(&format!(r#"<form data-try="{name}""#))?;
            let (form, _) = form.split_once("</form>")?;
            let (_, result) = form.split_once(r#"<div class="result""#)?;
            assert!(!result.contains(r#"class="bad""#), "{name} on {host}: {result}");
            Some(text_of(result))
        };
        let says = |name: &str, what: &str| {
            let result = result(name).unwrap_or_else(|| panic!("no {name}: {document}"));
            assert!(result.contains(what), "{name} on {host} lacks {what:?}: {result}");
        };
        says("ring", "4 hops");
        says("join", "sleeps of");
        says("job", "blocked for");
        says("sse", "event 9 after");
        says("echo", "200 in");
        for reader in HOSTS {
            says("guestbook", &format!("{reader} read in"));
        }
        says("guestbook", &format!("a visitor of {host}"));
        says("panic", "/hello answered 200");
        says("upload", "the browser computes the same");
    }
}

/// What is written between the tags of a piece of a document.
fn text_of(html: &str) -> String {
    html.split('<').map(|piece| piece.split_once('>').map_or("", |(_, text)| text)).collect()
}

#[test]
fn a_guestbook_that_is_signed_on_one_host_is_read_on_all_and_leaves_nothing_behind() {
    let Some((demo, temporary)) = Demo::with_guestbook() else { return };
    let folder = temporary.path("demo");
    let entries = |host: &str| get(demo.of(host), "/guestbook/entries").text();
    for host in HOSTS {
        let form = format!("name=me&message=signed+on+{host}");
        let mut client = child::connect(demo.of(host));
        let length = form.len();
        let head = format!("POST /guestbook HTTP/1.1\r\nhost: a\r\ncontent-length: {length}");
        client.send(format!("{head}\r\n\r\n{form}"));
        assert_eq!(client.answer().status, 303);
        for reader in HOSTS {
            let entries = entries(reader);
            assert!(entries.contains(&format!("signed on {host}")), "{reader}: {entries}");
        }
    }
    assert_ne!(std::fs::read_dir(&folder).expect("a folder").count(), 0);
    demo.program.signal(Signal::TERM);
    assert_eq!(demo.program.end().code, Some(0));
    assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 0);
}

#[test]
fn sigterm_ends_all_hosts_with_code_0() {
    let demo = Demo::start();
    let mut idle: Vec<_> = HOSTS.iter().map(|host| child::connect(demo.of(host))).collect();
    for client in &mut idle {
        assert_eq!(child::ask(client, "/hello").status, 200);
    }
    demo.program.signal(Signal::TERM);
    for client in &mut idle {
        assert!(client.is_closed());
    }
    assert_eq!(demo.program.end().code, Some(0));
}

#[test]
fn curl_gets_the_answer_over_both_protocols() {
    let Ok(version) = Command::new("curl").arg("--version").output() else {
        println!("skipped: curl is not installed");
        return;
    };
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let demo = Demo::start();
    for (protocol, flag) in [("1.1", "--http1.1"), ("2", "--http2-prior-knowledge")] {
        if protocol == "2" && !version.contains("HTTP2") {
            println!("skipped: this curl has no HTTP/2: {version}");
            continue;
        }
        for host in HOSTS {
            let url = format!("http://{}/hello", demo.of(host));
            let mut curl = command("curl");
            curl.args(["-s", "--noproxy", "*", "--max-time", "30", flag]);
            let output = curl.args(["-w", " over %{http_version}", &url]).output().expect("curl");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(said, format!("Hello, World! over {protocol}"), "{host}: {output:?}");
        }
    }
}

/// The running demo, and where each host listens.
struct Demo {
    program: Program,
    addresses: HashMap<String, SocketAddr>,
}

impl Demo {
    fn start() -> Demo {
        // Set to nothing: no guestbook, for which it would start a database.
        Demo::from(command(DEMO).arg("0").env("DATABASE_URL", ""))
    }

    /// With a database and a cache of its own, in the folder `demo` within the one returned. None where
    /// they are not installed.
    fn with_guestbook() -> Option<(Demo, secure::Folder)> {
        for kind in [Kind::Postgres, Kind::Redis] {
            if let Err(missing) = kind.installed() {
                gateway_tests::skip(&missing.to_string());
                return None;
            }
        }
        let temporary = secure::Folder::new();
        let folder = temporary.path("demo");
        std::fs::create_dir(&folder).expect("a folder");
        for folder in [temporary.path(""), folder.clone()] {
            // The services run as somebody else.
            std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).expect("a folder");
        }
        Some((Demo::from(command(DEMO).arg("0").env("TMPDIR", &folder)), temporary))
    }

    fn from(command: &mut Command) -> Demo {
        let program = Program::start(command);
        let mut addresses = HashMap::new();
        while addresses.len() < HOSTS.len() {
            let line = program.line();
            if let Some((address, host)) = listening(&line) {
                addresses.insert(host.to_owned(), address);
            }
        }
        Demo { program, addresses }
    }

    fn of(&self, host: &str) -> SocketAddr {
        self.addresses[host]
    }
}
