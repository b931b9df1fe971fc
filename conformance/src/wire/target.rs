//! `Target`: the server under test, what it offers, and how to start another of its kind.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

/// The server under test.
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// What goes into `Host`: host and port, as in the URL.
    pub authority: String,
    /// How long to wait.
    pub patience: Patience,
    /// The probe application, where the server runs it.
    pub probe: Option<Probe>,
    /// Whether it speaks HTTP/2 with prior knowledge.
    pub http2: bool,
    /// What its operator has declared.
    pub declared: Declared,
    /// Starts servers of the same kind.
    pub launcher: Option<Box<dyn Launcher>>,
    /// The server itself, where the suite has started it.
    pub instance: Option<Mutex<Box<dyn Instance>>>,
}

/// What the probe application of a server can do: the features that it names at `/probe`.
#[derive(Clone, Debug, Default)]
pub struct Probe {
    /// Its features; see `conformance/probe.md`.
    pub features: BTreeSet<String>,
}

/// How long to wait, each kind apart. One factor scales them all.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For what has to come: over as soon as it comes, so long is cheap.
    pub signal: Duration,
    /// To prove that nothing comes.
    pub silence: Duration,
    /// Between two looks at something that shows no signal.
    pub poll: Duration,
    /// For a server's own deadlines, where nobody has said how long they are. All of them are waited
    /// for at the same time, from the beginning of a run.
    pub deadline: Duration,
    /// For a whole run: what has not been tried by then is skipped, and says so.
    pub run: Duration,
}

impl Patience {
    /// The usual waits, times `factor`.
    #[must_use]
    pub fn scaled(factor: f64) -> Patience {
        Patience {
            // Many close idle connections after 5 s: no close that was asked for.
            signal: Duration::from_secs(4).mul_f64(factor),
            silence: Duration::from_millis(200).mul_f64(factor),
            poll: Duration::from_millis(10),
            // Some look at their deadlines of a minute only twice a minute.
            deadline: Duration::from_secs(95).mul_f64(factor),
            run: Duration::from_secs(110).mul_f64(factor),
        }
    }

    /// The same, where the server's own deadlines are known to be no longer than that.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Patience {
        Patience { deadline, run: self.run.max(deadline + LAST), ..self }
    }
}

/// What a run needs when the last deadline is over.
const LAST: Duration = Duration::from_secs(15);

/// What a server's operator has declared about it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Declared {
    /// How many connections it keeps open at most.
    pub connection_limit: Option<usize>,
    /// How many bytes a request's body may have.
    pub body_limit: Option<usize>,
    /// How many requests it serves on one connection.
    pub requests_per_connection: Option<usize>,
}

/// Starts servers of one kind.
pub trait Launcher: Send + Sync {
    /// Starts one, and returns once it listens.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    fn start(&self) -> io::Result<Box<dyn Instance>>;
}

/// A server that the suite has started. Dropping it ends it, whatever it is doing.
pub trait Instance: Send {
    /// Where it listens.
    fn address(&self) -> SocketAddr;
    /// Asks it to shut down, as SIGTERM does.
    fn terminate(&mut self);
    /// Whether it has ended.
    fn has_ended(&mut self) -> bool;
    /// The memory that it holds, in bytes, where that can be said.
    fn memory(&self) -> Option<u64>;
    /// How many descriptors it holds, where that can be said.
    fn descriptors(&self) -> Option<usize>;
}
