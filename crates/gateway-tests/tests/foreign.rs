//! An app under servers that are not ours: one list of features, for each server.
//!
//! The configurations are those of `docs/foreign`, with other ports and paths.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use gateway_tests::features::{Place, come_to};
use gateway_tests::{Client, eventually, programs};

/// The application as a program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_features");

/// Makes one test for each server and each feature that it has. All have the first ones.
macro_rules! on_servers {
    ($all:tt $($server:ident: $more:tt)*) => {
        $(on_servers!(@ $server $all $more);)*
    };
    (@ $server:ident [$($all:ident,)*] [$($more:ident,)*]) => {
        mod $server {
            on_servers!(@@ $server $($all)* $($more)*);
        }
    };
    (@@ $server:ident $($feature:ident)*) => {$(
        #[test]
        fn $feature() {
            if let Some(server) = super::$server() {
                gateway_tests::features::$feature(&server.place);
            }
        }
    )*};
}

on_servers! {
    [
        a_request_arrives,
        waits_are_waited_for,
        chunks_arrive_as_they_are_made,
        a_megabyte_comes_back,
        a_body_has_a_limit_that_the_app_may_raise,
        head_has_no_body,
        errors_and_panics_are_answers,
        a_body_that_is_too_short_is_cut_off_visibly,
    ]
    cgi_under_lighttpd: [
        a_client_sets_no_proxy,
        a_chunked_upload_arrives,
        a_gone_client_ends_the_process,
    ]
    cgi_under_python: [
        a_client_sets_no_proxy,
        a_gone_client_cancels_the_coroutine,
    ]
    scgi_under_lighttpd: [
        a_client_sets_no_proxy,
        a_chunked_upload_arrives,
        a_gone_client_cancels_the_coroutine,
        a_body_that_fails_is_cut_off_visibly,
    ]
    scgi_under_nginx: [
        a_client_sets_no_proxy,
        a_chunked_upload_arrives,
        a_gone_client_cancels_the_coroutine,
        a_gone_client_cancels_a_handler_that_waits,
        a_body_that_fails_is_cut_off_visibly,
    ]
    tiny_http: [
        a_chunked_upload_arrives,
        a_gone_client_cancels_the_coroutine,
        a_body_that_fails_is_cut_off_visibly,
    ]
}

/// A server at work, with what it needs. Dropping it ends all of that.
struct Server {
    place: Place,
    _processes: Vec<Process>,
    _folder: Folder,
}

fn cgi_under_lighttpd() -> Option<Server> {
    let folder = Folder::new();
    let config = configuration("lighttpd-cgi.conf").replace("/usr/local/bin/app", PROGRAM);
    lighttpd(&config, Vec::new(), folder)
}

fn scgi_under_lighttpd() -> Option<Server> {
    let (program, address) = serving(&["scgi", "-"]);
    let config = configuration("lighttpd-scgi.conf");
    let config = config.replace("=> 4000", &format!("=> {}", address.port()));
    lighttpd(&config, vec![program], Folder::new())
}

fn lighttpd(config: &str, mut processes: Vec<Process>, folder: Folder) -> Option<Server> {
    let program = programs::find(&["lighttpd"], "lighttpd")?;
    let address = free_address();
    let here = format!("server.bind = \"127.0.0.1\"\nserver.port = {}", address.port());
    let config = config.replace("server.port = 8080", &here);
    let file = folder.file("lighttpd.conf", &config.replace("/var/www/html", folder.path()));
    processes.push(Process::start(Command::new(program).arg("-D").arg("-f").arg(file)));
    Some(listening(address, "/app", processes, folder))
}

fn scgi_under_nginx() -> Option<Server> {
    let program = programs::find(&["nginx"], "nginx-light")?;
    let (app, app_address) = serving(&["scgi", "-"]);
    let (address, folder) = (free_address(), Folder::new());
    let config = configuration("nginx-scgi.conf")
        .replace("listen 8080", &format!("listen {address}"))
        .replace("127.0.0.1:4000", &app_address.to_string());
    folder.file("server.conf", &config);
    let path = folder.path();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|name| format!("{name}_temp_path {path}/{name};"));
    // One process, which is the one that is killed.
    let config = format!(
        "daemon off; master_process off; pid {path}/pid; error_log stderr; events {{}}
        http {{ access_log off; {} include {path}/server.conf; }}",
        temporary.join(" ")
    );
    let config = folder.file("nginx.conf", &config);
    let nginx = Process::start(Command::new(program).args(["-e", "stderr", "-c"]).arg(config));
    Some(listening(address, "/app", vec![app, nginx], folder))
}

/// The server of Python's standard library, which runs programs as nobody when it is root.
fn cgi_under_python() -> Option<Server> {
    let python = programs::find(&["python3"], "python3")?;
    let folder = Folder::new();
    fs::create_dir(folder.0.join("cgi-bin")).expect("a folder");
    fs::copy(PROGRAM, folder.0.join("cgi-bin/app")).expect("a copy");
    let mut command = Command::new(python);
    command.args(["-u", "-m", "http.server", "--cgi", "--bind", "127.0.0.1", "0"]);
    let mut process = Process::start(command.current_dir(&folder.0));
    // Serving HTTP on 127.0.0.1 port 8000 ...
    let line = process.line();
    let port = line.split(' ').skip_while(|word| *word != "port").nth(1);
    let port = port.and_then(|port| port.parse().ok()).expect("a port");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let place = Place { address, mount: "/cgi-bin/app", has_status: false };
    Some(Server { place, _processes: vec![process], _folder: folder })
}

fn tiny_http() -> Option<Server> {
    let (program, address) = serving(&["tiny-http"]);
    let place = Place { address, mount: "", has_status: true };
    Some(Server { place, _processes: vec![program], _folder: Folder::new() })
}

/// A client of `tiny_http`, or of whatever speaks HTTP there.
fn connect(address: SocketAddr) -> Client {
    Place { address, mount: "", has_status: true }.connect()
}

/// The program as a server, and where it listens.
fn serving(arguments: &[&str]) -> (Process, SocketAddr) {
    let mut program = Process::start(Command::new(PROGRAM).args(arguments));
    let address = program.line().parse().expect("an address");
    (program, address)
}

/// A web server, once it listens.
fn listening(
    address: SocketAddr,
    mount: &'static str,
    mut processes: Vec<Process>,
    folder: Folder,
) -> Server {
    eventually("the server listens", || {
        let server = processes.last_mut().expect("a server");
        assert!(server.child.try_wait().expect("a child of ours").is_none(), "it has ended");
        TcpStream::connect(address).is_ok()
    });
    let place = Place { address, mount, has_status: true };
    Server { place, _processes: processes, _folder: folder }
}

/// A configuration of the guide.
fn configuration(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/foreign").join(name);
    fs::read_to_string(file).expect("a configuration")
}

/// An address that nobody listened on a moment ago.
fn free_address() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    free.local_addr().expect("an address")
}

/// A process. Dropping it kills it.
struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
    input: Option<ChildStdin>,
}

impl Process {
    fn start(command: &mut Command) -> Process {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().expect("the program starts");
        let out = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let input = child.stdin.take();
        Process { child, out, input }
    }

    /// The next line that it prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// Ends its standard input, and waits for its end.
    fn end(&mut self) -> ExitStatus {
        self.input = None;
        let mut status = None;
        eventually("the process has ended", || {
            status = self.child.try_wait().expect("a child of ours");
            status.is_some()
        });
        status.expect("a status")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder of its own. Dropping it removes it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static FOLDERS: AtomicUsize = AtomicUsize::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("gateway-foreign-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a folder");
        Folder(folder)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a path that is text")
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let file = self.0.join(name);
        fs::write(&file, text).expect("a file");
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A request as web servers send it.
fn scgi_request(path: &str) -> Vec<u8> {
    let variables = ["CONTENT_LENGTH", "0", "SCGI", "1", "REQUEST_METHOD", "GET", "PATH_INFO"];
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let variables = variables.into_iter().chain([path, "QUERY_STRING", query]);
    let head: String = variables.map(|word| format!("{word}\0")).collect();
    format!("{}:{head},", head.len()).into_bytes()
}

fn ask_scgi(mut stream: impl Read + Write, request: &[u8]) -> String {
    let mut answer = String::new();
    stream.write_all(request).expect("it takes the request");
    stream.read_to_string(&mut answer).expect("a whole answer");
    answer
}

#[test]
fn an_scgi_server_that_stops_answers_what_it_has_in_hand() {
    let (mut program, address) = serving(&["scgi", "-"]);
    let gate = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut client = connect(address).stream.into_inner();
    let path = format!("/gated?gate={}", gate.local_addr().expect("an address"));
    client.write_all(&scgi_request(&path)).expect("it takes the request");
    let mut gate = come_to(&gate);
    program.input = None;
    // What is not accepted any more is refused, or reset in the queue.
    eventually("it has stopped listening", || TcpStream::connect(address).is_err());
    gate.write_all(b"!").expect("it waits");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("a whole answer");
    assert!(answer.ends_with("first\nsecond\n"), "{answer}");
    assert!(program.end().success());
}

#[test]
fn an_scgi_server_listens_on_a_unix_socket() {
    let folder = Folder::new();
    let path = folder.0.join("socket");
    let mut program = Process::start(Command::new(PROGRAM).arg("scgi").arg(&path));
    assert_eq!(Path::new(&program.line()), path);
    let answer =
        ask_scgi(UnixStream::connect(&path).expect("a connection"), &scgi_request("/waits"));
    assert!(answer.starts_with("Status: 200 OK\r\n") && answer.ends_with("42"), "{answer}");
    assert!(program.end().success());
}

#[test]
fn what_speaks_no_scgi_is_told_so() {
    let (_program, address) = serving(&["scgi", "-"]);
    let connect = || connect(address).stream.into_inner();
    for (request, said) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "this port speaks SCGI"),
        (b"999999:", "at most 65536"),
        (b"6:A\0B\0C\0,", "has no value"),
        (b"3:abc,", "ends early"),
        (b"4:A\0B\0,", "REQUEST_METHOD is missing"),
    ] {
        let answer = ask_scgi(connect(), request);
        assert!(answer.starts_with("Status: 400 Bad Request\r\n"), "{answer}");
        assert!(answer.contains(said), "{answer}");
    }
    assert!(ask_scgi(connect(), &scgi_request("/waits")).ends_with("42"));
}

#[test]
fn a_program_that_no_server_has_started_says_how_to() {
    let output = Command::new(PROGRAM).env_remove("GATEWAY_INTERFACE").output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(said.contains("no web server has started it"), "{said}");
    // What it says to try works.
    let mut command = Command::new(PROGRAM);
    for setting in said.split(' ').filter(|word| word.contains('=')) {
        let (name, value) = setting.split_once('=').expect("a setting");
        command.env(name, value);
    }
    let output = command.env("PATH_INFO", "/waits").output().expect("it runs");
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && answer.ends_with("\r\n\r\n42"), "{answer}");
}

#[test]
fn a_program_whose_response_is_cut_off_fails() {
    let mut command = Command::new(PROGRAM);
    command.envs([("GATEWAY_INTERFACE", "CGI/1.1"), ("REQUEST_METHOD", "GET")]);
    let output = command.env("PATH_INFO", "/cut").output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.ends_with(b"first\n") && said.contains("a secret"), "{said}");
}

#[test]
fn tiny_http_that_is_unblocked_answers_what_it_has_in_hand() {
    let (mut program, address) = serving(&["tiny-http"]);
    let gate = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut client = connect(address);
    let path = format!("/gated?gate={}", gate.local_addr().expect("an address"));
    client.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
    let mut gate = come_to(&gate);
    program.input = None;
    gate.write_all(b"!").expect("it waits");
    assert_eq!(client.answer().text(), "first\nsecond\n");
    assert!(program.end().success());
}

#[test]
fn a_body_that_nobody_reads_is_no_next_request() {
    let (_program, address) = serving(&["tiny-http"]);
    let mut client = connect(address);
    let smuggled = "GET /panic HTTP/1.1\r\nhost: a\r\n\r\n";
    for framing in [
        format!("content-length: {}\r\n\r\n{smuggled}", smuggled.len()),
        format!(
            "transfer-encoding: chunked\r\n\r\n{:x}\r\n{smuggled}\r\n0\r\n\r\n",
            smuggled.len()
        ),
    ] {
        client.send(format!("POST /refuse HTTP/1.1\r\nhost: a\r\n{framing}"));
        assert_eq!(client.answer().status, 409);
        client.send("GET /waits HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.answer().text(), "42");
    }
}

#[test]
fn a_body_that_is_held_back_is_invited_although_nobody_reads_it() {
    let (_program, address) = serving(&["tiny-http"]);
    let mut client = connect(address);
    for _ in 0..2 {
        let framing = "content-length: 5000\r\nexpect: 100-continue\r\n\r\n";
        client.send(format!("POST /refuse HTTP/1.1\r\nhost: a\r\n{framing}"));
        assert_eq!(client.answer().status, 100);
        client.send([b'.'; 5000]);
        assert_eq!(client.answer().status, 409);
    }
}

#[test]
fn a_length_that_no_memory_has_ends_nobody() {
    let (mut program, address) = serving(&["tiny-http"]);
    let length = 1_u64 << 60;
    connect(address).send(format!("POST /refuse HTTP/1.1\r\ncontent-length: {length}\r\n\r\n"));
    let mut client = connect(address);
    client.send("GET /waits HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.answer().text(), "42");
    // It ends when both have been dealt with.
    assert!(program.end().success());
}

#[test]
fn http_1_0_has_no_chunks_so_the_body_is_collected() {
    let (_program, address) = serving(&["tiny-http"]);
    let mut client = connect(address);
    client.send("POST /echo HTTP/1.0\r\ncontent-length: 5\r\nconnection: keep-alive\r\n\r\nhello");
    let answer = client.answer();
    assert_eq!((answer.text().as_str(), answer.field("content-length")), ("hello", Some("5")));
    client.send("GET /endless?gate=127.0.0.1:1 HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
    assert_eq!(client.answer().status, 500);
}
