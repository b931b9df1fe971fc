//! `Server`: an app, where it listens, and how it ends.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use gateway_core::{App, Host, sleep, spawn, timeout};

use crate::connection;
use crate::connections::{Connections, Phase, SWEEP};
use crate::departures::{Departures, Watch, departures};
use crate::listener::Listener;

/// How long a draining server lets its requests go on, unless told otherwise.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(30);

/// How long the accept loop rests when the system is out of descriptors or memory.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How long dropped connections may take to go, once the drain deadline has passed.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// An HTTP server for one app: HTTP/1.1 and HTTP/2 (with prior knowledge) on the same port.
///
/// A panic, or an error, of the app is answered with the status that fits as long as the head is
/// unsent; after it the body is cut off, in a way that the client can tell. Other requests never
/// notice.
#[derive(Debug)]
pub struct Server<A> {
    app: A,
    drain_deadline: Duration,
}

impl<A: App> Server<A> {
    /// A server with the default bounds.
    pub fn new(app: A) -> Server<A> {
        Server { app, drain_deadline: DRAIN_DEADLINE }
    }

    /// How long requests may go on once the server drains. What is left then is dropped.
    #[must_use]
    pub fn drain_deadline(mut self, deadline: Duration) -> Server<A> {
        self.drain_deadline = deadline;
        self
    }

    /// Listens on a TCP address, or on `unix:path`; see [`Listener::bind`].
    ///
    /// # Errors
    ///
    /// One sentence that says what is wrong with the address.
    pub fn bind(self, address: &str) -> io::Result<Bound<A>> {
        Ok(self.listen(Listener::bind(address)?))
    }

    /// Listens on a listener that exists already.
    pub fn listen(self, listener: Listener) -> Bound<A> {
        Bound { server: self, listener }
    }
}

/// A server that listens already, and serves once it is awaited in a coroutine.
#[derive(Debug)]
pub struct Bound<A> {
    server: Server<A>,
    listener: Listener,
}

impl<A: App> Bound<A> {
    /// Where it listens.
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Serves on a host, on the calling thread and whatever else the host has, for good.
    ///
    /// # Errors
    ///
    /// When the listening socket fails.
    pub fn run_on(self, host: &impl Host) -> io::Result<()> {
        host.run(self.serve(std::future::pending()))
    }

    /// Serves until `shutdown` is over, then drains: it accepts no more, closes idle connections,
    /// and lets requests in hand finish until the drain deadline.
    ///
    /// # Errors
    ///
    /// When the listening socket fails. Out of descriptors (EMFILE) it only rests for a moment.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the listener and drops all connections at once.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let Bound { server, mut listener } = self;
        listener.listen()?;
        let app = Arc::new(server.app);
        let connections = Connections::default();
        let (watch, mut departures) = departures()?;
        {
            let mut accepting = pin!(accept(&mut listener, &app, &connections, &watch));
            let mut looking = pin!(look_after(&connections, &mut departures));
            let mut shutdown = pin!(shutdown);
            std::future::poll_fn(|cx| {
                if shutdown.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(()));
                }
                if let Poll::Ready(Err(error)) = looking.as_mut().poll(cx) {
                    return Poll::Ready(Err(error));
                }
                accepting.as_mut().poll(cx)
            })
            .await?;
        }
        drop(listener);
        drain(&connections, &mut departures, server.drain_deadline).await;
        Ok(())
    }
}

/// Accepts connections, each a task of its own, until the listener fails.
async fn accept<A: App>(
    listener: &mut Listener,
    app: &Arc<A>,
    connections: &Connections,
    watch: &Watch,
) -> io::Result<()> {
    let mut resting = false;
    loop {
        match listener.accept().await {
            Ok(accepted) => {
                resting = false;
                let connection = connections.admit();
                match accepted.stream.fd().and_then(|fd| watch.add(fd, connection.number())) {
                    Ok(()) => drop(spawn(connection::serve(app.clone(), accepted, connection))),
                    // The system's limit on what may be watched: as good as no descriptor.
                    Err(error) => tracing::warn!(%error, "cannot watch a connection, closing it"),
                }
            }
            Err(error) if is_fatal(&error) => return Err(error),
            Err(error) if concerns_the_connection(&error) => {
                tracing::debug!(%error, "a connection was gone before it was accepted");
            }
            Err(error) => {
                if !resting {
                    tracing::warn!(%error, open = connections.len(), "cannot accept, resting");
                }
                resting = true;
                sleep(ACCEPT_REST).await;
            }
        }
    }
}

/// Sweeps, and takes note of clients that leave. Ends only when the host can't wait any more.
async fn look_after(
    connections: &Connections,
    departures: &mut Departures,
) -> io::Result<Infallible> {
    let mut next = pin!(sleep(SWEEP));
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
                next.set(sleep(SWEEP));
            }
        }
    }
}

async fn drain(connections: &Connections, departures: &mut Departures, deadline: Duration) {
    connections.tell(Phase::Drain);
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
    let open = connections.len();
    tracing::warn!(open, ?deadline, "the drain deadline has passed, dropping connections");
    connections.tell(Phase::Close);
    if timeout(CLOSE_DEADLINE, gone()).await.is_err() {
        let open = connections.len();
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
