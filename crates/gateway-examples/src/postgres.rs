//! `Postgres`: PostgreSQL over portable sockets, with a pool that outlives the database's restarts.
//!
//! tokio-postgres speaks the protocol, over any stream; deadpool keeps the connections. Neither needs
//! a runtime for that: connections are [`gateway_net`]'s, their tasks the host's, and the deadline is
//! the gateway's timer. A pool belongs to the host that has made its connections.
//!
//! | a query | what becomes of its connection |
//! |---|---|
//! | has ended, also with the database's error | it goes back, and is looked at before its next use |
//! | is given up: its deadline has passed, its client has left | the query is cancelled, the connection closed |
//! | finds its connection closed | it fails; the next one opens a fresh connection |
//!
//! A connection counts until it is closed, so the database never sees more of them than the bound.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{self, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult};
use gateway_core::{BoxError, spawn, timeout};
use gateway_net::{Any, Stream, TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Row};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::ClientConfig;

/// How long a query that was given up may take to end, before its connection is closed all the same.
pub const CANCEL: Duration = Duration::from_secs(2);

/// What a pool takes, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections to the database.
    pub connections: usize,
    /// Queries that wait for a connection, in order. One more is refused at once.
    pub waiting: usize,
    /// How long a query takes at most, from the wait for a connection to its last row.
    pub deadline: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { connections: 4, waiting: 256, deadline: Duration::from_secs(2) }
    }
}

/// A database. Clones share its connections.
#[derive(Clone)]
pub struct Postgres {
    pool: Pool<Manager>,
    /// One permit for each query that runs or waits.
    places: Arc<Semaphore>,
    deadline: Duration,
}

impl Postgres {
    /// A database by its URL, `postgres://user:password@host:port/name?sslmode=require`, trusted as
    /// [`crate::tls`] says. Nothing is connected before the first query.
    ///
    /// # Errors
    ///
    /// When the URL is none, or names more than one host.
    pub fn new(url: &str, tls: Arc<ClientConfig>, bounds: Bounds) -> Result<Postgres, BoxError> {
        let config: Config = url.parse().map_err(|error| {
            let form = "postgres://USER:PASSWORD@HOST:PORT/NAME";
            format!("a database's URL is {form}: {}", in_full(&error))
        })?;
        let [host] = config.get_hosts() else {
            return Err("a database's URL names one host".into());
        };
        let (host, port) = (host.clone(), config.get_ports().first().copied().unwrap_or(5432));
        let tls = MakeRustlsConnect::new((*tls).clone());
        let pool = Pool::builder(Manager(Arc::new(Server { config, host, port, tls })))
            .max_size(bounds.connections)
            .build()?;
        let places = Arc::new(Semaphore::new(bounds.connections + bounds.waiting));
        Ok(Postgres { pool, places, deadline: bounds.deadline })
    }

    /// Asks one question, in one round trip. A parameter stands in the text as `$1`, and comes with its
    /// type.
    ///
    /// # Errors
    ///
    /// [`Failure::Busy`] when too many wait already, [`Failure::Away`] when the database does not
    /// answer, also for want of time, and [`Failure::Query`] when it answers with an error.
    ///
    /// # Cancel safety
    ///
    /// Dropping it cancels the query, in the background. Whether a change was made by then, nobody
    /// knows.
    pub async fn query(
        &self,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, Failure> {
        self.within_bounds(async {
            let lease = Lease(Some(self.pool.get().await?));
            let rows = lease.client().query_typed(sql, parameters).await;
            lease.give_back();
            Ok(rows?)
        })
        .await
    }

    /// Runs several statements as one transaction, for what makes or alters tables.
    ///
    /// # Errors
    ///
    /// As [`query`](Postgres::query).
    pub async fn batch(&self, sql: &str) -> Result<(), Failure> {
        self.within_bounds(async {
            let lease = Lease(Some(self.pool.get().await?));
            let done = lease.client().batch_execute(sql).await;
            lease.give_back();
            Ok(done?)
        })
        .await
    }

    /// Closes the connections that are not in use, and each of the others after its query.
    pub fn close(&self) {
        self.pool.close();
    }

    async fn within_bounds<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let _place = self.places.try_acquire().map_err(|_| Failure::Busy)?;
        timeout(self.deadline, work)
            .await
            .unwrap_or_else(|elapsed| Err(Failure::Away(elapsed.into())))
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("status", &self.pool.status()).finish_non_exhaustive()
    }
}

/// Why a query has no answer.
#[derive(Debug)]
pub enum Failure {
    /// As many queries wait as may.
    Busy,
    /// The database can't be reached, shuts down, starts up, or takes too long.
    Away(BoxError),
    /// The database has answered with an error: the query is wrong, or breaks a constraint.
    Query(tokio_postgres::Error),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        // 53: out of connections or memory; 57: shuts down or starts up, or was told to cancel.
        let is_passing =
            |state: &SqlState| ["53", "57"].iter().any(|class| state.code().starts_with(class));
        let is_lost = causes(&error).any(|cause| cause.is::<io::Error>());
        match error.is_closed() || is_lost || error.code().is_some_and(is_passing) {
            true => Failure::Away(in_full(&error).into()),
            false => Failure::Query(error),
        }
    }
}

impl From<PoolError<Failure>> for Failure {
    fn from(error: PoolError<Failure>) -> Failure {
        match error {
            PoolError::Backend(failure) => failure,
            other => Failure::Away(other.to_string().into()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Busy => f.write_str("too many queries wait for a connection"),
            Failure::Away(error) => write!(f, "the database is away: {error}"),
            Failure::Query(error) => f.write_str(&in_full(error)),
        }
    }
}

impl std::error::Error for Failure {}

/// Opens connections, and looks at each before it is used again.
struct Manager(Arc<Server>);

/// Where the database is, and how it is spoken to.
struct Server {
    config: Config,
    host: Host,
    port: u16,
    tls: MakeRustlsConnect,
}

impl managed::Manager for Manager {
    type Type = Client;
    type Error = Failure;

    async fn create(&self) -> Result<Client, Failure> {
        let (stream, tls) = self.0.connect().await?;
        let connected = self.0.config.connect_raw(stream, tls).await;
        let (client, connection) =
            connected.map_err(|error| Failure::Away(in_full(&error).into()))?;
        // It carries the bytes both ways, and ends when the client is dropped.
        spawn(async {
            if let Err(error) = connection.await {
                tracing::warn!(error = in_full(&error), "a connection to the database has ended");
            }
        });
        Ok(client)
    }

    async fn recycle(&self, client: &mut Client, _: &Metrics) -> RecycleResult<Failure> {
        if client.is_closed() { Err(RecycleError::message("it is closed")) } else { Ok(()) }
    }
}

type Tls = <MakeRustlsConnect as MakeTlsConnect<Stream<Any>>>::TlsConnect;

impl Server {
    async fn connect(&self) -> Result<(Stream<Any>, Tls), Failure> {
        let (port, mut tls) = (self.port, self.tls.clone());
        let (stream, name) = match &self.host {
            Host::Tcp(host) => {
                let stream = match host.parse::<IpAddr>() {
                    Ok(ip) => TcpStream::connect_to((ip, port).into()).await,
                    Err(_) => TcpStream::connect(&format!("{host}:{port}")).await,
                };
                let nodelay = |stream: TcpStream| stream.set_nodelay(true).map(|()| stream.any());
                (stream.and_then(nodelay), host.as_str())
            }
            Host::Unix(folder) => {
                let path = folder.join(format!(".s.PGSQL.{port}"));
                (UnixStream::connect(path).await.map(Stream::any), "localhost")
            }
        };
        let stream = stream.map_err(|error| Failure::Away(error.into()))?;
        let tls = MakeTlsConnect::<Stream<Any>>::make_tls_connect(&mut tls, name);
        let tls = tls.map_err(|error| Failure::Away(error.into()))?;
        Ok((stream, tls))
    }

    /// Tells the database to cancel what a connection is doing, and waits until it is done.
    async fn cancel(&self, client: &Client) -> Result<(), Failure> {
        let (stream, tls) = self.connect().await?;
        client.cancel_token().cancel_query_raw(stream, tls).await?;
        client.batch_execute("").await?;
        Ok(())
    }
}

/// A connection in use. Dropped before it is given back, it may be in the middle of a query: whoever
/// came next would wait for that to end.
struct Lease(Option<Object<Manager>>);

impl Lease {
    fn client(&self) -> &Client {
        self.0.as_ref().expect("it is given back only by value")
    }

    fn give_back(mut self) {
        self.0 = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(object) = self.0.take() else { return };
        let discarded = Discarded(Some(object));
        // The trampoline is current also while a coroutine is dropped. Without one the connection is
        // closed at once, and the database goes on with the query until it notices.
        spawn(async move {
            let Some(client) = &discarded.0 else { return };
            let server = Object::pool(client).map(|pool| pool.manager().0.clone());
            if client.is_closed() {
                return;
            }
            if let Some(server) = server {
                let cancelled = timeout(CANCEL, server.cancel(client)).await;
                tracing::debug!(?cancelled, "a query was given up");
            }
        });
    }
}

/// A connection that nobody uses again. It counts as one of the pool's until it is dropped here.
struct Discarded(Option<Object<Manager>>);

impl Drop for Discarded {
    fn drop(&mut self) {
        drop(self.0.take().map(Object::take));
    }
}

/// An error with all that is beneath it: tokio-postgres says the most important last.
fn in_full(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |error| error.source())
}
