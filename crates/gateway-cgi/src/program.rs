//! `main`: one request, from the environment and standard input.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;
use std::sync::Arc;

use gateway_blocking::{Blocking, decorate};
use gateway_core::App;
use tracing::level_filters::LevelFilter;

use crate::answer;
use crate::variables::{self, Variables};

/// How many threads run the tasks of a request's app.
const TASK_THREADS: usize = 2;

/// Makes a program a CGI/1.1 program: answers the request in the environment and on standard input,
/// on standard output. To be called once, as the program's `main`; the app must print nothing.
///
/// Success when the whole response was written; 1 when it was cut off, or could not be made; 2 when
/// the program was not started by a server, which is said in one sentence on standard error. Logs go
/// there as well, as servers expect, unless the application has set up its own.
///
/// A process is one request: what goes on when it has been answered, tasks for example, ends with it.
pub fn main(app: impl App) -> ExitCode {
    let lines = tracing_subscriber::fmt().with_max_level(LevelFilter::INFO);
    let lines = lines.with_ansi(io::stderr().is_terminal()).with_writer(io::stderr);
    let _ = lines.log_internal_errors(false).try_init();
    let bytes = std::env::vars_os().map(|(name, value)| (name.into_vec(), value.into_vec()));
    let variables = Variables::new(bytes);
    if variables.filled("GATEWAY_INTERFACE").is_none() {
        let program = std::env::args().next().unwrap_or_default();
        let _ = writeln!(
            io::stderr(),
            "error: this is a CGI program, and no web server has started it: GATEWAY_INTERFACE is \
             not set. To try it by hand: GATEWAY_INTERFACE=CGI/1.1 REQUEST_METHOD=GET PATH_INFO=/ \
             {program}"
        );
        return ExitCode::from(2);
    }
    match answer(app, &variables) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::info!(%error, "the response was cut off");
            ExitCode::FAILURE
        }
    }
}

fn answer(app: impl App, variables: &Variables) -> io::Result<()> {
    // Not `Stdout`, which holds bytes back until a line is complete.
    let mut out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    match variables.request(io::stdin()) {
        Ok(request) => {
            let host = Arc::new(Blocking::new(TASK_THREADS)?);
            answer::send(decorate(&host, app)(request), &mut out)
        }
        Err(variable) => answer::refuse(&variables::complaint(variable), &mut out),
    }
}
