//! The command line, and the environment variables that stand in for it.

use std::fmt;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::BoolishValueParser;
use clap::{Args, CommandFactory, FromArgMatches, Parser, ValueEnum};
use gateway_http::{Proxies, Tls};
use gateway_operations::ACCESS_LOG;
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::bounds::Bounds;

/// Serves this application over HTTP.
#[derive(Debug, Parser)]
#[command(version = concat!("(gateway ", env!("CARGO_PKG_VERSION"), ")"))]
// The application's own options may be called so, too.
#[group(skip)]
pub(crate) struct Options {
    /// What runs the application
    #[arg(long, env = "GATEWAY_HOST", value_enum, default_value_t = HostName::Tokio)]
    pub(crate) host: HostName,

    /// Where to listen: HOST:PORT (port 0 takes any that is free), unix:PATH, unix:PATH?mode=660, or
    /// systemd or systemd:NAME for a socket that a service manager has passed
    #[arg(long, env = "GATEWAY_BIND", value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) bind: String,

    /// Lets other servers listen on the same port, if they say so as well
    #[arg(long, env = "GATEWAY_REUSE_PORT", value_parser = BoolishValueParser::new())]
    pub(crate) reuse_port: bool,

    /// A certificate with its chain, in PEM: speaks TLS alone. Several are told apart by their
    /// names; SIGHUP reads them again
    #[arg(long, env = "GATEWAY_TLS_CERT", value_name = "FILE", value_delimiter = ',')]
    #[arg(requires = "tls_key")]
    tls_cert: Vec<PathBuf>,

    /// The certificate's private key, in PEM: one for each certificate, in the same order
    #[arg(long, env = "GATEWAY_TLS_KEY", value_name = "FILE", value_delimiter = ',')]
    #[arg(requires = "tls_cert")]
    tls_key: Vec<PathBuf>,

    /// Whose PROXY headers are believed, and required: networks, addresses, unix; commas between
    #[arg(long, env = "GATEWAY_PROXY_FROM", value_name = "CIDR")]
    pub(crate) proxy_from: Option<Proxies>,

    /// How many threads run coroutines [default: one per processor]
    #[arg(long, env = "GATEWAY_THREADS", value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// What to log: error, warn, info, debug, trace; or per target, as in info,gateway_http=debug
    #[arg(long, env = "GATEWAY_LOG", value_name = "FILTER", default_value = "info")]
    log: Targets,

    /// How to write log lines
    #[arg(long, env = "GATEWAY_LOG_FORMAT", value_name = "FORMAT", value_enum)]
    #[arg(default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,

    /// Log a line for each request, and give each an id (x-request-id)
    #[arg(long, env = "GATEWAY_ACCESS_LOG", value_parser = BoolishValueParser::new())]
    pub(crate) access_log: bool,

    /// Where to answer /livez, /readyz and /metrics: an address for operators alone [default: none]
    #[arg(long, env = "GATEWAY_ADMIN", value_name = "ADDRESS")]
    pub(crate) admin: Option<String>,

    #[command(flatten)]
    pub(crate) bounds: Bounds,
}

impl Options {
    /// Reads the command line of the application, under its own name, with its own options. What is
    /// wrong with it, or what `--help` and `--version` ask for, is said here; then the process ends with
    /// the status given.
    pub(crate) fn from_command_line<O: Args>() -> Result<(Options, O), ExitCode> {
        let path = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
        let name = path.file_name().map_or_else(|| "gateway".into(), |name| name.to_string_lossy());
        let command = O::augment_args(Options::command().name(name.into_owned()));
        let options = command.try_get_matches().and_then(|matches| {
            let options = Options::from_arg_matches(&matches)?.paired()?;
            Ok((options, O::from_arg_matches(&matches)?))
        });
        options.map_err(|error| {
            if error.use_stderr() {
                // Standard error may be gone as well: then nobody is there to be told.
                let _ = writeln!(io::stderr(), "{}", in_one_sentence(&error.to_string()));
                return ExitCode::from(2);
            }
            let _ = error.print();
            ExitCode::SUCCESS
        })
    }

    /// What to log. Whoever asks for the access log has its lines, whatever else is left out.
    pub(crate) fn log(&self) -> Targets {
        let log = self.log.clone();
        if self.access_log { log.with_target(ACCESS_LOG, LevelFilter::INFO) } else { log }
    }

    /// As many certificates as keys.
    fn paired(self) -> Result<Options, clap::Error> {
        let (certificates, keys) = (self.tls_cert.len(), self.tls_key.len());
        if certificates == keys {
            return Ok(self);
        }
        let message = format!(
            "each --tls-cert takes one --tls-key: there are {certificates} certificates and {keys} keys"
        );
        Err(Options::command().error(clap::error::ErrorKind::WrongNumberOfValues, message))
    }

    /// What to speak TLS with, if at all.
    pub(crate) fn tls(&self) -> io::Result<Option<Tls>> {
        if self.tls_cert.is_empty() {
            return Ok(None);
        }
        Tls::from_pem_files(self.tls_cert.iter().zip(&self.tls_key)).map(Some)
    }

    pub(crate) fn threads(&self) -> usize {
        let processors = || std::thread::available_parallelism().ok();
        self.threads.or_else(processors).map_or(1, NonZeroUsize::get)
    }
}

/// What is wrong, and what would be right, without the lines about usage.
fn in_one_sentence(error: &str) -> String {
    let is_usage = |line: &&str| line.starts_with("Usage:") || line.starts_with("For more");
    let lines = error.lines().map(str::trim).take_while(|line| !is_usage(line));
    let said: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    format!("{}; --help lists the options", said.join("; "))
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people, coloured on a terminal
    Text,
    /// One JSON object a line, for programs
    Json,
}

/// The hosts that come with the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HostName {
    /// tokio's multi-threaded runtime
    Tokio,
    /// smol's executor
    Smol,
    /// async-std's executor (discontinued: for those who are stuck there)
    AsyncStd,
    /// Plain threads, which handlers may block
    Blocking,
}

impl HostName {
    /// All of them.
    pub const ALL: [HostName; 4] =
        [HostName::Tokio, HostName::Smol, HostName::AsyncStd, HostName::Blocking];
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HostName::Tokio => "tokio",
            HostName::Smol => "smol",
            HostName::AsyncStd => "async-std",
            HostName::Blocking => "blocking",
        })
    }
}
