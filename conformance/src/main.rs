//! `gateway-conformance`: the command line of the conformance suite.

#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use gateway_conformance::Verdict;
use gateway_conformance::baseline::{Baseline, Changes};
use gateway_conformance::launch::{self, Exec, Output};
use gateway_conformance::report::{self, Detail, Paint, Report};
use gateway_conformance::rule::{self, FAMILIES};
use gateway_conformance::scout::{self, Place};
use gateway_conformance::specification;
use gateway_conformance::wire::{self, Declared, Instance, Options, Patience, Progress, Target};

const EXIT: &str = "\
Exit status:
  0  all well; warnings too, without --strict
  1  the server failed: fail or flaky, or it ended during the run; with --baseline: anything
     changed
  2  the command line, or a file that it names, can't be understood
  3  the suite could not do its work: no server, nothing that could be tested, or an error of
     its own, whatever else was found";

/// Checks any HTTP server against the rules of the gateway, and shows the rules.
#[derive(Parser)]
#[command(version, after_help = EXIT, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Lists all rules: the same as `list`
    #[arg(long)]
    list: bool,
    /// Says everything about one rule: the same as `explain`
    #[arg(long, value_name = "ID")]
    explain: Option<String>,
    /// When to use colours; NO_COLOR is respected
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto)]
    color: Colour,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Colour {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand)]
enum Command {
    /// Checks a server from outside
    #[command(after_help = EXIT)]
    Wire(Box<Wire>),
    /// Joins JSON reports into one page, or into tables
    Matrix {
        /// Reports that `wire --json` has written
        #[arg(required = true)]
        reports: Vec<PathBuf>,
        /// The page to write
        #[arg(long, value_name = "FILE", required_unless_present = "markdown")]
        html: Option<PathBuf>,
        /// The tables to write, in Markdown
        #[arg(long, value_name = "FILE")]
        markdown: Option<PathBuf>,
        /// Where the tables link to for the rules
        #[arg(long, value_name = "PATH", default_value = "specification.md")]
        specification: String,
    },
    /// Lists all rules
    List {
        /// For machines, with everything about each
        #[arg(long)]
        json: bool,
    },
    /// Says everything about one rule
    Explain {
        /// The rule's id: REQ-12
        id: String,
    },
    /// Prints the specification, in Markdown
    Spec,
}

#[derive(Args)]
struct Wire {
    /// Where the server is: http://127.0.0.1:8000
    url: Option<String>,
    /// Starts the server, and more of its kind where a rule needs that: a command with {port} or
    /// {address} in it. Beside a URL it starts only the others
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,
    /// The server's name in reports
    #[arg(long)]
    name: Option<String>,
    /// Checks this rule alone; may be repeated
    #[arg(long = "rule", value_name = "ID")]
    rules: Vec<String>,
    /// Checks this family alone; may be repeated
    #[arg(long = "family", value_name = "FAMILY")]
    families: Vec<String>,
    /// How many rules are checked beside each other
    #[arg(long, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Multiplies every wait, for slow machines
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor)]
    patience: f64,
    /// The server's longest deadline, where it is known; else they are waited for up to 95 seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..))]
    deadline: Option<u16>,
    /// How many connections the server keeps open at most
    #[arg(long, value_name = "N")]
    connection_limit: Option<usize>,
    /// How many bytes a request's body may have
    #[arg(long, value_name = "BYTES")]
    body_limit: Option<usize>,
    /// How many requests the server serves on one connection
    #[arg(long, value_name = "N")]
    requests_per_connection: Option<usize>,
    /// Writes the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the report as JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Writes the report as a page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Failures that are known (TOML): only changes count
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Writes what fails as a baseline, and keeps the reasons that it has already
    #[arg(long, value_name = "FILE", conflicts_with = "baseline")]
    write_baseline: Option<PathBuf>,
    /// Counts warnings as failures
    #[arg(long)]
    strict: bool,
    /// Prints the summary alone
    #[arg(long, short, conflicts_with = "verbose")]
    quiet: bool,
    /// Prints what passed, too
    #[arg(long, short)]
    verbose: bool,
}

/// Why a command could not do its work.
enum Failure {
    /// What the user said can't be understood.
    Usage(String),
    /// The suite can't go on.
    Work(String),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match (cli.command, cli.explain) {
        (Some(Command::Wire(wire)), _) => check(&wire, cli.color),
        (Some(Command::Matrix { reports, html, markdown, specification }), _) => {
            matrix(&reports, html.as_deref(), markdown.as_deref(), &specification)
        }
        (Some(Command::List { json: true }), _) => print(&specification::json()),
        (Some(Command::Explain { id }), _) | (None, Some(id)) => explain(&id),
        (Some(Command::Spec), _) => print(&specification::markdown()),
        (Some(Command::List { json: false }), _) | (None, None) => print(&specification::list()),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(Failure::Usage(text)) => complain(&text, 2),
        Err(Failure::Work(text)) => complain(&text, 3),
    }
}

fn complain(text: &str, status: u8) -> ExitCode {
    eprintln!("error: {text}");
    ExitCode::from(status)
}

fn explain(id: &str) -> Result<u8, Failure> {
    let rule = rule::find(id).ok_or_else(|| Failure::Usage(no_rule(id)))?;
    print(&specification::explain(rule))
}

fn no_rule(id: &str) -> String {
    match &specification::near(id)[..] {
        [] => format!("there is no rule `{id}`; `gateway-conformance list` shows all of them"),
        near => format!("there is no rule `{id}`; near it are {}", near.join(", ")),
    }
}

fn matrix(
    files: &[PathBuf],
    page: Option<&Path>,
    tables: Option<&Path>,
    specification: &str,
) -> Result<u8, Failure> {
    let mut reports = Vec::new();
    for file in files {
        let report = report::from_json(&read(file)?);
        reports.push(report.map_err(|why| Failure::Usage(format!("{}: {why}", file.display())))?);
    }
    if let Some(page) = page {
        write(page, &report::html(&reports))?;
    }
    if let Some(tables) = tables {
        write(tables, &report::markdown(&reports, specification))?;
    }
    Ok(0)
}

/// `wire`: finds the server, runs the rules, writes and prints the reports, and judges.
fn check(wire: &Wire, colour: Colour) -> Result<u8, Failure> {
    let only = wire.only()?;
    let baseline = match &wire.baseline {
        Some(file) => Some(Baseline::read(&read(file)?).map_err(|why| in_file(file, &why))?),
        None => None,
    };
    let (mut target, output) = wire.target()?;
    let url = format!("http://{}", target.authority);
    let report = Report::new(&target, wire.server_name(&target), url, wire.again());
    if !wire.quiet {
        eprintln!("{}", introduction(&report));
    }
    let report = report.with(run(
        &target,
        &Options { only, jobs: wire.jobs.into(), confirm: true },
        wire.quiet,
    ));
    let died = has_died(&mut target, &report);
    drop(target);

    wire.write(&report)?;
    let detail = match (wire.quiet, wire.verbose) {
        (true, _) => Detail::Quiet,
        (_, true) => Detail::Verbose,
        _ => Detail::Usual,
    };
    print(&report::text(&report, detail, paint(colour)))?;
    if died {
        eprintln!("the server ended during the run{output}");
        return Ok(1);
    }
    if let Some(file) = &wire.write_baseline {
        return wire.update(file, &report);
    }
    let changes = baseline.map(|baseline| baseline.compare(&report, wire.strict));
    if let Some(changes) = &changes {
        print(&changed(changes))?;
    }
    conclude(&report, changes.as_ref(), wire.strict)
}

/// Whether the server that the suite has started is there no more. One that has been missed, which
/// shows as errors, may still be on its way out.
fn has_died(target: &mut Target, report: &Report) -> bool {
    let Some(instance) = &mut target.instance else { return false };
    let Ok(instance) = instance.get_mut() else { return false };
    let missed = report.count(Verdict::Error) > 0;
    let until = Instant::now() + target.patience.signal;
    loop {
        match instance.has_ended() {
            false if missed && Instant::now() < until => thread::sleep(target.patience.poll),
            ended => return ended,
        }
    }
}

/// The exit status.
fn conclude(report: &Report, changes: Option<&Changes>, strict: bool) -> Result<u8, Failure> {
    use Verdict::{Error, Fail, Flaky, Pass, Warn};
    let any = |verdicts: &[Verdict]| verdicts.iter().any(|verdict| report.count(*verdict) > 0);
    if any(&[Error]) {
        return Err(Failure::Work("some rules could not be checked: see ERROR above".to_owned()));
    }
    if !any(&[Pass, Fail, Warn, Flaky]) {
        return Err(Failure::Work("nothing could be tested: see the reasons above".to_owned()));
    }
    let failed = match changes {
        Some(changes) => !changes.new.is_empty() || !changes.stale.is_empty(),
        None => any(&[Fail, Flaky]) || (strict && any(&[Warn])),
    };
    Ok(u8::from(failed))
}

impl Wire {
    /// The ids of the rules to check: empty for all.
    fn only(&self) -> Result<Vec<String>, Failure> {
        let checks = wire::checks();
        let checked = |id: &str| checks.iter().any(|check| check.rule == id);
        let mut only = Vec::new();
        for id in &self.rules {
            let rule = rule::find(id).ok_or_else(|| Failure::Usage(no_rule(id)))?;
            if !checked(rule.id) {
                let text = format!("{0} is not tested from outside: see `explain {0}`", rule.id);
                return Err(Failure::Usage(text));
            }
            only.push(rule.id.to_owned());
        }
        for name in &self.families {
            let family = FAMILIES.iter().find(|(prefix, ..)| prefix.eq_ignore_ascii_case(name));
            let Some((prefix, _, rules)) = family else {
                let all: Vec<&str> = FAMILIES.iter().map(|(prefix, ..)| *prefix).collect();
                let text = format!("there is no family `{name}`; there are {}", all.join(", "));
                return Err(Failure::Usage(text));
            };
            let ids = rules.iter().map(|rule| rule.id).filter(|id| checked(id));
            let before = only.len();
            only.extend(ids.map(str::to_owned));
            if only.len() == before {
                let text = format!("no rule of {prefix} is tested from outside");
                return Err(Failure::Usage(text));
            }
        }
        Ok(only)
    }

    /// The server, found or started, and what it offers; and what it prints, if it was started.
    fn target(&self) -> Result<(Target, Output), Failure> {
        let mut patience = Patience::scaled(self.patience);
        if let Some(seconds) = self.deadline {
            patience = patience.with_deadline(Duration::from_secs(seconds.into()));
        }
        let exec = self.exec.as_deref().map(Exec::parse).transpose().map_err(Failure::Usage)?;
        let place = self.url.as_deref().map(Place::parse).transpose().map_err(Failure::Usage)?;
        if exec.is_some() {
            launch::end_on_signals().map_err(|error| Failure::Work(error.to_string()))?;
        }
        let declared = Declared {
            connection_limit: self.connection_limit,
            body_limit: self.body_limit,
            requests_per_connection: self.requests_per_connection,
        };
        let (server, address, authority) = match (&place, &exec) {
            (Some(place), _) => {
                if let Some(path) = &place.unused {
                    eprintln!("note: `{path}` is ignored; the suite asks for paths of its own");
                }
                let address = place.find(patience).map_err(Failure::Work)?;
                (None, address, place.authority.clone())
            }
            (None, Some(exec)) => {
                let server = exec.start_server();
                let server = server.map_err(|error| Failure::Work(error.to_string()))?;
                let address = server.address();
                (Some(server), address, address.to_string())
            }
            (None, None) => return Err(Failure::Usage("name a URL, or give --exec".to_owned())),
        };
        let output = server.as_ref().map(launch::Server::output).unwrap_or_default();
        let target = scout::look(address, authority, patience, declared);
        let mut target = target.map_err(|why| match &server {
            Some(_) => Failure::Work(format!("{why}{output}")),
            None => Failure::Work(why),
        })?;
        target.instance = server.map(|it| Mutex::new(Box::new(it) as Box<dyn Instance>));
        target.launcher = exec.map(|exec| Box::new(exec) as Box<dyn wire::Launcher>);
        Ok((target, output))
    }

    fn server_name(&self, target: &Target) -> String {
        let program = || {
            let program = self.exec.as_deref()?.split_whitespace().next()?;
            Some(Path::new(program).file_name()?.to_string_lossy().into_owned())
        };
        let name = self.name.clone().or_else(|| if self.url.is_none() { program() } else { None });
        name.unwrap_or_else(|| target.authority.clone())
    }

    /// The command that checks one rule again, up to its id.
    fn again(&self) -> String {
        let mut words = vec!["gateway-conformance wire".to_owned()];
        words.extend(self.url.as_deref().map(quoted));
        words.extend(self.exec.iter().map(|command| format!("--exec {}", quoted(command))));
        let numbers = [
            ("--connection-limit", self.connection_limit),
            ("--body-limit", self.body_limit),
            ("--requests-per-connection", self.requests_per_connection),
        ];
        for (option, number) in numbers {
            words.extend(number.map(|number| format!("{option} {number}")));
        }
        words.extend(self.deadline.map(|seconds| format!("--deadline {seconds}")));
        if self.patience != 1.0 {
            words.push(format!("--patience {}", self.patience));
        }
        words.push("--rule".to_owned());
        words.join(" ")
    }

    /// Writes the reports that were asked for.
    fn write(&self, report: &Report) -> Result<(), Failure> {
        if let Some(file) = &self.json {
            write(file, &report::to_json(report))?;
        }
        if let Some(file) = &self.junit {
            write(file, &report::junit(report))?;
        }
        if let Some(file) = &self.html {
            write(file, &report::html(std::slice::from_ref(report)))?;
        }
        Ok(())
    }

    /// Writes what fails as a baseline.
    fn update(&self, file: &Path, report: &Report) -> Result<u8, Failure> {
        let before = match fs::read_to_string(file) {
            Ok(text) => Baseline::parse(&text).map_err(|why| in_file(file, &why))?,
            Err(error) if error.kind() == ErrorKind::NotFound => Baseline::default(),
            Err(error) => return Err(in_file(file, &error.to_string())),
        };
        // A run with errors says too little to be written down.
        conclude(report, None, self.strict)?;
        write(file, &Baseline::of(report, self.strict, &before).to_toml())?;
        eprintln!("{} is written; give each entry its reason", file.display());
        Ok(0)
    }
}

/// Runs the rules, with a progress bar where somebody may look at it.
fn run(target: &Target, options: &Options, quiet: bool) -> Vec<gateway_conformance::Outcome> {
    let bar = if quiet || !io::stderr().is_terminal() {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(0)
    };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let outcomes = wire::run(target, options, &|progress| match progress {
        Progress::Begins(count) => bar.set_length(count as u64),
        Progress::Done(outcome) => {
            bar.set_message(outcome.rule.clone());
            bar.inc(1);
        }
    });
    bar.finish_and_clear();
    outcomes
}

/// What the server is, as far as it is known before the run.
fn introduction(report: &Report) -> String {
    let probe = match &report.features {
        Some(features) => format!("the probe application with: {}", features.join(" ")),
        None => "no probe application, so that some rules are blocked".to_owned(),
    };
    let http2 = if report.http2 { "HTTP/2 with prior knowledge" } else { "no HTTP/2" };
    format!("{} at {}: {http2}, {probe}", report.server, report.url)
}

fn changed(changes: &Changes) -> String {
    let lines = [("new", &changes.new), ("stale", &changes.stale)];
    let mut text = String::new();
    for (word, sentences) in lines {
        sentences.iter().for_each(|sentence| text += &format!("{word}: {sentence}\n"));
    }
    text + &format!(
        "baseline: {} as known, {} new, {} stale\n",
        changes.known.len(),
        changes.new.len(),
        changes.stale.len()
    )
}

fn paint(colour: Colour) -> Paint {
    let wanted = || {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        io::stdout().is_terminal() && !refused && !dumb
    };
    Paint(colour == Colour::Always || (colour == Colour::Auto && wanted()))
}

/// A factor that multiplies waits.
fn factor(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if (0.1..=100.0).contains(&factor) => Ok(factor),
        _ => Err("a number from 0.1 to 100".to_owned()),
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |it: char| it.is_ascii_alphanumeric() || "-_./:=@%+,".contains(it);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Prints to standard output. Whoever closes it early has seen enough.
fn print(text: &str) -> Result<u8, Failure> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Work(format!("cannot print: {error}")))
        }
        _ => Ok(0),
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| in_file(file, &error.to_string()))
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let error = |error| Failure::Work(format!("cannot write {}: {error}", file.display()));
    fs::write(file, text).map_err(error)
}

fn in_file(file: &Path, why: &str) -> Failure {
    Failure::Usage(format!("{}: {why}", file.display()))
}
