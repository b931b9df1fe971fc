//! `Server`: an app, where it listens, and how it ends.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use gateway_core::{App, Error, Host, sleep, spawn, timeout};

use crate::bounds::{Deadline, Deadlines, Limits};
use crate::connection;
use crate::connections::{Connections, Phase};
use crate::departures::{Departures, Watch, departures};
use crate::lifespan::{Attach, Lifespan};
use crate::listener::Listener;
use crate::monitor::Monitor;
use crate::transport::Accepted;

/// How long the accept loop rests when the system is out of descriptors or memory.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How long a server that leaves a shared port goes on accepting, for handshakes that are under way: one
/// round trip. Newcomers are left to the others meanwhile, some after a second.
pub const HANDSHAKES: Duration = Duration::from_millis(100);

/// How long dropped connections may take to go, once the drain deadline has passed.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// An HTTP server for one app: HTTP/1.1 and HTTP/2 (with prior knowledge) on the same port.
///
/// A panic, or an error, of the app is answered with the status that fits as long as the head is
/// unsent; after it the body is cut off, in a way that the client can tell. Other requests never
/// notice.
///
/// ```no_run
/// use gateway_core::{Request, Response};
/// use gateway_http::{Deadlines, Limits, Server};
/// use std::time::Duration;
///
/// # async fn app(_: Request) -> Response { Response::default() }
/// # fn example() -> std::io::Result<()> {
/// let server = Server::new(app)
///     .deadlines(Deadlines { handler: Duration::from_secs(10), ..Deadlines::default() })
///     .limits(Limits { connections: 1_000, ..Limits::default() })
///     .bind("127.0.0.1:8080")?;
/// # drop(server);
/// # Ok(())
/// # }
/// ```
pub struct Server<A> {
    app: A,
    deadlines: Deadlines,
    limits: Limits,
    drain_delay: Duration,
    lifespan: Lifespan,
}

impl<A: App> Server<A> {
    /// A server with the default bounds.
    pub fn new(app: A) -> Server<A> {
        let (deadlines, limits) = (Deadlines::default(), Limits::default());
        let (drain_delay, lifespan) = (Duration::ZERO, Lifespan::default());
        Server { app, deadlines, limits, drain_delay, lifespan }
    }

    /// How long it waits for what.
    #[must_use]
    pub fn deadlines(mut self, deadlines: Deadlines) -> Server<A> {
        self.deadlines = deadlines;
        self
    }

    /// How much it takes.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Server<A> {
        self.limits = limits;
        self
    }

    /// How long it goes on as usual, but for its readiness, when it is told to shut down: none, unless
    /// told otherwise. A load balancer needs this long to notice, and to send nobody here any more.
    /// Connections of HTTP/1.1 that are used meanwhile end with the answer, which says so.
    #[must_use]
    pub fn drain_delay(mut self, delay: Duration) -> Server<A> {
        self.drain_delay = delay;
        self
    }

    /// Adds a pair of hooks. `start` is awaited before anything is accepted, and what it returns is
    /// an extension of each request; `stop` is given that, when all requests have ended.
    ///
    /// Several pairs start in order, and stop in the opposite one. Each hook has a deadline:
    /// [`Deadlines::hook`]. One that fails at the start ends the server before it begins; one that
    /// fails at the end is logged.
    ///
    /// ```no_run
    /// use gateway_core::{Error, Request, Response};
    /// use gateway_http::Server;
    ///
    /// #[derive(Clone)]
    /// struct Pool;
    ///
    /// async fn app(request: Request) -> Response {
    ///     let pool: &Pool = request.extensions().get().expect("the server has started");
    ///     # drop(pool.clone());
    ///     Response::default()
    /// }
    ///
    /// let connect = async || -> Result<Pool, Error> { Ok(Pool) };
    /// let disconnect = async |pool: Pool| -> Result<(), Error> { Ok(drop(pool)) };
    /// let server = Server::new(app).lifespan(connect, disconnect);
    /// # drop(server);
    /// ```
    #[must_use]
    pub fn lifespan<T, B, E>(
        mut self,
        start: impl FnOnce() -> B + Send + 'static,
        stop: impl FnOnce(T) -> E + Send + 'static,
    ) -> Server<A>
    where
        T: Clone + Send + Sync + 'static,
        B: Future<Output = Result<T, Error>> + Send + 'static,
        E: Future<Output = Result<(), Error>> + Send + 'static,
    {
        self.lifespan.add(start, stop);
        self
    }

    /// The bounds that it has now.
    #[must_use]
    pub fn bounds(&self) -> (Deadlines, Limits) {
        (self.deadlines, self.limits)
    }

    /// The same server for another app, made of this one: for middleware around all of it.
    #[must_use]
    pub fn map<B: App>(self, wrap: impl FnOnce(A) -> B) -> Server<B> {
        let Server { app, deadlines, limits, drain_delay, lifespan } = self;
        Server { app: wrap(app), deadlines, limits, drain_delay, lifespan }
    }

    /// Listens on a TCP address, or on `unix:path`; see [`Listener::bind`]. With hooks to start
    /// before, it only takes the address, and refuses whoever comes until they have started.
    ///
    /// # Errors
    ///
    /// One sentence that says what is wrong with the address.
    pub fn bind(self, address: &str) -> io::Result<Bound<A>> {
        let listener = Listener::reserve(address, false)?;
        if self.lifespan.is_empty() {
            listener.listen()?;
        }
        Ok(self.listen(listener))
    }

    /// Listens on a listener that exists already.
    pub fn listen(self, listener: Listener) -> Bound<A> {
        let connections = Connections::new(self.deadlines, self.limits);
        Bound { server: self, listener, connections }
    }
}

impl<A: fmt::Debug> fmt::Debug for Server<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Server { app, deadlines, limits, .. } = self;
        let mut out = f.debug_struct("Server");
        out.field("app", app).field("deadlines", deadlines).field("limits", limits);
        out.finish_non_exhaustive()
    }
}

/// A server that listens already, and serves once it is awaited in a coroutine.
pub struct Bound<A> {
    server: Server<A>,
    listener: Listener,
    connections: Connections,
}

impl<A: fmt::Debug> fmt::Debug for Bound<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bound { server, listener, .. } = self;
        let mut out = f.debug_struct("Bound");
        out.field("server", server).field("listener", listener).finish_non_exhaustive()
    }
}

impl<A: App> Bound<A> {
    /// Where it listens.
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Looks at the server while it runs.
    pub fn monitor(&self) -> Monitor {
        Monitor(self.connections.shared().clone())
    }

    /// Serves on a host, on the calling thread and whatever else the host has, for good.
    ///
    /// # Errors
    ///
    /// When the listening socket fails.
    pub fn run_on(self, host: &impl Host) -> io::Result<()> {
        host.run(self.serve(std::future::pending()))
    }

    /// Starts the lifespan, serves until `shutdown` is over, then drains: it is ready no more, goes on
    /// for the drain delay, accepts those who wait already and nobody else (on a shared port also those who
    /// come within [`HANDSHAKES`](crate::HANDSHAKES)), closes idle connections,
    /// lets requests in hand finish until the drain deadline, and stops the lifespan. A connection
    /// without a request so far has [`FIRST_REQUEST`](crate::FIRST_REQUEST) for its first.
    ///
    /// # Errors
    ///
    /// When a hook fails at the start, or the listening socket. Out of descriptors (EMFILE) it only
    /// rests for a moment.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the listener and drops all connections at once. No shutdown hook runs.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let Bound { server, mut listener, connections } = self;
        let shared = connections.shared().clone();
        let running = server.lifespan.start(&shared).await?;
        listener.listen()?;
        let app = Arc::new(server.app);
        let (watch, mut departures) = departures()?;
        shared.set_ready(true);
        let serves = (&app, &running.attach);
        let told = async {
            shutdown.await;
            shared.set_ready(false);
            if !server.drain_delay.is_zero() {
                sleep(server.drain_delay).await;
            }
        };
        let accepting = accept(&mut listener, serves, &connections, &watch);
        let served = until(told, accepting, &connections, &mut departures).await;
        shared.set_ready(false);
        if served.is_ok() {
            connections.tell(Phase::Drain);
            if leaves_port(&listener) {
                let accepting = accept(&mut listener, serves, &connections, &watch);
                let _ = until(sleep(HANDSHAKES), accepting, &connections, &mut departures).await;
            }
            accept_waiting(&listener, serves, &connections, &watch);
        }
        drop(listener);
        if served.is_ok() {
            drain(&connections, &mut departures).await;
        }
        connections.tell(Phase::Close);
        running.stop(&shared).await;
        served
    }
}

/// Accepts connections and looks after them, until something is over.
async fn until(
    over: impl Future<Output = ()>,
    accepting: impl Future<Output = io::Result<()>>,
    connections: &Connections,
    departures: &mut Departures,
) -> io::Result<()> {
    let (mut over, mut accepting) = (pin!(over), pin!(accepting));
    let mut looking = pin!(look_after(connections, departures));
    std::future::poll_fn(|cx| {
        if over.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(Err(error)) = looking.as_mut().poll(cx) {
            return Poll::Ready(Err(error));
        }
        accepting.as_mut().poll(cx)
    })
    .await
}

/// Leaves those who come from now on to others on its port, where there may be any. Whether it did.
fn leaves_port(listener: &Listener) -> bool {
    listener.leave_port().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot leave newcomers to others, some may be reset");
        false
    })
}

/// Accepts connections, each a task of its own, until the listener fails. Where all places are
/// taken, those who come wait in the system's queue.
async fn accept<A: App>(
    listener: &mut Listener,
    (app, attach): (&Arc<A>, &Attach),
    connections: &Connections,
    watch: &Watch,
) -> io::Result<()> {
    let (mut resting, mut full) = (false, false);
    loop {
        let place = std::future::poll_fn(|cx| {
            let place = connections.poll_place(cx);
            if place.is_pending() && !std::mem::replace(&mut full, true) {
                let open = connections.shared().len();
                tracing::warn!(open, "all places are taken, those who come have to wait");
            }
            place
        });
        place.await;
        match listener.accept().await {
            Ok(accepted) => {
                resting = false;
                begin(accepted, (app, attach), connections, watch);
            }
            Err(error) if is_fatal(&error) => return Err(error),
            Err(error) if concerns_the_connection(&error) => {
                tracing::debug!(%error, "a connection was gone before it was accepted");
            }
            Err(error) => {
                if !resting {
                    let open = connections.shared().len();
                    tracing::warn!(%error, open, "cannot accept, resting");
                }
                resting = true;
                sleep(ACCEPT_REST).await;
            }
        }
    }
}

/// Accepts those who wait in the system's queue, as far as there are places: the system has told them
/// that they are connected, and resets them when the listener is closed.
fn accept_waiting<A: App>(
    listener: &Listener,
    serves: (&Arc<A>, &Attach),
    connections: &Connections,
    watch: &Watch,
) {
    let shared = connections.shared();
    while shared.len() < shared.limits.connections {
        match listener.try_accept() {
            Ok(accepted) => begin(accepted, serves, connections, watch),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if concerns_the_connection(&error) => {}
            Err(error) => return tracing::warn!(%error, "cannot accept those who wait"),
        }
    }
}

/// Serves a connection, in a task of its own.
fn begin<A: App>(
    accepted: Accepted,
    (app, attach): (&Arc<A>, &Attach),
    connections: &Connections,
    watch: &Watch,
) {
    let connection = connections.admit();
    match accepted.stream.fd().and_then(|fd| watch.add(fd, connection.number())) {
        Ok(()) => {
            let (app, attach) = (app.clone(), attach.clone());
            drop(spawn(connection::serve(app, attach, accepted, connection)));
        }
        // The system's limit on what may be watched: as good as no descriptor.
        Err(error) => tracing::warn!(%error, "cannot watch a connection, closing it"),
    }
}

/// Sweeps, and takes note of clients that leave. Ends only when the host can't wait any more.
async fn look_after(
    connections: &Connections,
    departures: &mut Departures,
) -> io::Result<Infallible> {
    let sweep = connections.shared().sweep_after();
    let mut next = pin!(sleep(sweep));
    loop {
        let mut leaving = pin!(departures.next());
        let left = std::future::poll_fn(|cx| match leaving.as_mut().poll(cx) {
            Poll::Ready(left) => Poll::Ready(left.map(Some)),
            Poll::Pending => next.as_mut().poll(cx).map(|()| Ok(None)),
        });
        match left.await? {
            Some(left) => connections.note(&left),
            None => {
                connections.sweep();
                next.set(sleep(sweep));
            }
        }
    }
}

async fn drain(connections: &Connections, departures: &mut Departures) {
    let deadline = connections.shared().deadlines.drain;
    let gone = || std::future::poll_fn(|cx| connections.poll_gone(cx));
    let drained = async {
        let mut gone = pin!(gone());
        let mut looking = pin!(look_after(connections, departures));
        let mut failed = false;
        std::future::poll_fn(|cx| {
            // Without it there is no grace for clients that leave, and the deadline still holds.
            failed = failed || looking.as_mut().poll(cx).is_ready();
            gone.as_mut().poll(cx)
        })
        .await;
    };
    if timeout(deadline, drained).await.is_ok() {
        return;
    }
    connections.shared().passes(Deadline::Drain);
    let open = connections.shared().len();
    tracing::warn!(open, "dropping the connections that are left");
    connections.tell(Phase::Close);
    if timeout(CLOSE_DEADLINE, gone()).await.is_err() {
        let open = connections.shared().len();
        tracing::error!(open, "connections can't be dropped: their handlers block a thread");
    }
}

/// The peer's doing, or the network's: the next connection may be fine.
fn concerns_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, HostUnreachable, NetworkDown};
    use io::ErrorKind::{NetworkUnreachable, PermissionDenied, TimedOut};
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | NetworkDown
            | NetworkUnreachable
            | PermissionDenied
            | TimedOut
    )
}

/// Not the system's word on a connection or on what it is short of: the listener itself, or its
/// host, is gone.
fn is_fatal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected)
        || error.raw_os_error().is_none()
}
