//! `Server`: the process under load. It never outlives this one.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use gateway_core::sleep;
use gateway_launch::HostName;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

use crate::settings::{Settings, THREADS};

/// How often a bounded wait looks.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// glibc's allocator keeps up to 24 MiB of what was freed once something large was, in each of its
/// arenas, of which there may be eight per processor: a leak would be lost in that. So it gives
/// large pieces and the ends of its arenas back at once. Other allocators don't look at these.
const ALLOCATOR: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "2"),
    ("MALLOC_MMAP_THRESHOLD_", "131072"),
    ("MALLOC_TRIM_THRESHOLD_", "131072"),
];

/// The program, which is built beside this one.
///
/// # Errors
///
/// When this one's place is unknown.
pub(crate) fn program() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("cannot find myself: {error}"))?;
    Ok(own.with_file_name("soak-server"))
}

/// A server on one host. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    output: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
    /// Where it tells what it counts, if it does.
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) log: PathBuf,
}

impl Server {
    /// Starts it, and waits until it listens. Its log goes to a file in `folder`.
    ///
    /// # Errors
    ///
    /// When it can't be started, or ends by itself.
    pub(crate) fn start(
        host: HostName,
        settings: &Settings,
        folder: &Path,
    ) -> Result<Server, String> {
        let log = folder.join(format!("{host}.log"));
        let created = fs::create_dir_all(folder).and_then(|()| File::create(&log));
        let file = created.map_err(|error| format!("cannot write {}: {error}", log.display()))?;
        let program = program()?;
        let mut child = Command::new(&program)
            .args(["--bind", "127.0.0.1:0", "--log", "warn", "--host", &host.to_string()])
            .args(["--threads", &THREADS.to_string()])
            .args(settings.arguments())
            .envs(ALLOCATOR)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            // A group of its own: Ctrl-C on a terminal is for this process alone.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let mut output = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let mut said = String::new();
        let place = |said: &str, what: &str| {
            let place = said.split(what).nth(1)?.split([',', '\n']).next()?;
            place.parse().ok()
        };
        loop {
            let read = output.read_line(&mut said);
            if let Some(address) = place(&said, "listening on http://") {
                let admin = place(&said, "admin on http://");
                return Ok(Server { child, output, address, admin, log });
            }
            if !read.is_ok_and(|read| read > 0) {
                let _ = child.kill();
                let status = child.wait();
                return Err(format!("the server did not start: {said:?}, {status:?}"));
            }
        }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Lets the server have so many descriptors, or as many as before.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn limit_descriptors(&self, limit: Option<u64>) -> Result<Option<u64>, String> {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit { current: limit, maximum };
        let before = prlimit(Some(self.pid()), Resource::Nofile, limit);
        before.map(|before| before.current).map_err(|error| format!("prlimit: {error}"))
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn terminate(&self) -> Result<(), String> {
        kill_process(self.pid(), Signal::TERM).map_err(|error| format!("kill: {error}"))
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, String> {
        self.child.try_wait().map_err(|error| format!("cannot wait for the server: {error}"))
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// When it does not come.
    pub(crate) async fn wait(&mut self, limit: Duration) -> Result<ExitStatus, String> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if begun.elapsed() > limit {
                return Err(format!("the server has not ended {limit:?} after SIGTERM"));
            }
            sleep(LOOK).await;
        }
    }

    /// What it said last, once it has ended.
    pub(crate) fn last_words(&mut self) -> String {
        let mut rest = String::new();
        let _ = self.output.read_to_string(&mut rest);
        rest.trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it has ended and been waited for, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
