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
mod descriptors;
mod manager;
mod options;
mod signals;

use std::fmt::Display;
use std::future::{Future, pending, poll_fn};
use std::io::{self, IsTerminal, Write};
use std::mem::ManuallyDrop;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::Poll;

use clap::Args;
use futures_channel::oneshot;
use gateway_core::{
    App, BoxError, Coroutine, Error, Host, Request, Response, spawn, trampoline, unblock,
};
use gateway_http::{Bound, Listener, Monitor, Server, Tls};
use gateway_operations::{Admin, Counted, Metrics, Observed, Page};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The parser of the command line, for the options that [`launch_with`] adds.
pub use clap;
pub use options::HostName;
use options::{LogFormat, Options};
use signals::Signals;

/// Serves `app` as the command line says, until a signal ends it.
///
/// Success after a drain; 1 when it could not start, failed, or was forced to end; 2 for a bad
/// command line. What is wrong is said in one sentence on standard error.
pub fn main(app: impl App) -> ExitCode {
    launch(Server::new(app))
}

/// As [`main`], for a server with bounds or a lifespan of its own. What the command line says goes
/// before what the program has set.
///
/// ```no_run
/// use gateway_core::{Error, Request, Response};
/// use gateway_http::Server;
/// use std::process::ExitCode;
///
/// #[derive(Clone)]
/// struct Pool;
///
/// async fn app(request: Request) -> Response {
///     let pool: Option<&Pool> = request.extensions().get();
///     # drop(pool.cloned());
///     Response::default()
/// }
///
/// fn main() -> ExitCode {
///     let connect = async || -> Result<Pool, Error> { Ok(Pool) };
///     let close = async |pool: Pool| -> Result<(), Error> { Ok(drop(pool)) };
///     gateway_launch::launch(Server::new(app).lifespan(connect, close))
/// }
/// ```
pub fn launch(server: Server<impl App>) -> ExitCode {
    #[derive(Args)]
    struct NoOptions {}
    launch_with(|_: NoOptions| Ok(server))
}

/// As [`launch`], for an application with options of its own: they stand beside the launcher's on the
/// command line and in `--help`. An error of `server` ends the process as a bad command line does.
///
/// ```no_run
/// use gateway_core::{Body, Request, Response};
/// use gateway_http::Server;
/// use gateway_launch::clap::{self, Args};
/// use std::process::ExitCode;
///
/// #[derive(Args)]
/// struct Options {
///     /// Whom to greet
///     #[arg(long, env = "NAME", default_value = "world")]
///     name: String,
/// }
///
/// fn main() -> ExitCode {
///     gateway_launch::launch_with(|Options { name }| {
///         Ok(Server::new(move |_: Request| {
///             let text = format!("hello, {name}");
///             async { Response::new(Body::from(text)) }
///         }))
///     })
/// }
/// ```
pub fn launch_with<O: Args, A: App>(
    server: impl FnOnce(O) -> Result<Server<A>, BoxError>,
) -> ExitCode {
    let (options, own) = match Options::from_command_line() {
        Ok(options) => options,
        Err(status) => return status,
    };
    log(options.log(), options.log_format);
    descriptors::raise();
    let server = match server(own) {
        Ok(server) => server,
        Err(error) => return complain(&error, 2),
    };
    match start(server, &options) {
        Ok(Ended::Drained) => ExitCode::SUCCESS,
        Ok(Ended::Forced) => ExitCode::FAILURE,
        Err(error) => complain(&error, 1),
    }
}

fn complain(error: &dyn Display, status: u8) -> ExitCode {
    // Standard error may be gone as well: then nobody is there to be told.
    let _ = writeln!(io::stderr(), "error: {error}");
    ExitCode::from(status)
}

/// Logs go to standard error, coloured on a terminal alone. An application that has set up its own
/// logs keeps them.
fn log(filter: Targets, format: LogFormat) {
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(format == LogFormat::Text && io::stderr().is_terminal())
        .with_writer(io::stderr)
        // It would be said on standard error, which is what can't be written to.
        .log_internal_errors(false);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
}

fn start<A: App>(server: Server<A>, options: &Options) -> io::Result<Ended> {
    // What nobody has asked for is not in a request's way.
    if !options.access_log && options.admin.is_none() {
        return run(options, until_signalled(options.host, bind(server, options)?));
    }
    let metrics = Metrics::new();
    let observe = |app| {
        let mut app = Observed::new(app).client(|_| gateway_http::peer()?.address());
        if options.access_log {
            app = app.access_log();
        }
        Operated::App(if options.admin.is_some() { app.metrics(&metrics) } else { app })
    };
    let bound = bind(server.map(observe), options)?;
    let Some(address) = &options.admin else {
        return run(options, until_signalled(options.host, bound));
    };
    let (monitor, watched) = (bound.monitor(), bound.monitor());
    metrics.collect(move |page| collect(&watched, page));
    let admin: Operated<A> =
        Operated::Admin(Admin::new(&metrics, move || match monitor.is_ready() {
            true => Ok(()),
            false => Err("starting, or draining".to_owned()),
        }));
    let admin = Server::new(admin).bind(address)?;
    run(options, beside(admin, metrics, until_signalled(options.host, bound)))
}

fn bind<A: App>(server: Server<A>, options: &Options) -> io::Result<Bound<A>> {
    let server = options.bounds.set(server);
    let mut listener = Listener::reserve(&options.bind, options.reuse_port)?;
    if let Some(tls) = options.tls()? {
        listener = listener.with_tls(tls);
    }
    if let Some(proxies) = &options.proxy_from {
        listener = listener.with_proxies(proxies.clone());
    }
    Ok(server.listen(listener))
}

/// What the server shows of itself, for the page of numbers.
fn collect(monitor: &Monitor, page: &mut Page) {
    page.gauge(
        "gateway_connections",
        "Open connections, by what they are doing.",
        monitor
            .connections()
            .into_iter()
            .map(|(activity, count)| ([("activity", activity.name())], count)),
    );
    page.counter(
        "gateway_connections_accepted_total",
        "Connections that were accepted.",
        [([], monitor.accepted())],
    );
    page.counter(
        "gateway_deadlines_passed_total",
        "Deadlines that have passed, by their name.",
        monitor
            .deadlines()
            .into_iter()
            .map(|(deadline, count)| ([("deadline", deadline.name())], count)),
    );
}

/// What is served once there is something to operate. One type, so that the server is compiled for
/// it once.
enum Operated<A> {
    App(Observed<A>),
    Admin(Admin),
}

impl<A: App> App for Operated<A> {
    async fn call(&self, request: Request) -> Result<Response, Error> {
        match self {
            Operated::App(app) => app.call(request).await,
            Operated::Admin(admin) => admin.call(request).await,
        }
    }
}

/// Serves with its waits counted, and the admin application beside it until that has ended: who
/// asks after a server that drains has an answer.
async fn beside(
    admin: Bound<impl App>,
    metrics: Metrics,
    serving: impl Future<Output = io::Result<Ended>>,
) -> io::Result<Ended> {
    let _ = writeln!(io::stdout(), "admin on {}", admin.listener());
    // Not a task: it ends with this, however many threads are blocked.
    let mut admin = pin!(async {
        if let Err(error) = admin.serve(pending()).await {
            tracing::error!(%error, "the admin address is not served any more");
        }
        pending::<()>().await;
    });
    let counted = Counted::new(trampoline()?, &metrics);
    let mut serving = pin!(Coroutine::new(Arc::new(counted), serving));
    poll_fn(|cx| {
        let ended = serving.as_mut().poll(cx);
        if ended.is_pending() {
            let _ = admin.as_mut().poll(cx);
        }
        ended
    })
    .await
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
    log(Targets::new().with_default(LevelFilter::INFO), LogFormat::Text);
    run_on(host, threads, until_signalled(host, bound))
}

fn run(options: &Options, serving: impl Future<Output = io::Result<Ended>>) -> io::Result<Ended> {
    run_on(options.host, options.threads(), serving)
}

fn run_on(
    host: HostName,
    threads: usize,
    serving: impl Future<Output = io::Result<Ended>>,
) -> io::Result<Ended> {
    let unstarted = |error: io::Error| {
        let message = format!("cannot start {host} with {threads} threads: {error}");
        io::Error::new(error.kind(), message)
    };
    match host {
        HostName::Tokio => {
            to_its_end(gateway_tokio::Tokio::new(threads).map_err(unstarted)?, serving)
        }
        HostName::Smol => to_its_end(gateway_smol::Smol::new(threads).map_err(unstarted)?, serving),
        HostName::AsyncStd => {
            to_its_end(gateway_async_std::AsyncStd::new(threads).map_err(unstarted)?, serving)
        }
        HostName::Blocking => {
            to_its_end(gateway_blocking::Blocking::new(threads).map_err(unstarted)?, serving)
        }
    }
}

fn to_its_end<F: Future>(host: impl Host, future: F) -> F::Output {
    // Not dropped: the process ends next, and a job that blocks must not hold it up.
    ManuallyDrop::new(host).run(future)
}

/// Serves until the first signal, then drains until the second.
async fn until_signalled(host: HostName, bound: Bound<impl App>) -> io::Result<Ended> {
    let mut signals = Signals::to_end()?;
    if let Some(tls) = bound.listener().tls() {
        spawn(reload(tls.clone(), Signals::to_reload()?));
    }
    let (monitor, listening) = (bound.monitor(), bound.listener().to_string());
    let mut known = pin!(async move {
        monitor.ready().await;
        // Standard output may be closed: that is no reason not to serve.
        let _ = writeln!(io::stdout(), "listening on {listening}, on {host} (Ctrl-C drains)");
        manager::ready();
        manager::keep_alive().await;
        pending::<()>().await;
    });
    let (drain, drained) = oneshot::channel();
    let mut serving = pin!(bound.serve(async { drained.await.unwrap_or_default() }));
    let mut signalled = pin!(async move {
        signals.next().await?;
        tracing::info!(%host, "draining; a second signal drops what is left");
        manager::stopping();
        let _ = drain.send(());
        signals.next().await
    });
    poll_fn(|cx| {
        if let Poll::Ready(served) = serving.as_mut().poll(cx) {
            return Poll::Ready(served.map(|()| Ended::Drained));
        }
        let _ = known.as_mut().poll(cx);
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
