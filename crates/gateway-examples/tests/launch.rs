//! The launcher's command line: what it says, how it ends, and by which signals.

#[macro_use]
mod child;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, fs, process};

use child::{EXAMPLES, End, Program, Served, ask, command, get, listening};
use gateway_tests::{Client, PATIENCE, eventually};
use rustix::process::Signal;
use serde_json::Value;

on_each_host!(
    a_flag_that_does_not_exist_is_refused_with_code_2,
    zero_threads_are_refused_with_code_2,
    a_host_that_does_not_exist_is_refused_with_all_that_do,
    a_port_in_use_is_one_sentence_and_code_1,
    a_missing_directory_is_one_sentence_and_code_1,
    a_bad_address_is_one_sentence_and_code_1,
    help_and_version_go_to_standard_output_with_code_0,
    the_start_up_line_says_where_and_on_what,
    environment_variables_do_the_same_as_flags,
    flags_win_over_environment_variables,
    a_unix_socket_serves_and_its_file_goes_with_the_server,
    a_socket_file_left_behind_is_replaced,
    a_socket_file_in_use_is_not_replaced,
    sigterm_and_sigint_let_requests_in_hand_finish_and_end_with_code_0,
    a_second_signal_drops_what_is_left_and_ends_with_code_1,
    the_drain_deadline_drops_what_is_left,
    json_lines_are_json_each,
    without_the_flags_there_are_no_ids_and_no_lines,
    the_access_log_is_written_whatever_else_is_left_out,
    logs_that_nobody_reads_any_more_end_no_request,
    the_admin_address_answers_until_the_server_has_drained,
    an_admin_address_may_be_a_unix_socket,
    bad_flags_for_operators_are_one_sentence_each,
    the_limit_of_descriptors_is_raised_and_that_is_said_at_debug,
);

fn the_limit_of_descriptors_is_raised_and_that_is_said_at_debug(host: &str) {
    let mut command = command("sh");
    command.args(["-c", "ulimit -Sn 100 && ulimit -Hn 300 && exec \"$0\" \"$@\"", EXAMPLES]);
    command.args(["--host", host, "--bind", "127.0.0.1:0", "--log", "gateway_launch=debug"]);
    let served = Served::from(&mut command);
    let line = served.program.complaint("the limit of descriptors is raised");
    assert!(line.contains("DEBUG") && line.contains("from=100 to=300"), "{line}");
    // All at once: more than it began with, and each is served.
    let mut clients: Vec<_> = (0..150).map(|_| served.connect()).collect();
    for client in &mut clients {
        assert_eq!(ask(client, "/hello").text(), "Hello, World!");
    }
}

fn a_flag_that_does_not_exist_is_refused_with_code_2(host: &str) {
    let end = refused(&["--host", host, "--hots", "1"], 2);
    assert!(end.err[0].contains("--hots"), "{end:?}");
}

fn zero_threads_are_refused_with_code_2(host: &str) {
    let end = refused(&["--host", host, "--bind", "127.0.0.1:0", "--threads", "0"], 2);
    assert!(end.err[0].contains("--threads") && end.err[0].contains('0'), "{end:?}");
}

fn a_host_that_does_not_exist_is_refused_with_all_that_do(host: &str) {
    let end = refused(&["--host", "nobody"], 2);
    assert!(end.err[0].contains("nobody"), "{end:?}");
    assert!(end.err.join(" ").contains(host), "{end:?}");
}

fn a_port_in_use_is_one_sentence_and_code_1(host: &str) {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let line = unstartable(host, &address);
    assert!(line.contains(&format!("cannot listen on {address}")), "{line}");
    assert!(line.contains("choose another port"), "{line}");
}

fn a_missing_directory_is_one_sentence_and_code_1(host: &str) {
    let directory = Directory::new("missing", host);
    let address = format!("unix:{}/none/socket", directory.0.display());
    let line = unstartable(host, &address);
    assert!(line.contains(&format!("cannot listen on {address}")), "{line}");
    assert!(line.contains("create the directory first"), "{line}");
}

fn a_bad_address_is_one_sentence_and_code_1(host: &str) {
    for address in ["nonsense", "127.0.0.1", "127.0.0.1:99999"] {
        let line = unstartable(host, address);
        assert!(line.contains(&format!("cannot listen on {address}")), "{line}");
        assert!(line.contains("give host:port, or unix:path"), "{line}");
    }
}

fn help_and_version_go_to_standard_output_with_code_0(host: &str) {
    let flags =
        ["--host", "--bind", "--drain-seconds", "--log", "--log-format", "--access-log", "--admin"];
    for (ask, expected) in [("--help", &flags[..]), ("--version", &["gateway-examples", "0.1.0"])] {
        let end = Program::start(command(EXAMPLES).args(["--host", host, ask])).end();
        assert_eq!((end.code, end.err.len()), (Some(0), 0), "{end:?}");
        let said = end.out.join("\n");
        assert!(expected.iter().all(|part| said.contains(part)), "{said}");
        assert!(!said.contains("listening"), "{said}");
    }
}

fn the_start_up_line_says_where_and_on_what(host: &str) {
    let program = Program::start(command(EXAMPLES).args(["--host", host, "--bind", "127.0.0.1:0"]));
    let line = program.line();
    let (address, named) = listening(&line).expect("the start-up line");
    assert_eq!(line, format!("listening on http://{address}, on {host} (Ctrl-C drains)"));
    assert_eq!((address.ip().to_string().as_str(), named), ("127.0.0.1", host));
    assert_eq!(get(address, "/hello").text(), "Hello, World!");
    program.signal(Signal::TERM);
    let end = program.end();
    assert_eq!((end.code, end.out.len()), (Some(0), 0), "nothing else is said: {end:?}");
}

fn environment_variables_do_the_same_as_flags(host: &str) {
    let mut command = command(EXAMPLES);
    command.env("GATEWAY_HOST", host).env("GATEWAY_BIND", "127.0.0.1:0");
    command.env("GATEWAY_DRAIN_SECONDS", "1").env("GATEWAY_THREADS", "2");
    let program = Program::start(&mut command);
    let line = program.line();
    let (address, named) = listening(&line).expect("the start-up line");
    assert_eq!(named, host);
    let served = Served { program, address };
    let _in_hand = Echo::begin(&served);
    served.program.signal(Signal::TERM);
    let deadline = served.program.complaint("the drain deadline has passed");
    assert!(deadline.contains("after=1s"), "{deadline}");
    assert_eq!(served.program.end().code, Some(0));

    command.env("GATEWAY_THREADS", "0");
    assert_eq!(Program::start(&mut command).end().code, Some(2));
}

fn flags_win_over_environment_variables(host: &str) {
    let mut command = command(EXAMPLES);
    command.env("GATEWAY_HOST", "nobody").env("GATEWAY_BIND", "nonsense");
    let program = Program::start(command.args(["--host", host, "--bind", "127.0.0.1:0"]));
    let line = program.line();
    assert_eq!(listening(&line).expect("the start-up line").1, host);
}

fn a_unix_socket_serves_and_its_file_goes_with_the_server(host: &str) {
    let directory = Directory::new("serves", host);
    let program = Program::start(&mut directory.command(host));
    let socket = directory.socket();
    let line = format!("listening on unix:{}, on {host} (Ctrl-C drains)", socket.display());
    assert_eq!(program.line(), line);
    assert_hello(&socket);
    program.signal(Signal::TERM);
    assert_eq!(program.end().code, Some(0));
    assert!(!socket.exists(), "the file is left behind");
}

fn a_socket_file_left_behind_is_replaced(host: &str) {
    let directory = Directory::new("replaced", host);
    let first = Program::start(&mut directory.command(host));
    first.line();
    first.signal(Signal::KILL);
    assert_eq!(first.end().code, None);
    assert!(directory.socket().exists(), "nobody removes it after a kill");

    let second = Program::start(&mut directory.command(host));
    second.line();
    assert_hello(&directory.socket());
}

fn a_socket_file_in_use_is_not_replaced(host: &str) {
    let directory = Directory::new("in-use", host);
    let first = Program::start(&mut directory.command(host));
    first.line();
    let line = unstartable(host, &format!("unix:{}", directory.socket().display()));
    assert!(line.contains("another server listens there"), "{line}");
    assert_hello(&directory.socket());
}

fn sigterm_and_sigint_let_requests_in_hand_finish_and_end_with_code_0(host: &str) {
    for signal in [Signal::TERM, Signal::INT] {
        let served = Served::start(host, &["--drain-seconds", "600"]);
        let mut idle = served.connect();
        assert_eq!(ask(&mut idle, "/hello").status, 200);
        let mut echo = Echo::begin(&served);
        let mut upload = begin_upload(&served);

        served.program.signal(signal);
        served.program.complaint("draining");
        assert!(idle.is_closed(), "who asks for nothing is let go");
        upload.send("ab");
        let answer = upload.answer();
        assert!(answer.text().starts_with(r#"{"bytes":2,"#), "{answer:?}");
        assert!(upload.is_closed(), "it takes no more requests");
        assert_eq!(echo.finish(), Some("and the rest".to_owned()));

        assert_eq!(served.program.end().code, Some(0));
    }
}

fn a_second_signal_drops_what_is_left_and_ends_with_code_1(host: &str) {
    for signals in [[Signal::TERM, Signal::TERM], [Signal::INT, Signal::TERM]] {
        let served = Served::start(host, &["--drain-seconds", "600"]);
        let mut echo = Echo::begin(&served);
        let mut stream = served.connect();
        stream.send(child::request("/stream?bytes=1000000000000"));
        assert_eq!(stream.line().as_deref(), Some("HTTP/1.1 200 OK"));
        let mut sleep = served.connect();
        sleep.send(child::request("/sleep?ms=60000"));

        served.program.signal(signals[0]);
        served.program.complaint("draining");
        served.program.signal(signals[1]);
        assert_eq!(served.program.end().code, Some(1));
        assert_eq!(echo.finish(), None);
        assert_eq!(sleep.try_answer(), None);
    }
}

fn the_drain_deadline_drops_what_is_left(host: &str) {
    for (seconds, after) in [("0", "after=0ns"), ("1", "after=1s")] {
        let served = Served::start(host, &["--drain-seconds", seconds]);
        let mut echo = Echo::begin(&served);
        served.program.signal(Signal::TERM);
        let line = served.program.complaint("the drain deadline has passed");
        assert!(line.contains(after), "{line}");
        let line = served.program.complaint("dropping the connections that are left");
        assert!(line.contains("open=1"), "{line}");
        let end = served.program.end();
        assert_eq!((end.code, end.err.len()), (Some(0), 0), "{end:?}");
        assert_eq!(echo.finish(), None);
    }
}

fn json_lines_are_json_each(host: &str) {
    let served = Served::start(host, &["--log-format", "json", "--access-log"]);
    let mut client = served.connect();
    client.send("GET /%0d%0a HTTP/1.1\r\nhost: t\r\nuser-agent: \" \\ é\r\n\r\n");
    assert_eq!(client.answer().status, 404);
    assert_eq!(ask(&mut client, "/panic").status, 500);
    served.program.signal(Signal::TERM);
    let end = served.program.end();
    let is_log = |line: &&String| line.starts_with('{');
    let parse = |line: &String| -> Value { serde_json::from_str(line).expect("a line of JSON") };
    let lines: Vec<Value> = end.err.iter().filter(is_log).map(parse).collect();
    let access: Vec<_> = lines.iter().filter(|line| line["target"] == "gateway::access").collect();
    assert_eq!(access.len(), 2, "{end:?}");
    let fields = &access[0]["fields"];
    assert_eq!((&fields["uri"], &fields["status"]), (&"/%0d%0a".into(), &404.into()));
    assert_eq!(fields["user_agent"], "%22 %5C %C3%A9");
    let error = lines.iter().find(|line| line["level"] == "ERROR").expect("the panic's line");
    assert_eq!(error["span"]["id"], access[1]["fields"]["request_id"], "{error}");
    assert!(lines.iter().any(|line| line["fields"]["host"] == host), "draining: {lines:?}");
}

fn without_the_flags_there_are_no_ids_and_no_lines(host: &str) {
    let served = Served::start(host, &[]);
    let answer = served.get("/hello");
    assert_eq!((answer.status, answer.field("x-request-id")), (200, None));
    served.program.signal(Signal::TERM);
    let end = served.program.end();
    assert!(!end.err.iter().any(|line| line.contains("gateway::access")), "{end:?}");
}

fn the_access_log_is_written_whatever_else_is_left_out(host: &str) {
    let mut command = command(EXAMPLES);
    command.env("GATEWAY_ACCESS_LOG", "on").env("GATEWAY_LOG", "error");
    let served = Served::from(command.args(["--host", host, "--bind", "127.0.0.1:0"]));
    let answer = served.get("/hello");
    let line = served.program.complaint("gateway::access");
    let id = format!("request_id=\"{}\"", answer.field("x-request-id").expect("an id"));
    assert!(line.contains(&id) && line.contains("uri=\"/hello\""), "{line}");
    assert!(!line.contains('\x1b'), "a pipe has no colours: {line}");
    served.program.signal(Signal::TERM);
    let end = served.program.end();
    assert_eq!((end.code, end.err.len()), (Some(0), 0), "{end:?}");
}

fn logs_that_nobody_reads_any_more_end_no_request(host: &str) {
    let (read, write) = UnixStream::pair().expect("a pair of sockets");
    let mut command = command(EXAMPLES);
    command.args(["--host", host, "--bind", "127.0.0.1:0", "--access-log"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(OwnedFd::from(write));
    let mut child = command.spawn().expect("the program starts");
    // Its copy of the end that is written to.
    drop(command);
    let mut line = String::new();
    let out = child.stdout.take().expect("standard output is piped");
    BufReader::new(out).read_line(&mut line).expect("a line");
    let (address, _) = listening(line.trim_end()).expect("the start-up line");
    drop(read);
    let mut client = child::connect(address);
    for _ in 0..3 {
        assert_eq!(ask(&mut client, "/hello").text(), "Hello, World!");
    }
    child.kill().expect("it is running");
    child.wait().expect("a child of ours");
}

fn the_admin_address_answers_until_the_server_has_drained(host: &str) {
    let flags = ["--host", host, "--bind", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let program = Program::start(command(EXAMPLES).args(flags));
    let admin = program.line();
    let admin = admin.strip_prefix("admin on http://").expect("the admin's line");
    let admin = admin.parse().expect("an address");
    let line = program.line();
    let (address, _) = listening(&line).expect("the start-up line");
    let served = Served { program, address };
    assert_eq!(served.get("/hello").text(), "Hello, World!");
    assert_eq!(served.get("/metrics").status, 404, "not on the public address");
    let status = |path| get(admin, path).status;
    assert_eq!((status("/livez"), status("/readyz"), status("/hello")), (200, 200, 404));
    let metrics = get(admin, "/metrics").text();
    let value = |series: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(series));
        line.unwrap_or_else(|| panic!("no {series} in {metrics}")).trim().to_owned()
    };
    assert_eq!(value("gateway_requests_total{method=\"GET\",code=\"200\"}"), "1");
    assert_eq!(value("gateway_requests_total{method=\"GET\",code=\"404\"}"), "1");
    assert_ne!(value("gateway_yields_total{kind=\"io\",answer=\"ready\"}"), "0");
    assert_eq!(value("gateway_work_started_total{kind=\"task\"}"), "2", "one a connection");

    let mut echo = Echo::begin(&served);
    served.program.signal(Signal::TERM);
    served.program.complaint("draining");
    // The line is written just before.
    eventually("it is not ready any more", || status("/readyz") == 503);
    assert_eq!(get(admin, "/readyz").text(), "starting, or draining\n");
    assert_eq!(status("/livez"), 200);
    assert_eq!(echo.finish(), Some("and the rest".to_owned()));
    assert_eq!(served.program.end().code, Some(0));
}

fn an_admin_address_may_be_a_unix_socket(host: &str) {
    let directory = Directory::new("admin", host);
    let address = format!("unix:{}", directory.socket().display());
    let flags = ["--host", host, "--bind", "127.0.0.1:0", "--admin", &address];
    let program = Program::start(command(EXAMPLES).args(flags));
    assert_eq!(program.line(), format!("admin on {address}"));
    program.line();
    let mut stream = UnixStream::connect(directory.socket()).expect("a server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("\r\n\r\nalive\n"), "{answer}");
    program.signal(Signal::TERM);
    assert_eq!(program.end().code, Some(0));
    assert!(!directory.socket().exists(), "the file is left behind");
}

fn bad_flags_for_operators_are_one_sentence_each(host: &str) {
    for (flags, code, words) in [
        (&["--log-format", "xml"][..], 2, "[possible values: text, json]"),
        (&["--access-log=yes"], 2, "--access-log"),
        (&["--admin"], 2, "--admin"),
        (&["--admin", "9090"], 1, "cannot listen on 9090: "),
    ] {
        let end = refused(&[&["--host", host, "--bind", "127.0.0.1:0"], flags].concat(), code);
        assert!(end.err.len() == 1 && end.err[0].contains(words), "{end:?}");
    }
    let mut command = command(EXAMPLES);
    let end = Program::start(command.env("GATEWAY_ACCESS_LOG", "maybe")).end();
    assert_eq!((end.code, end.err.len()), (Some(2), 1), "{end:?}");
}

/// A request that is in hand for as long as the client likes: its answer has begun.
struct Echo(Client);

impl Echo {
    fn begin(served: &Served) -> Echo {
        let mut client = served.connect();
        client.send("POST /echo HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
        client.send("5\r\nbegun\r\n");
        while !client.line().expect("a whole head").is_empty() {}
        assert_eq!(client.line().as_deref(), Some("5"));
        assert_eq!(client.line().as_deref(), Some("begun"));
        Echo(client)
    }

    /// Sends the rest. Gives what comes back, or nothing when it is cut off.
    fn finish(&mut self) -> Option<String> {
        // Fails when the server has gone.
        let _ = self.0.stream.get_mut().write_all(b"c\r\nand the rest\r\n0\r\n\r\n");
        self.0.line()?;
        let rest = self.0.line()?;
        (self.0.line()? == "0" && self.0.line()?.is_empty()).then_some(rest)
    }
}

/// An upload whose handler waits for the two bytes that are still to come.
fn begin_upload(served: &Served) -> Client {
    let mut client = served.connect();
    client.send("POST /upload HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\n");
    client.send("content-length: 2\r\n\r\n");
    assert_eq!(client.answer().status, 100);
    client
}

/// Runs it with a bad command line.
fn refused(flags: &[&str], code: i32) -> End {
    let end = Program::start(command(EXAMPLES).args(flags)).end();
    assert_eq!((end.code, end.out.len()), (Some(code), 0), "{end:?}");
    assert!(end.err[0].starts_with("error: "), "{end:?}");
    end
}

/// Runs it with an address where it can't listen. Gives the one line that it says.
fn unstartable(host: &str, address: &str) -> String {
    let end = refused(&["--host", host, "--bind", address], 1);
    assert_eq!(end.err.len(), 1, "{end:?}");
    end.err[0].clone()
}

/// One request on a Unix socket.
fn assert_hello(socket: &PathBuf) {
    let mut stream = UnixStream::connect(socket).expect("a server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = b"GET /hello HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    stream.write_all(request).expect("the server takes it");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nHello, World!"), "{answer}");
}

/// A directory for one test's socket. Dropping it removes it.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str, host: &str) -> Directory {
        // A socket's path has room for some 100 bytes.
        let name = format!("gateway-{test}-{host}-{}", process::id());
        let directory = env::temp_dir().join(name);
        fs::create_dir(&directory).expect("a new directory");
        Directory(directory)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }

    fn command(&self, host: &str) -> Command {
        let mut command = command(EXAMPLES);
        let address = format!("unix:{}", self.socket().display());
        command.args(["--host", host, "--bind", &address]);
        command
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
