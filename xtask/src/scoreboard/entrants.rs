//! `ENTRANTS`: the servers of the scoreboard, where each comes from, and how it is started.
//!
//! They are started as their users start them, but no client is a trusted proxy: some trust this
//! machine's own address unless told otherwise, and the suite calls from there. And what is built
//! here has a bound of memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::command;

use super::FOLDER;

/// A server.
pub(super) struct Entrant {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    source: Source,
}

/// Where a server comes from, with the words that start it, where `{port}` stands for its port.
enum Source {
    /// A host of ours.
    Host(&'static str),
    /// A program of the folder `bench`, and the crate whose version counts.
    Bench(&'static str, &'static str),
    /// A Python package, and its command.
    Python(&'static str, &'static str),
    /// Node and its own HTTP server.
    Node,
    /// A Debian package with a program of that name, and what starts it.
    System(&'static str, fn(&Path) -> String),
}

/// A server that can be started.
pub(super) struct Ready {
    pub(super) version: String,
    pub(super) command: String,
}

/// The Python packages of the scoreboard, and what they are made of where it makes a difference.
const PACKAGES: &[&str] = &[
    "uvicorn==0.54.0",
    "h11==0.16.0",
    "httptools==0.9.0",
    "hypercorn==0.18.0",
    "h2==4.4.1",
    "gunicorn==27.0.1",
    "waitress==3.0.2",
    "granian==2.8.7",
];

/// The most memory, in bytes, that a program of the folder `bench` may take: trillium would take all
/// that there is.
const MEMORY: u64 = 8 << 30;

/// Nobody has this address, which is meant for documents.
const NOBODY: &str = "192.0.2.1";

pub(super) const ENTRANTS: &[Entrant] = &[
    host("gateway-tokio", "tokio"),
    host("gateway-smol", "smol"),
    host("gateway-async-std", "async-std"),
    host("gateway-blocking", "blocking"),
    bench("hyper", "hyper and hyper-util, nothing around them", "probe-hyper"),
    bench("axum", "axum::serve", "probe-axum"),
    bench("actix-web", "two workers", "probe-actix"),
    bench("trillium", "on tokio", "probe-trillium"),
    python(
        "uvicorn-h11",
        "ASGI, parsed by h11",
        "uvicorn",
        "uvicorn --port {port} --loop asyncio --http h11 --no-proxy-headers asgi:app",
    ),
    python(
        "uvicorn-httptools",
        "ASGI, parsed by httptools",
        "uvicorn",
        "uvicorn --port {port} --loop asyncio --http httptools --no-proxy-headers asgi:app",
    ),
    python("hypercorn", "ASGI", "hypercorn", "hypercorn --bind 127.0.0.1:{port} asgi:app"),
    python(
        "granian-asgi",
        "ASGI, one worker",
        "granian",
        "granian --interface asgi --workers 1 --port {port} asgi:app",
    ),
    python(
        "granian-wsgi",
        "WSGI, one worker, 128 threads",
        "granian",
        "granian --interface wsgi --workers 1 --blocking-threads 128 --port {port} wsgi:app",
    ),
    python(
        "gunicorn",
        "WSGI, one worker of 128 threads",
        "gunicorn",
        // A slow client holds one of its threads, and some checks bring dozens of them.
        "gunicorn --worker-class gthread --threads 128 --bind 127.0.0.1:{port} \
         --forwarded-allow-ips {nobody} wsgi:app",
    ),
    python(
        "waitress",
        "WSGI, 16 threads",
        "waitress",
        "waitress-serve --listen 127.0.0.1:{port} --threads 16 wsgi:app",
    ),
    Entrant { name: "node", about: "node:http", source: Source::Node },
    Entrant {
        name: "nginx",
        about: "one worker, `return 200`",
        source: Source::System("nginx", nginx),
    },
    Entrant { name: "lighttpd", about: "one file", source: Source::System("lighttpd", lighttpd) },
];

const fn host(name: &'static str, host: &'static str) -> Entrant {
    Entrant { name, about: "this project", source: Source::Host(host) }
}

const fn bench(name: &'static str, about: &'static str, program: &'static str) -> Entrant {
    Entrant { name, about, source: Source::Bench(program, name) }
}

const fn python(
    name: &'static str,
    about: &'static str,
    package: &'static str,
    command: &'static str,
) -> Entrant {
    Entrant { name, about, source: Source::Python(package, command) }
}

/// Prepares a server.
///
/// # Errors
///
/// Says what is missing, and where to get it.
pub(super) fn ready(entrant: &Entrant) -> Result<Ready, String> {
    match &entrant.source {
        Source::Host(host) => Ok(Ready {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: format!("target/release/probe --host {host} --bind 127.0.0.1:{{port}}"),
        }),
        Source::Bench(program, package) => Ok(Ready {
            version: locked(package)?,
            command: format!("prlimit --as={MEMORY} bench/target/release/{program} {{port}}"),
        }),
        Source::Python(package, command) => {
            environment().as_ref().map_err(String::clone)?;
            let pins = PACKAGES.iter().filter_map(|pin| pin.split_once("=="));
            let version = pins.filter(|(name, _)| name == package).map(|(_, version)| version);
            let version = version.collect::<String>();
            let command = command.replace("{nobody}", NOBODY);
            let env = "env PYTHONPATH=conformance/apps PYTHONDONTWRITEBYTECODE=1";
            let command = format!("{env} {FOLDER}/python/bin/{command}");
            Ok(Ready { version, command })
        }
        Source::Node => {
            let version = said("node", Command::new("node").arg("--version"))?;
            let command = "node conformance/apps/node.mjs {port}".to_owned();
            Ok(Ready { version: version.trim_start_matches('v').to_owned(), command })
        }
        Source::System(package, start) => {
            let program = program(package)?;
            let version = said(package, Command::new(&program).arg("-v"))?;
            // `nginx version: nginx/1.22.1`, and `lighttpd/1.4.69 (ssl) - a light …`.
            let version = version.split('/').nth(1).and_then(|rest| rest.split(' ').next());
            let version = version.unwrap_or("of an unknown version").to_owned();
            let folder = PathBuf::from(format!("{FOLDER}/{package}"));
            let script = folder.join("start");
            write(&script, &start(&program))?;
            Ok(Ready { version, command: format!("sh {} {{port}}", script.display()) })
        }
    }
}

/// A crate's version in the lock file of `bench`.
fn locked(package: &str) -> Result<String, String> {
    let file = "bench/Cargo.lock";
    let text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let name = format!("name = \"{package}\"");
    let mut lines = text.lines().skip_while(|line| *line != name).skip(1);
    let version = lines.next().and_then(|line| line.strip_prefix("version = "));
    Ok(version.ok_or_else(|| format!("no {package} in {file}"))?.trim_matches('"').to_owned())
}

/// A Python environment with all packages, made once.
fn environment() -> &'static Result<(), String> {
    static MADE: OnceLock<Result<(), String>> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = format!("{FOLDER}/python");
        if !Path::new(&folder).join("bin/pip").exists() {
            command::run(Command::new("python3").args(["-m", "venv", &folder]))?;
        }
        let pip = format!("{folder}/bin/pip");
        let options = ["install", "--quiet", "--disable-pip-version-check"];
        command::run(Command::new(pip).args(options).args(PACKAGES))
    })
}

/// A program on the search path, else unpacked from its Debian package, which needs no privileges.
fn program(package: &str) -> Result<PathBuf, String> {
    if command::is_installed(package) {
        return Ok(package.into());
    }
    let folder = format!("{FOLDER}/debian");
    let program = PathBuf::from(format!("{folder}/usr/sbin/{package}"));
    if !program.exists() {
        fs::create_dir_all(&folder).map_err(|error| format!("{folder}: {error}"))?;
        let script = "cd \"$0\" && apt-get download -q \"$1\" && dpkg -x \"$1\"_*.deb .";
        let mut command = Command::new("sh");
        let unpacked = command::run(command.args(["-c", script, &folder, package]));
        unpacked.map_err(|error| format!("{error}; it is in the Debian package {package}"))?;
    }
    fs::canonicalize(&program).map_err(|error| format!("{}: {error}", program.display()))
}

/// What a program says of its version, on either output.
fn said(package: &str, command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| {
        format!("it can't be started: {error}; it is in the Debian package {package}")
    })?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    if output.status.success() { Ok(text) } else { Err(format!("{package}: {text}")) }
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    let written = file.parent().map_or(Ok(()), fs::create_dir_all);
    let written = written.and_then(|()| fs::write(file, text));
    written.map_err(|error| format!("{}: {error}", file.display()))
}

/// A script that starts nginx, each port with a folder of its own.
fn nginx(program: &Path) -> String {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|kind| format!("    {kind}_temp_path {kind};\n")).concat();
    format!(
        "#!/bin/sh\n\
         folder=$(cd \"$(dirname \"$0\")\" && pwd)/$1\n\
         mkdir -p \"$folder\"\n\
         cat > \"$folder/nginx.conf\" <<END\n\
         daemon off;\n\
         worker_processes 1;\n\
         pid nginx.pid;\n\
         error_log stderr;\n\
         events {{}}\n\
         http {{\n    \
             access_log off;\n{temporary}    \
             server {{\n        \
                 listen 127.0.0.1:$1;\n        \
                 location / {{ return 200 'ok\\n'; }}\n    \
             }}\n\
         }}\n\
         END\n\
         exec {} -p \"$folder\" -c nginx.conf -e stderr\n",
        program.display()
    )
}

/// A script that starts lighttpd, each port with a folder of its own.
fn lighttpd(program: &Path) -> String {
    // The modules stand beside the program, wherever that was unpacked.
    let modules = program.parent().and_then(Path::parent).map(|it| it.join("lib/lighttpd"));
    let modules = modules.filter(|it| it.is_dir());
    let modules = modules.map_or_else(String::new, |it| format!(" -m {}", it.display()));
    format!(
        "#!/bin/sh\n\
         folder=$(cd \"$(dirname \"$0\")\" && pwd)/$1\n\
         mkdir -p \"$folder\"\n\
         echo ok > \"$folder/index.html\"\n\
         cat > \"$folder/lighttpd.conf\" <<END\n\
         server.bind = \"127.0.0.1\"\n\
         server.port = $1\n\
         server.document-root = \"$folder\"\n\
         index-file.names = (\"index.html\")\n\
         END\n\
         exec {}{modules} -D -f \"$folder/lighttpd.conf\"\n",
        program.display()
    )
}
