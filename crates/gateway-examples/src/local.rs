//! `Service`: a real PostgreSQL or Redis of one's own, on loopback, for as long as it is held.
//!
//! For the demo and for tests: it has a folder, a port and a password that nobody else has, and leaves
//! nothing behind. PostgreSQL does not run as root, so whoever is root starts both as `nobody`. Both end
//! with the thread that has started them, however that ends: `setpriv`, of util-linux, sees to it.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// `nobody` and `nogroup`, as Debian has them.
const NOBODY: u32 = 65_534;

/// Where ports are looked for: below those that Linux gives to connections (32768), so that a service
/// that is started again finds its port free.
const PORTS: std::ops::Range<usize> = 16_000..32_000;

/// How often a start is tried, and how far apart: after a SIGKILL, PostgreSQL refuses until its last
/// process is gone, and nothing tells when that is.
const TRIES: usize = 100;
const BETWEEN: Duration = Duration::from_millis(100);

/// Where Debian has PostgreSQL's programs: not on the search path, and by their version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// What PostgreSQL and Redis say, but for the first letter, when they are ready.
const READY: &str = "eady to accept connections";

/// Which service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A database.
    Postgres,
    /// A cache, which writes nothing to the disk.
    Redis,
}

/// A running service. Dropping it ends it, and removes its folder.
pub struct Service {
    kind: Kind,
    folder: PathBuf,
    port: usize,
    password: String,
    tls: bool,
    child: Option<Child>,
}

impl Service {
    /// Starts one. With a certificate and its key, in PEM, it speaks TLS.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound), with the name of Debian's package, when it is not
    /// installed; else what it complains of.
    pub fn start(kind: Kind, certificate: Option<(&Path, &Path)>) -> io::Result<Service> {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        kind.installed()?;
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = format!("gateway-{}-{}-{number}", kind.program(), std::process::id());
        let folder = std::env::temp_dir().join(folder);
        DirBuilder::new().mode(0o700).create(&folder)?;
        let (port, tls) = (free_port(number)?, certificate.is_some());
        // From here on its end removes the folder.
        let mut service = Service { kind, folder, port, password: random()?, tls, child: None };
        service.prepare(certificate)?;
        service.restart()?;
        Ok(service)
    }

    /// Where it is, password included.
    #[must_use]
    pub fn url(&self) -> String {
        let Service { port, password, .. } = self;
        let mode = if self.tls { "require" } else { "disable" };
        match (self.kind, self.tls) {
            (Kind::Postgres, _) => {
                format!("postgres://guestbook:{password}@127.0.0.1:{port}/postgres?sslmode={mode}")
            }
            (Kind::Redis, false) => format!("redis://:{password}@127.0.0.1:{port}"),
            (Kind::Redis, true) => format!("rediss://:{password}@127.0.0.1:{port}"),
        }
    }

    /// Kills it with SIGKILL, as a machine that fails would.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn kill(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill()?;
        child.wait().map(drop)
    }

    /// Starts it again after [`kill`](Service::kill), at the same place.
    ///
    /// # Errors
    ///
    /// What it complains of.
    pub fn restart(&mut self) -> io::Result<()> {
        let mut complaint = String::new();
        for _ in 0..TRIES {
            let mut child = self.command()?.stdin(Stdio::null()).spawn()?;
            let said = match self.kind {
                Kind::Postgres => child.stderr.take().map(until_ready),
                Kind::Redis => child.stdout.take().map(until_ready),
            };
            match said {
                Some(Ok(())) => {
                    self.child = Some(child);
                    return Ok(());
                }
                Some(Err(said)) => complaint = said,
                None => {}
            }
            child.kill()?;
            child.wait()?;
            thread::sleep(BETWEEN);
        }
        Err(io::Error::other(format!("{} does not start: {complaint}", self.kind.program())))
    }

    /// Fills its folder.
    fn prepare(&self, certificate: Option<(&Path, &Path)>) -> io::Result<()> {
        fs::write(self.path("password"), &self.password)?;
        if let Some((certificate, key)) = certificate {
            fs::copy(certificate, self.path("certificate"))?;
            fs::copy(key, self.path("key"))?;
        }
        if self.kind == Kind::Redis {
            fs::write(self.path("redis.conf"), self.redis_conf())?;
        }
        for file in fs::read_dir(&self.folder)? {
            let file = file?.path();
            fs::set_permissions(&file, Permissions::from_mode(0o600))?;
            give_away(&file)?;
        }
        give_away(&self.folder)?;
        if self.kind == Kind::Redis {
            return Ok(());
        }
        let mut initdb = self.within("initdb")?;
        initdb.args(["--username=guestbook", "--auth=scram-sha-256", "--pwfile=password"]);
        initdb.args(["--encoding=UTF8", "--locale=C", "--no-sync", "--pgdata=data"]);
        let made = initdb.output()?;
        match made.status.success() {
            true => Ok(()),
            false => Err(io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned())),
        }
    }

    fn redis_conf(&self) -> String {
        let Service { port, password, .. } = self;
        let ports = match self.tls {
            false => format!("port {port}"),
            true => format!(
                "port 0\ntls-port {port}\ntls-auth-clients no\ntls-cert-file certificate\n\
                 tls-key-file key\ntls-ca-cert-file certificate"
            ),
        };
        format!("bind 127.0.0.1\n{ports}\nrequirepass {password}\nsave \"\"\nappendonly no\n")
    }

    /// What runs it.
    fn command(&self) -> io::Result<Command> {
        let mut command = self.within(self.kind.program())?;
        if self.kind == Kind::Redis {
            command.arg("redis.conf").stdout(Stdio::piped()).stderr(Stdio::null());
            return Ok(command);
        }
        command.args(["-D", "data", "-p", &self.port.to_string()]);
        // It is thrown away in the end, so nothing has to reach the disk.
        let mut settings =
            vec!["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"];
        if self.tls {
            settings.extend(["ssl=on", "ssl_cert_file=../certificate", "ssl_key_file=../key"]);
        }
        for setting in settings {
            command.args(["-c", setting]);
        }
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        Ok(command)
    }

    /// One of its programs, in its folder, and not as root.
    fn within(&self, program: &str) -> io::Result<Command> {
        let mut command = Command::new("setpriv");
        // SIGINT ends both without waiting for those who use them.
        command.args(["--pdeathsig", "INT"]);
        if is_root()? {
            let (user, group) = (format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"));
            command.args([&user, &group, "--clear-groups"]);
        }
        command.arg(self.kind.find(program)?).current_dir(&self.folder).env("LC_ALL", "C");
        // Its own group, so that Ctrl-C in a terminal does not end it before those who use it.
        command.process_group(0);
        Ok(command)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.kind == Kind::Postgres && self.child.is_some() {
            // Killed, it would leave a piece of the system's shared memory behind.
            let stop = self.within("pg_ctl");
            let _ = stop
                .and_then(|mut stop| stop.args(["stop", "-D", "data", "-m", "immediate"]).output());
        }
        let _ = self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Kind {
    /// Whether it is installed.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound), with the name of Debian's package, when it is not.
    pub fn installed(self) -> io::Result<()> {
        self.find("setpriv")?;
        self.find(self.program()).map(drop)
    }

    fn program(self) -> &'static str {
        match self {
            Kind::Postgres => "postgres",
            Kind::Redis => "redis-server",
        }
    }

    fn find(self, program: &str) -> io::Result<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        if let (Kind::Postgres, Ok(versions)) = (self, fs::read_dir(DEBIAN)) {
            folders.extend(versions.flatten().map(|version| version.path().join("bin")));
        }
        let found = folders.iter().map(|folder| folder.join(program)).find(|path| path.is_file());
        found.ok_or_else(|| {
            let package = match (program, self) {
                ("setpriv", _) => "util-linux",
                (_, Kind::Postgres) => "postgresql",
                (_, Kind::Redis) => "redis-server",
            };
            let remedy =
                format!("{program} is not installed: Debian's package `{package}` brings it");
            io::Error::new(io::ErrorKind::NotFound, remedy)
        })
    }
}

/// Reads what a service says until it is ready, or else until its end, which is the error. A thread
/// reads on, so that the pipe never fills.
fn until_ready(pipe: impl Read + Send + 'static) -> Result<(), String> {
    let (mut lines, mut said) = (BufReader::new(pipe), String::new());
    while !said.contains(READY) {
        if lines.read_line(&mut said).unwrap_or(0) == 0 {
            return Err(said);
        }
    }
    thread::spawn(move || io::copy(&mut lines, &mut io::sink()));
    Ok(())
}

/// A port that is free now. Processes look from different places on.
fn free_port(number: usize) -> io::Result<usize> {
    let first = std::process::id() as usize * 31 + number;
    let ports = (first..first + PORTS.len()).map(|n| PORTS.start + n % PORTS.len());
    let is_free = |port: &usize| TcpListener::bind(format!("127.0.0.1:{port}")).is_ok();
    ports.into_iter().find(is_free).ok_or_else(|| io::Error::other("no port is free"))
}

/// Sixteen random bytes in hexadecimal.
fn random() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.map(|byte| format!("{byte:02x}")).concat())
}

fn is_root() -> io::Result<bool> {
    Ok(fs::metadata("/proc/self")?.uid() == 0)
}

fn give_away(path: &Path) -> io::Result<()> {
    if is_root()? { chown(path, Some(NOBODY), Some(NOBODY)) } else { Ok(()) }
}
