//! What is printed: a line that moves while it runs, and the accounts at the end.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use gateway_launch::HostName;
use rustix::termios::tcgetwinsize;

use crate::kinds::{KINDS, Kind};
use crate::run::{Ran, Status};
use crate::tally::COLUMNS;

/// How often the line is drawn anew: on a terminal, and where each one stays.
const REDRAWN: Duration = Duration::from_millis(500);
const REPEATED: Duration = Duration::from_secs(10);

/// The progress line.
pub(crate) struct Progress {
    begun: Instant,
    total: Duration,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    pub(crate) fn new(total: Duration) -> Progress {
        let terminal = io::stdout().is_terminal();
        Progress { begun: Instant::now(), total, shown: None, terminal }
    }

    /// Draws it, when it is time.
    pub(crate) fn show(&mut self, hosts: &[HostName], statuses: &[Status]) {
        let pause = if self.terminal { REDRAWN } else { REPEATED };
        if self.shown.is_some_and(|shown| shown.elapsed() < pause) {
            return;
        }
        self.shown = Some(Instant::now());
        let elapsed = self.begun.elapsed();
        let mut line = format!("{} of {}", clock(elapsed), clock(self.total.max(elapsed)));
        for (host, status) in hosts.iter().zip(statuses) {
            let (doing, requests, wrong) = status.get();
            let doing = if doing.is_empty() { "starting" } else { &doing };
            line += &format!(" | {host}: {doing}, {requests} requests, {wrong} wrong");
        }
        match self.terminal {
            // A line that is broken could not be drawn over.
            true => print!("\r\x1b[K{}", line.chars().take(width()).collect::<String>()),
            false => println!("{line}"),
        }
        let _ = io::stdout().flush();
    }

    /// Makes room for what stays.
    pub(crate) fn clear(&self) {
        if self.terminal {
            print!("\r\x1b[K");
        }
    }
}

/// How much fits into a line of the terminal.
fn width() -> usize {
    tcgetwinsize(io::stdout()).map_or(80, |size| usize::from(size.ws_col)).saturating_sub(1)
}

fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

/// Says what each kind of client does.
pub(crate) fn kinds() {
    for kind in &KINDS {
        println!("{:20}{}", kind.name, kind.about);
    }
}

/// Prints one host's accounts. Whether they are in order.
pub(crate) fn host(ran: &Ran) -> bool {
    println!("\n{}", ran.host);
    row("", &COLUMNS.map(str::to_owned));
    for hostile in [false, true] {
        println!("  {}", if hostile { "hostile" } else { "well-behaved" });
        let ours = |(_, kind): &(usize, &Kind)| kind.hostile == hostile;
        for (place, kind) in KINDS.iter().enumerate().filter(ours) {
            let counts = ran.target.tally.of(place).all();
            row(kind.name, &counts.map(|count| count.to_string()));
        }
    }
    let sums = ran.target.tally.sums();
    row("all", &sums.map(|count| count.to_string()));
    for silence in &ran.silences {
        println!("  {silence}");
    }
    let failures = ran.target.tally.take_failures();
    for failure in &failures {
        println!("  WRONG: {failure}");
    }
    for fault in &ran.faults {
        println!("  FAULT: {fault}");
    }
    failures.is_empty() && ran.faults.is_empty()
}

fn row(name: &str, values: &[String; COLUMNS.len()]) {
    let columns: String = values.iter().map(|value| format!("{value:>12}")).collect();
    println!("    {name:18}{columns}");
}
