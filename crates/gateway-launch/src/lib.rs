//! An application's `main` in one line: the host is a flag, not a cargo feature.
//!
//! ```no_run
//! use gateway_core::{Body, Request, Response};
//! use std::process::ExitCode;
//!
//! async fn hello(request: Request) -> Response {
//!     Response::new(Body::from(format!("hello, {}", request.uri().path())))
//! }
//!
//! fn main() -> ExitCode {
//!     gateway_launch::main(hello)
//! }
//! ```
//!
//! Then `hello --host smol --bind 127.0.0.1:8080`; `hello --help` lists the rest. SIGTERM and SIGINT
//! (Ctrl-C) drain; a second one drops what is left. SIGHUP reads certificates again. A service
//! manager such as systemd may pass the socket, and is told when the server is ready.

#![forbid(unsafe_code)]

mod bounds;
mod manager;
mod options;
mod signals;

use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::mem::ManuallyDrop;
use std::pin::pin;
use std::process::ExitCode;
use std::task::Poll;

use futures_channel::oneshot;
use gateway_core::{App, Host, spawn, unblock};
use gateway_http::{Bound, Listener, Server, Tls};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use options::HostName;
use options::Options;
use signals::Signals;

/// Serves `app` as the command line says, until a signal ends it.
///
/// Success after a drain; 1 when it could not start, failed, or was forced to end; 2 for a bad
/// command line. What is wrong is said in one sentence on standard error.
pub fn main(app: impl App) -> ExitCode {
    let options = match Options::from_command_line() {
        Ok(options) => options,
        Err(status) => return status,
    };
    log(options.log.clone());
    match start(app, &options) {
        Ok(Ended::Drained) => ExitCode::SUCCESS,
        Ok(Ended::Forced) => ExitCode::FAILURE,
        Err(error) => {
            // Standard error may be gone as well: then nobody is there to be told.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Logs go to standard error, coloured on a terminal alone. An application that has set up its own
/// logs keeps them.
fn log(filter: Targets) {
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .with_filter(filter);
    let _ = tracing_subscriber::registry().with(lines).try_init();
}

fn start(app: impl App, options: &Options) -> io::Result<Ended> {
    let server = Server::new(app)
        .deadlines(options.bounds.deadlines())
        .limits(options.bounds.limits())
        .drain_delay(options.bounds.drain_delay_seconds);
    let mut listener = Listener::reserve(&options.bind, options.reuse_port)?;
    if let Some(tls) = options.tls()? {
        listener = listener.with_tls(tls);
    }
    if let Some(proxies) = &options.proxy_from {
        listener = listener.with_proxies(proxies.clone());
    }
    listener.listen()?;
    serve(options.host, options.threads(), server.listen(listener))
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to drain, and did.
    Drained,
    /// It was told twice, and dropped what was left.
    Forced,
}

/// Serves on a host that is chosen by its name, until a signal ends it. Says on standard output
/// where it listens, and logs to standard error unless the application has set up its own logs.
///
/// It is meant to be the last thing that a process does: the host is not dropped, so that a job that
/// blocks holds nothing up, and signals go on being caught.
///
/// # Errors
///
/// When the host can't start, or the listening socket fails.
pub fn serve(host: HostName, threads: usize, bound: Bound<impl App>) -> io::Result<Ended> {
    let unstarted = |error: io::Error| {
        let message = format!("cannot start {host} with {threads} threads: {error}");
        io::Error::new(error.kind(), message)
    };
    log(Targets::new().with_default(LevelFilter::INFO));
    let serving = until_signalled(host, bound, Signals::to_end()?);
    match host {
        HostName::Tokio => run(gateway_tokio::Tokio::new(threads).map_err(unstarted)?, serving),
        HostName::Smol => run(gateway_smol::Smol::new(threads).map_err(unstarted)?, serving),
        HostName::AsyncStd => {
            run(gateway_async_std::AsyncStd::new(threads).map_err(unstarted)?, serving)
        }
        HostName::Blocking => {
            run(gateway_blocking::Blocking::new(threads).map_err(unstarted)?, serving)
        }
    }
}

fn run<F: Future>(host: impl Host, future: F) -> F::Output {
    // Not dropped: the process ends next, and a job that blocks must not hold it up.
    ManuallyDrop::new(host).run(future)
}

/// Serves until the first signal, then drains until the second.
async fn until_signalled(
    host: HostName,
    bound: Bound<impl App>,
    mut signals: Signals,
) -> io::Result<Ended> {
    // Standard output may be closed: that is no reason not to serve.
    let _ = writeln!(io::stdout(), "listening on {}, on {host} (Ctrl-C drains)", bound.listener());
    if let Some(tls) = bound.listener().tls() {
        spawn(reload(tls.clone(), Signals::to_reload()?));
    }
    manager::ready();
    spawn(manager::keep_alive());
    let (drain, drained) = oneshot::channel();
    let mut serving = pin!(bound.serve(async { drained.await.unwrap_or_default() }));
    let mut signalled = pin!(async move {
        signals.next().await?;
        tracing::info!(%host, "draining; a second signal drops what is left");
        manager::stopping();
        let _ = drain.send(());
        signals.next().await
    });
    std::future::poll_fn(|cx| {
        if let Poll::Ready(served) = serving.as_mut().poll(cx) {
            return Poll::Ready(served.map(|()| Ended::Drained));
        }
        signalled.as_mut().poll(cx).map_ok(|()| Ended::Forced)
    })
    .await
}

/// Reads certificates again whenever the signal says so.
async fn reload(tls: Tls, mut signals: Signals) {
    while signals.next().await.is_ok() {
        manager::reloading();
        let tls = tls.clone();
        match unblock(move || tls.reload()).await {
            Ok(Ok(())) => tracing::info!("the certificates have been read again"),
            Ok(Err(error)) => tracing::error!(%error, "the certificates stay as they were"),
            Err(error) => tracing::error!(%error, "the certificates could not be read again"),
        }
        manager::ready();
    }
}
