//! `Cache`: a text in Redis over portable sockets, without which everything goes on.
//!
//! redis's one multiplexed connection serves all requests of a host. Its own timeouts are off, since
//! they need a runtime; the gateway's timer stands in. Whatever fails closes the connection, is said
//! once in the log, and leaves the cache away for [`RETRY`].
//!
//! The text is kept together with a generation, a random number in Redis that every change replaces.
//! Who reads the database reads the generation first, and writes it down with the text; a text of
//! another generation is no hit. So a slow reader can't bring back what a change has made obsolete. A
//! change that Redis did not hear of is made up for: each new connection begins a new generation.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_core::{BoxError, spawn, timeout};
use gateway_net::TcpStream;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, cmd,
};
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// How long a look into the cache takes at most, connecting included. Longer, and the database is asked.
pub const DEADLINE: Duration = Duration::from_millis(500);

/// How long the cache is left alone after a failure.
pub const RETRY: Duration = Duration::from_secs(1);

/// How long a text is kept, in seconds: the longest that a reader can be behind, should a change be
/// lost together with the process that owes it.
pub const KEPT: u64 = 60;

/// The keys in Redis: the generation, and the text with the generation that it belongs to.
const GENERATION: &str = "gateway:guestbook:generation";
const TEXT: &str = "gateway:guestbook:text";

/// What a look into the cache gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// The text.
    Hit(String),
    /// None of this generation.
    Miss(u64),
    /// Redis does not answer.
    Away,
}

/// A cache for one text, shared by all requests of a host.
pub struct Cache {
    server: Server,
    state: Mutex<State>,
}

/// Where Redis is, and how it is spoken to.
struct Server {
    address: String,
    settings: RedisConnectionInfo,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Which connection it is: a failure of an earlier one is no failure of this one.
    number: u64,
    /// When to try again.
    retry: Option<Instant>,
}

impl Cache {
    /// A cache by its URL, `redis://:password@host:port`, or `rediss://` through TLS, trusted as
    /// [`crate::tls`] says. Nothing is connected before the first look.
    ///
    /// # Errors
    ///
    /// When the URL is none.
    pub fn new(url: &str, tls: Arc<ClientConfig>) -> Result<Cache, BoxError> {
        // redis refuses the scheme unless it is to speak TLS itself.
        let plain = url.strip_prefix("rediss://").map(|rest| format!("redis://{rest}"));
        let info = plain.as_deref().unwrap_or(url).into_connection_info().map_err(|error| {
            format!("a cache's URL is redis://USER:PASSWORD@HOST:PORT, or rediss://: {error}")
        })?;
        let ConnectionAddr::Tcp(host, port) = info.addr() else {
            return Err("a cache's URL names a host and a port".into());
        };
        let address = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let tls = match plain {
            None => None,
            Some(_) => {
                let name = ServerName::try_from(host.clone())?;
                Some((TlsConnector::from(tls), name))
            }
        };
        let server = Server { address, settings: info.redis_settings().clone(), tls };
        Ok(Cache { server, state: Mutex::default() })
    }

    /// Looks for the text.
    ///
    /// # Cancel safety
    ///
    /// Giving it up loses nothing; the connection serves the others on.
    pub async fn look(&self) -> Look {
        let asked = self.ask(cmd("MGET").arg(GENERATION).arg(TEXT)).await;
        let Some((generation, text)) = asked else { return Look::Away };
        let (generation, text): (Option<u64>, Option<String>) = (generation, text);
        let Some(generation) = generation else {
            // Somebody has emptied Redis.
            self.change().await;
            return Look::Miss(0);
        };
        match text.as_deref().and_then(|text| text.split_once('\n')) {
            Some((of, text)) if of == generation.to_string() => Look::Hit(text.to_owned()),
            _ => Look::Miss(generation),
        }
    }

    /// Keeps a text that was read after the look that gave this generation.
    pub async fn keep(&self, generation: u64, text: &str) {
        let text = format!("{generation}\n{text}");
        self.ask::<()>(cmd("SET").arg(TEXT).arg(text).arg("EX").arg(KEPT)).await;
    }

    /// Makes all that was kept obsolete. Called after each change.
    pub async fn change(&self) {
        self.ask::<()>(&new_generation()).await;
    }

    /// Redis's answer, or nothing where it is away.
    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Option<T> {
        let mut number = None;
        let asked = timeout(DEADLINE, async {
            let mut connection = self.connection(&mut number).await?;
            command.query_async(&mut connection).await
        })
        .await;
        let error = match asked {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => error.to_string(),
            Err(elapsed) => elapsed.to_string(),
        };
        let mut state = self.state.lock().await;
        if number == Some(state.number) && state.retry.is_none() {
            let address = &self.server.address;
            tracing::warn!(address, error, "the cache is away: the database is asked instead");
            state.connection = None;
            state.retry = Some(Instant::now() + RETRY);
        }
        None
    }

    /// The connection that all share, or a new one; and its number.
    async fn connection(
        &self,
        number: &mut Option<u64>,
    ) -> Result<MultiplexedConnection, RedisError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            *number = Some(state.number);
            return Ok(connection.clone());
        }
        if state.retry.is_some_and(|retry| Instant::now() < retry) {
            return Err(io::Error::from(io::ErrorKind::NotConnected).into());
        }
        (state.number, state.retry) = (state.number + 1, None);
        *number = Some(state.number);
        let mut connection = self.server.connect().await?;
        new_generation().query_async::<()>(&mut connection).await?;
        tracing::info!(address = self.server.address, "the cache is there");
        Ok(state.connection.insert(connection).clone())
    }
}

fn new_generation() -> Cmd {
    cmd("SET").arg(GENERATION).arg(fastrand::u64(..)).take()
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("address", &self.server.address).finish_non_exhaustive()
    }
}

impl Server {
    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let config =
            AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        // The driver carries the bytes both ways, and ends when the last clone of the connection is
        // dropped.
        Ok(match &self.tls {
            None => {
                let (connection, driver) =
                    MultiplexedConnection::new_with_config(&self.settings, stream, config).await?;
                spawn(driver);
                connection
            }
            Some((tls, name)) => {
                let stream = tls.connect(name.clone(), stream).await?;
                let (connection, driver) =
                    MultiplexedConnection::new_with_config(&self.settings, stream, config).await?;
                spawn(driver);
                connection
            }
        })
    }
}
