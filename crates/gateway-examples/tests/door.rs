//! The launcher's front door: TLS and its reload, passed sockets, PROXY headers, a shared port, and
//! what the service manager is told.

#[macro_use]
mod child;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};

use child::{EXAMPLES, End, Program, command, connect, get, listening, request};
use gateway_tests::PATIENCE;
use gateway_tests::secure::{Ask, Folder, shown};
use rustix::process::Signal;

on_each_host!(
    tls_is_served_and_sighup_reads_its_files_again,
    certificates_and_keys_come_in_pairs,
    a_certificate_that_can_not_be_read_is_one_sentence_and_code_1,
    a_list_of_proxies_that_makes_no_sense_is_refused_with_code_2,
    a_proxy_is_believed,
    a_port_is_shared_with_a_flag_alone,
    a_socket_that_was_passed_is_served,
    a_socket_that_was_not_passed_is_one_sentence_and_code_1,
    the_service_manager_is_told,
);

/// The program on a free port, with more flags.
fn started(host: &str, flags: &[&str]) -> Command {
    let mut command = command(EXAMPLES);
    command.args(["--host", host, "--bind", "127.0.0.1:0"]).args(flags);
    command
}

fn address(program: &Program) -> SocketAddr {
    let line = program.line().replace("https://", "http://");
    listening(&line).expect("the start-up line").0
}

/// The flags for certificates.
fn tls_flags(folder: &Folder, files: &[&str]) -> Vec<String> {
    let flags = files.iter().flat_map(|file| {
        let (certificate, key) = folder.files(file);
        let [certificate, key] = [certificate, key].map(|path| path.display().to_string());
        ["--tls-cert".to_owned(), certificate, "--tls-key".to_owned(), key]
    });
    flags.collect()
}

fn tls_is_served_and_sighup_reads_its_files_again(host: &str) {
    let folder = Folder::new();
    let first = folder.certificate("first", &["a.test"]);
    let second = folder.certificate("second", &["b.test"]);
    let program = Program::start(started(host, &[]).args(tls_flags(&folder, &["first", "second"])));
    let line = program.line();
    assert!(line.starts_with("listening on https://127.0.0.1:"), "{line}");
    let (address, _) = listening(&line.replace("https://", "http://")).expect("an address");
    let ask = |name| {
        let ask = Ask { name: Some(name), ..Ask::default() };
        let mut client = ask.over(TcpStream::connect(address).unwrap()).unwrap();
        client.send(request("/hello"));
        assert_eq!(client.answer().text(), "Hello, World!");
        shown(&client)
    };
    assert!(ask("a.test") == first && ask("b.test") == second);
    let renewed = folder.certificate("second", &["b.test"]);
    program.signal(Signal::HUP);
    program.complaint("the certificates have been read again");
    assert!(ask("a.test") == first && ask("b.test") == renewed);
    std::fs::write(folder.files("first").1, "").unwrap();
    program.signal(Signal::HUP);
    let line = program.complaint("the certificates stay as they were");
    assert!(line.contains("first.key: there is no unencrypted key in it"), "{line}");
    assert!(ask("a.test") == first);
    program.signal(Signal::TERM);
    assert_eq!(program.end().code, Some(0));
}

fn certificates_and_keys_come_in_pairs(host: &str) {
    for (flags, expected) in [
        (&["--tls-cert", "a"][..], "--tls-key"),
        (&["--tls-key", "a"], "--tls-cert"),
        (&["--tls-cert", "a", "--tls-cert", "b", "--tls-key", "a"], "2 certificates and 1 keys"),
    ] {
        let end = Program::start(&mut started(host, flags)).end();
        assert_refused(&end, 2, expected);
    }
}

fn a_certificate_that_can_not_be_read_is_one_sentence_and_code_1(host: &str) {
    let flags = ["--tls-cert", "/nowhere/a.pem", "--tls-key", "/nowhere/a.key"];
    let end = Program::start(&mut started(host, &flags)).end();
    assert_refused(&end, 1, "cannot read /nowhere/a.pem: ");
}

fn a_list_of_proxies_that_makes_no_sense_is_refused_with_code_2(host: &str) {
    let end = Program::start(&mut started(host, &["--proxy-from", "10.0.0.0/8,nobody"])).end();
    assert_refused(&end, 2, "`nobody` is no network such as 10.0.0.0/8, no address, and not unix");
}

fn assert_refused(end: &End, code: i32, expected: &str) {
    assert_eq!((end.code, end.out.len(), end.err.len()), (Some(code), 0, 1), "{end:?}");
    assert!(end.err[0].starts_with("error: ") && end.err[0].contains(expected), "{end:?}");
}

fn a_proxy_is_believed(host: &str) {
    let program = Program::start(&mut started(host, &["--proxy-from", "127.0.0.0/8"]));
    let address = address(&program);
    let mut client = connect(address);
    client.send(format!("PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\n{}", request("/hello")));
    assert_eq!(client.answer().text(), "Hello, World!");
    let mut client = connect(address);
    client.send(request("/hello"));
    assert!(client.is_closed());
    let line = program.complaint("no PROXY header from a trusted proxy");
    assert!(line.contains("WARN"), "{line}");
}

fn a_port_is_shared_with_a_flag_alone(host: &str) {
    let first = Program::start(&mut started(host, &["--reuse-port"]));
    let address = address(&first).to_string();
    let on_the_same = |flags: &[&str]| {
        Program::start(command(EXAMPLES).args(["--host", host, "--bind", &address]).args(flags))
    };
    let second = on_the_same(&["--reuse-port"]);
    second.line();
    let mut third = command(EXAMPLES);
    third.args(["--host", host, "--bind", &address]).env("GATEWAY_REUSE_PORT", "1");
    Program::start(&mut third).line();
    assert_refused(&on_the_same(&[]).end(), 1, "choose another port");
    first.signal(Signal::TERM);
    assert_eq!(first.end().code, Some(0));
    assert_eq!(get(address.parse().unwrap(), "/hello").text(), "Hello, World!");
}

/// Runs the program with one or two sockets, as a service manager does: from descriptor 3 on. What
/// it says on standard error comes on standard output.
fn with_passed(sockets: Vec<OwnedFd>, names: &str, host: &str, bind: &str) -> Program {
    // The shell's own process becomes the program's, so its number is the one that is meant.
    let script = "LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 4<&2 0</dev/null 2>&1";
    let mut command = command("sh");
    command.args(["-c", script, EXAMPLES, "--host", host, "--bind", bind]);
    command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names);
    let mut sockets = sockets.into_iter();
    let input = sockets.next().map_or_else(Stdio::null, Stdio::from);
    let errors = sockets.next().map_or_else(Stdio::piped, Stdio::from);
    Program::with(&mut command, input, errors)
}

fn a_socket_that_was_passed_is_served(host: &str) {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let folder = Folder::new();
    let path = folder.path("socket");
    let unix = UnixListener::bind(&path).unwrap();
    // A client may come before the server does.
    let mut early = connect(address);
    early.send(request("/hello"));

    let program = with_passed(vec![tcp.try_clone().unwrap().into()], "web", host, "systemd");
    let line = program.line();
    assert!(line.starts_with(&format!("listening on http://{address}, ")), "{line}");
    assert_eq!(early.answer().text(), "Hello, World!");
    program.signal(Signal::TERM);
    assert_eq!(program.end().code, Some(0));

    let both = vec![tcp.into(), unix.into()];
    let program = with_passed(both, "web:admin", host, "systemd:admin");
    let line = program.line();
    assert!(line.starts_with(&format!("listening on unix:{}, ", path.display())), "{line}");
    let mut client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(request("/hello").as_bytes()).unwrap();
    let mut status = [0; 15];
    client.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200 OK");
    drop(client);
    program.signal(Signal::TERM);
    assert_eq!(program.end().code, Some(0));
    assert!(path.exists(), "the file is the service manager's");
}

fn a_socket_that_was_not_passed_is_one_sentence_and_code_1(host: &str) {
    for bind in ["systemd", "systemd:web"] {
        let end = Program::start(command(EXAMPLES).args(["--host", host, "--bind", bind])).end();
        let expected = format!("cannot listen on {bind}: no service manager has passed a socket");
        assert_refused(&end, 1, &expected);
    }
    let socket = || TcpListener::bind("127.0.0.1:0").unwrap().into();
    let end = with_passed(vec![socket()], "web", host, "systemd:admin").end();
    let said = [end.out, end.err].concat().join(" ");
    assert!(said.contains("no socket named `admin` has been passed, only `web`"), "{said}");
    let file = std::fs::File::open("/dev/null").unwrap();
    let end = with_passed(vec![file.into()], "web", host, "systemd").end();
    let said = [end.out, end.err].concat().join(" ");
    assert!(said.contains("cannot listen on systemd: fd 3 is not a socket"), "{said}");
}

fn the_service_manager_is_told(host: &str) {
    let folder = Folder::new();
    folder.certificate("a", &["a.test"]);
    let manager = UnixDatagram::bind(folder.path("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut message = [0; 256];
        let length = manager.recv(&mut message).expect("a message");
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    let mut command = started(host, &[]);
    command.args(tls_flags(&folder, &["a"])).env("NOTIFY_SOCKET", folder.path("notify"));
    let program = Program::start(&mut command);
    assert_eq!(told(), "READY=1\n");
    program.signal(Signal::HUP);
    let reloading = told();
    let moment = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("a moment");
    assert!(moment.trim_end().parse::<u64>().is_ok(), "{moment}");
    assert_eq!(told(), "READY=1\n");
    program.signal(Signal::TERM);
    assert_eq!(told(), "STOPPING=1\n");
    assert_eq!(program.end().code, Some(0));

    let program = Program::start(command.env("WATCHDOG_USEC", "200000"));
    assert_eq!(told(), "READY=1\n");
    assert_eq!([told(), told(), told()], ["WATCHDOG=1\n"; 3]);
    drop(program);
}
