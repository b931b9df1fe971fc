//! The command line, driven as a user drives it, against small servers.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use gateway_conformance::rule;
use rustix::process::{Pid, Signal, kill_process};

/// How long a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// The port of [`serve`], and how it behaves.
const PORT: &str = "GATEWAY_CONFORMANCE_TEST_PORT";
const MODE: &str = "GATEWAY_CONFORMANCE_TEST_MODE";

/// Runs the tool to its end.
fn tool(words: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway-conformance"));
    command.args(words).env_remove("NO_COLOR").stdin(Stdio::null());
    Ran::from(command.output().expect("the tool starts"))
}

struct Ran {
    status: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let text = |bytes| String::from_utf8(bytes).expect("the tool prints UTF-8");
        Ran { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Ran {
    /// The exit status, and words that have to be printed.
    #[track_caller]
    fn is(&self, status: i32, parts: &[&str]) -> &Ran {
        let all = format!("{}\n{}", self.out, self.err);
        assert_eq!(self.status, Some(status), "{all}");
        for part in parts {
            assert!(all.contains(part), "{part:?} is not in:\n{all}");
        }
        self
    }
}

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    (listener, url)
}

/// A server that looks at the version of a request, and closes when it does not know it.
fn good() -> String {
    serving(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, _, version] = words[..] else { return 400 };
        let [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] = version.as_bytes() else {
            return 400;
        };
        match (major, minor) {
            (b'1', b'0'..=b'9') => 200,
            (b'0'..=b'9', b'0'..=b'9') => 505,
            _ => 400,
        }
    })
}

/// A server that serves whatever comes.
fn lax() -> String {
    serving(|_| 200)
}

/// A server that gives a status to a request line.
fn serving(status: fn(&str) -> u16) -> String {
    let (listener, url) = listen();
    thread::spawn(move || serve_all(&listener, status));
    url
}

fn serve_all(listener: &TcpListener, status: fn(&str) -> u16) {
    for stream in listener.incoming().flatten() {
        thread::spawn(move || answer_all(stream, status));
    }
}

fn answer_all(mut stream: TcpStream, status: fn(&str) -> u16) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while let Ok(1) = stream.read(&mut byte) {
        head.push(byte[0]);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8_lossy(&head);
        let status = status(text.lines().next().unwrap_or_default());
        let fields = "Content-Length: 2\r\n\r\nok";
        let _ = stream.write_all(format!("HTTP/1.1 {status} \r\n{fields}").as_bytes());
        head.clear();
        if status != 200 {
            break;
        }
    }
}

/// A server that says this to everyone, and closes.
fn says(words: &'static [u8]) -> String {
    let (listener, url) = listen();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(words);
        }
    });
    url
}

/// Not a test: the server that the tests of `--exec` start, in a process of its own.
#[test]
#[ignore = "it is a server for the others"]
fn serve() {
    let (Ok(port), Ok(mode)) = (std::env::var(PORT), std::env::var(MODE)) else { return };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().expect("a port")));
    let listener = TcpListener::bind(address).expect("the port is free");
    match mode.as_str() {
        "lax" => serve_all(&listener, |_| 200),
        "crashes" => serve_all(&listener, |line| match line.rsplit(' ').next() {
            Some("HTTP/1.1") => 200,
            _ => std::process::exit(7),
        }),
        _ => {}
    }
    // Takes connections, and never says a word.
    let _kept: Vec<_> = listener.incoming().collect();
}

/// The command for [`serve`], which writes its process id to a file.
fn command(mode: &str, ids: &Path) -> String {
    let program = std::env::current_exe().expect("this is a program");
    format!(
        "sh -c 'echo $$ >> {}; {PORT}={{port}} {MODE}={mode} exec {} --exact serve --ignored'",
        ids.display(),
        program.display()
    )
}

/// A file of this test's own that is not there yet.
fn fresh(name: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{name}"));
    let _ = fs::remove_file(&file);
    file
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "still not: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether none of the processes whose ids are in a file is there.
fn none_is_left(ids: &Path) -> bool {
    let ids = fs::read_to_string(ids).expect("the server has written its id");
    assert!(!ids.trim().is_empty());
    !ids.lines().any(|id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
    })
}

#[test]
fn help_and_version() {
    tool(&["--help"]).is(0, &["Exit status:", "wire", "matrix", "list", "explain", "spec"]);
    tool(&["wire", "--help"]).is(0, &["--exec", "--baseline", "Exit status:"]);
    tool(&["--version"]).is(0, &[env!("CARGO_PKG_VERSION")]);
    tool(&[]).is(2, &["Usage"]);
    tool(&["wire"]).is(2, &["name a URL, or give --exec"]);
    tool(&["wire", "http://127.0.0.1:1", "--patience", "0"]).is(2, &["a number from 0.1 to 100"]);
}

#[test]
fn rules_are_listed_and_explained() {
    let sentence = rule::find("YLD-07").expect("it is a rule").sentence;
    for words in [&["list"], &["--list"]] {
        tool(words).is(0, &["YLD: The yield protocol", "YLD-07", sentence]);
    }
    let json: serde_json::Value = serde_json::from_str(&tool(&["list", "--json"]).out).unwrap();
    assert_eq!(json.as_array().map(Vec::len), Some(rule::all().count()));
    for words in [&["explain", "yld-07"], &["--explain", "YLD-07"]] {
        tool(words).is(0, &["YLD-07 (MUST)", "why", "look at"]);
    }
    tool(&["explain", "YLD07"]).is(2, &["there is no rule `YLD07`; near it are YLD-07"]);
    tool(&["explain", "what"]).is(2, &["`gateway-conformance list` shows all"]);
    tool(&["spec"]).is(0, &["# The specification", "### YLD-07 (MUST)"]);
}

#[test]
fn good_server_passes() {
    let ran = tool(&["wire", &good(), "--rule", "REQ-06", "--verbose"]);
    ran.is(0, &["PASS REQ-06", "1 pass", "accepted twins"]);
}

#[test]
fn lax_server_fails_with_evidence() {
    let url = lax();
    let ran = tool(&["wire", &url, "--rule", "req-06"]);
    let again = format!("gateway-conformance wire {url} --rule REQ-06");
    ran.is(1, &["FAIL REQ-06", "1 fail", "refusals 0/", "#1 > GET", &again]);
    assert!(!ran.out.contains('\x1b'), "no colours in a pipe: {}", ran.out);
    let ran = tool(&["wire", &url, "--rule", "REQ-06", "--color", "always", "--quiet"]);
    ran.is(1, &["\x1b[1;31m1 fail\x1b[0m"]);
    assert_eq!((ran.out.lines().count(), ran.err.as_str()), (2, ""), "quiet is the summary alone");
}

#[test]
fn what_is_no_http_server_is_said_in_a_sentence() {
    let dead = {
        let (listener, url) = listen();
        drop(listener);
        url
    };
    tool(&["wire", &dead]).is(3, &["nothing takes connections", "--exec"]);
    tool(&["wire", "http://no.such.host.invalid"]).is(3, &["cannot resolve"]);
    let greeting = says(b"SSH-2.0-OpenSSH_9.6\r\n");
    tool(&["wire", &greeting]).is(3, &["is this the port of an HTTP server?", "SSH-2.0"]);
    tool(&["wire", &says(b"\x15\x03\x01\x00\x02\x02\x16")]).is(3, &["speaks TLS"]);
    tool(&["wire", &says(b"")]).is(3, &["is this the port of an HTTP server?"]);
}

#[test]
fn silent_server_is_given_up() {
    let (listener, url) = listen();
    tool(&["wire", &url, "--patience", "0.1"]).is(3, &["has not answered `GET /` within 400ms"]);
    drop(listener);
}

#[test]
fn mistakes_on_the_command_line() {
    tool(&["wire", "https://127.0.0.1"]).is(2, &["https is not checked yet"]);
    tool(&["wire", "127.0.0.1:80"]).is(2, &["write a URL like"]);
    tool(&["wire", "http://127.0.0.1:1", "--rule", "REQ06"]).is(2, &["near it are REQ-06"]);
    tool(&["wire", "http://127.0.0.1:1", "--rule", "YLD-07"]).is(2, &["not tested from outside"]);
    tool(&["wire", "http://127.0.0.1:1", "--family", "NO"]).is(2, &["there is no family `NO`"]);
    tool(&["wire", "http://127.0.0.1:1", "--family", "YLD"]).is(2, &["no rule of YLD is tested"]);
    tool(&["wire", "--exec", "server"]).is(2, &["{port}"]);
    tool(&["wire", "http://127.0.0.1:1", "--baseline", "/no/such"]).is(2, &["/no/such"]);
}

#[test]
fn path_of_the_url_is_ignored_with_a_note() {
    let url = format!("{}/a/path", lax());
    tool(&["wire", &url, "--rule", "REQ-06"]).is(1, &["note: `/a/path` is ignored"]);
}

#[test]
fn nothing_tested_is_not_success() {
    let needy = rule::all().find(|rule| {
        matches!(rule.needs, [rule::Need::Control, ..]) && rule.tested.contains(&rule::Tested::Wire)
    });
    // Any rule that needs to start the server will do.
    if let Some(rule) = needy {
        let ran = tool(&["wire", &lax(), "--rule", rule.id]);
        ran.is(3, &["nothing could be tested", rule.id, "--exec"]);
    }
}

#[test]
fn baseline_lives_from_new_to_known_to_stale() {
    let (lax, good, file) = (lax(), good(), fresh("baseline.toml"));
    let path = file.to_str().expect("UTF-8");
    let on = |url: &str, option: &str| {
        tool(&["wire", url, "--rule", "REQ-06", "--name", "it", "--quiet", option, path])
    };
    fs::write(&file, "").unwrap();
    on(&lax, "--baseline").is(1, &["new: REQ-06", "0 as known, 1 new, 0 stale"]);
    fs::remove_file(&file).unwrap();
    on(&lax, "--write-baseline").is(0, &["give each entry its reason"]);
    on(&lax, "--baseline").is(2, &["REQ-06 has no reason"]);

    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("not looked at yet", "issue 1")).unwrap();
    on(&lax, "--baseline").is(0, &["1 as known, 0 new, 0 stale"]);
    on(&good, "--baseline").is(1, &["stale: REQ-06", "0 as known, 0 new, 1 stale"]);
    on(&lax, "--write-baseline").is(0, &[]);
    assert!(fs::read_to_string(&file).unwrap().contains("issue 1"), "reasons stay");
    on(&good, "--write-baseline").is(0, &[]);
    on(&good, "--baseline").is(0, &["0 as known, 0 new, 0 stale"]);

    fs::write(&file, text.replace("REQ-06", "REQ-0").replace("not looked at yet", "x")).unwrap();
    on(&good, "--baseline").is(1, &["stale: REQ-0 is in the baseline, and is no rule"]);
}

#[test]
fn reports_are_written_and_joined() {
    let files = ["one.json", "one.xml", "one.html", "matrix.html"].map(fresh);
    let [json, xml, page, matrix] = files.each_ref().map(|file| file.to_str().expect("UTF-8"));
    let ran = tool(&[
        "wire",
        &lax(),
        "--rule",
        "REQ-06",
        "--name",
        "a server",
        "--json",
        json,
        "--junit",
        xml,
        "--html",
        page,
    ]);
    ran.is(1, &[]);
    for file in [json, xml, page] {
        assert!(fs::read_to_string(file).unwrap().contains("a server"), "{file}");
    }
    tool(&["matrix", json, json, "--html", matrix]).is(0, &[]);
    let text = fs::read_to_string(matrix).unwrap();
    assert!(text.contains("data-report=\"1\"") && text.contains("a server"));
    tool(&["matrix", xml, "--html", matrix]).is(2, &["no report of gateway-conformance"]);
    tool(&["matrix", json, "--html", "/no/such/folder/x.html"]).is(3, &["cannot write"]);
    let ran = tool(&["wire", &lax(), "--rule", "REQ-06", "--json", "/no/such/folder/x.json"]);
    ran.is(3, &["cannot write"]);
}

#[test]
fn server_is_started_and_ended() {
    let ids = fresh("started");
    let ran = tool(&["wire", "--exec", &command("lax", &ids), "--rule", "REQ-06"]);
    ran.is(1, &["FAIL REQ-06", "--exec 'sh -c '"]);
    assert!(none_is_left(&ids), "the server is still there");
}

#[test]
fn server_that_is_no_http_server_is_ended_too() {
    let ids = fresh("silent");
    let ran = tool(&["wire", "--exec", &command("silent", &ids), "--patience", "0.1"]);
    ran.is(3, &["has not answered"]);
    assert!(none_is_left(&ids), "the server is still there");
}

#[test]
fn server_that_ends_during_the_run_has_failed() {
    let ids = fresh("crashes");
    // It takes the preface of HTTP/2 for a reason to end.
    let ran = tool(&["wire", "--exec", &command("crashes", &ids), "--rule", "REQ-06"]);
    ran.is(1, &["the server ended during the run"]);
    assert!(none_is_left(&ids), "the server is still there");
}

#[test]
fn server_that_ends_at_once_is_shown() {
    let ran = tool(&["wire", "--exec", "sh -c 'echo port {port} is bad >&2; exit 1'"]);
    ran.is(3, &["did not come up: it ended at once", "is bad"]);
    tool(&["wire", "--exec", "/no/such/server {port}"]).is(3, &["cannot start `/no/such/server`"]);
}

#[test]
fn interruption_ends_the_server() {
    for (signal, name) in [(Signal::INT, "interrupted"), (Signal::TERM, "terminated")] {
        let ids = fresh(name);
        let mut child = Command::new(env!("CARGO_BIN_EXE_gateway-conformance"))
            .args(["wire", "--patience", "100", "--exec", &command("silent", &ids)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the tool starts");
        let has_id = || fs::read_to_string(&ids).is_ok_and(|ids| ids.ends_with('\n'));
        eventually("the server has started", has_id);
        kill_process(Pid::from_child(&child), signal).expect("it is there");
        let mut status = None;
        eventually("the tool has ended", || {
            status = child.try_wait().expect("it is ours");
            status.is_some()
        });
        assert_eq!(status.and_then(|status| status.code()), Some(130));
        eventually("the server has ended", || none_is_left(&ids));
    }
}
