//! The server's settings: flags of the launcher, and what the clients expect of them.
//!
//! A flag that the launcher does not know yet is left out, and said to be: what depends on it is
//! then not expected. The clients' own bounds stand here as well, because they only make sense
//! beside the server's.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The launcher's flags, and what they are set to here.
const FLAGS: [(&str, &str); 9] = [
    ("--head-seconds", "3"),
    ("--body-seconds", "3"),
    ("--handler-seconds", "4"),
    ("--write-seconds", "3"),
    ("--idle-seconds", "5"),
    ("--drain-seconds", "8"),
    ("--connection-limit", "256"),
    ("--body-limit", "1048576"),
    ("--admin", "127.0.0.1:0"),
];

/// How many threads the server has: as many as may be blocked by a handler that should not block.
pub(crate) const THREADS: usize = 2;

/// How long a client waits for what has to come. Longer than any answer takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How late a deadline of the server may be.
pub(crate) const LATE: Duration = Duration::from_secs(10);

/// The longest pause, in milliseconds, of a slow client that is well-behaved: far below any
/// deadline.
pub(crate) const PAUSE_MILLIS: u64 = 300;

/// What the server was told.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    known: Vec<bool>,
}

impl Settings {
    /// Asks the server which flags it knows.
    ///
    /// # Errors
    ///
    /// When it can't be asked.
    pub(crate) fn ask(program: &Path) -> Result<Settings, String> {
        let asked = Command::new(program).arg("--help").output();
        let help = asked.map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        Ok(Settings::known_by(&String::from_utf8_lossy(&help.stdout)))
    }

    /// The flags that a text of help speaks of.
    pub(crate) fn known_by(help: &str) -> Settings {
        let knows = |flag: &str| help.split_whitespace().any(|word| word == flag);
        Settings { known: FLAGS.iter().map(|(flag, _)| knows(flag)).collect() }
    }

    /// The command line.
    pub(crate) fn arguments(&self) -> Vec<&'static str> {
        let told = FLAGS.iter().zip(&self.known).filter(|(_, known)| **known);
        told.flat_map(|((flag, value), _)| [*flag, *value]).collect()
    }

    /// What the launcher does not know.
    pub(crate) fn unknown(&self) -> Vec<&'static str> {
        let unknown = FLAGS.iter().zip(&self.known).filter(|(_, known)| !**known);
        unknown.map(|((flag, _), _)| *flag).collect()
    }

    /// Whether the server was told.
    pub(crate) fn knows(&self, flag: &str) -> bool {
        self.arguments().contains(&flag)
    }

    /// The deadline that a flag sets, if the server was told.
    pub(crate) fn deadline(&self, flag: &str) -> Option<Duration> {
        let arguments = self.arguments();
        let told = arguments.chunks(2).find(|told| told[0] == flag);
        told.and_then(|told| told[1].parse().ok()).map(Duration::from_secs)
    }
}
