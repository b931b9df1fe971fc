//! `/guestbook`: entries in PostgreSQL, their list in Redis, on whichever host.
//!
//! | route | answer |
//! |---|---|
//! | `GET /guestbook` | a page with the latest entries, and a form |
//! | `GET /guestbook/entries` | the same entries as JSON |
//! | `POST /guestbook` | signs with `name` and `message`, and leads back to the page |
//!
//! The field `server-timing` says where the list came from: `cache;desc=hit`, `miss`, `away` or `none`.
//! While the database is away, the answer is 503 with `retry-after`. It comes within
//! [`Bounds::deadline`](crate::postgres::Bounds::deadline), and a second more where Redis hangs as well.

use std::path::PathBuf;
use std::sync::Arc;

use gateway_core::{Body, BoxError, Error, Request, Response, spawn};
use gateway_launch::clap::{self, Args};
use http::{HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;

use crate::cache::{Cache, Look};
use crate::postgres::{Bounds, Failure, Postgres};
use crate::{routes, tls};

/// How many entries are shown, the latest first.
pub const SHOWN: i64 = 50;

/// How many entries are kept: the oldest goes when there are more.
pub const KEPT: i64 = 10_000;

/// The longest name and the longest message, in characters.
pub const NAME: usize = 80;
/// See [`NAME`].
pub const MESSAGE: usize = 1000;

/// The largest form, in bytes: each character may have four, which the form's coding makes twelve of.
const FORM: usize = 12 * (NAME + MESSAGE) + 100;

/// What a client is told to wait while the database is away, in seconds.
const RETRY_AFTER: &str = "1";

/// One of the hosts makes the table; the others, that start at the same moment, wait for it.
const PREPARE: &str = "
    SET LOCAL client_min_messages = warning;
    SELECT pg_advisory_xact_lock(2011);
    CREATE TABLE IF NOT EXISTS guestbook (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL,
        message text NOT NULL,
        signed timestamptz NOT NULL DEFAULT now()
    )";

const ENTRIES: &str = "
    SELECT name, message, to_char(signed AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
    FROM guestbook ORDER BY id DESC LIMIT $1";

const SIGN: &str = "
    WITH signed AS (INSERT INTO guestbook (name, message) VALUES ($1, $2) RETURNING id)
    DELETE FROM guestbook WHERE id <= (SELECT id FROM signed) - $3";

/// Where the guestbook's entries are.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Guestbook")]
pub struct Options {
    /// The database of /guestbook: postgres://USER:PASSWORD@HOST:PORT/NAME?sslmode=require
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub postgres: Option<String>,

    /// Its cache: redis://USER:PASSWORD@HOST:PORT, or rediss:// through TLS [default: none]
    #[arg(long, env = "REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub redis: Option<String>,

    /// Certificates, in PEM, that the two show [default: those that the public authorities sign]
    #[arg(long, env = "GATEWAY_TRUST", value_name = "FILE")]
    pub trust: Option<PathBuf>,
}

/// A guestbook. Clones are the same one, with the same connections: one for each host.
#[derive(Clone, Debug)]
pub struct Guestbook {
    postgres: Postgres,
    cache: Option<Arc<Cache>>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Entry {
    /// Who.
    pub name: String,
    /// What.
    pub message: String,
    /// When, in UTC.
    pub signed: String,
}

impl Guestbook {
    /// The guestbook that the options name, if they name a database. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// When a URL is none, or the file of certificates can't be used.
    pub fn new(options: &Options, bounds: Bounds) -> Result<Option<Guestbook>, BoxError> {
        let Some(postgres) = &options.postgres else { return Ok(None) };
        let tls = match &options.trust {
            None => tls::trusting_authorities(),
            Some(file) => tls::trusting_file(file)?,
        };
        let postgres = Postgres::new(postgres, tls.clone(), bounds)?;
        let cache = options.redis.as_ref().map(|url| Cache::new(url, tls).map(Arc::new));
        Ok(Some(Guestbook { postgres, cache: cache.transpose()? }))
    }

    /// Makes the table, unless it is there.
    ///
    /// # Errors
    ///
    /// When the database is away, or does not allow it.
    pub async fn prepare(&self) -> Result<(), Failure> {
        self.postgres.batch(PREPARE).await
    }

    /// Its database, for whatever else is asked of it by way of the same connections.
    #[must_use]
    pub fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    /// Closes the connections, once their queries have ended.
    pub fn close(&self) {
        self.postgres.close();
    }

    /// The latest entries as JSON, and where they came from.
    async fn entries(&self) -> Result<(String, &'static str), Failure> {
        let look = match &self.cache {
            None => None,
            Some(cache) => Some((cache, cache.look().await)),
        };
        if let Some((_, Look::Hit(entries))) = look {
            return Ok((entries, "hit"));
        }
        let rows = self.postgres.query(ENTRIES, &[(&SHOWN, Type::INT8)]).await?;
        let entry = |row: tokio_postgres::Row| -> Result<Entry, tokio_postgres::Error> {
            let (name, message, signed) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            Ok(Entry { name, message, signed })
        };
        let entries = rows.into_iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let entries = serde_json::to_string(&entries).expect("text has no way to fail");
        match look {
            Some((cache, Look::Miss(generation))) => {
                cache.keep(generation, &entries).await;
                Ok((entries, "miss"))
            }
            Some(_) => Ok((entries, "away")),
            None => Ok((entries, "none")),
        }
    }

    async fn sign(&self, name: &str, message: &str) -> Result<(), Failure> {
        let values: [(&(dyn tokio_postgres::types::ToSql + Sync), _); 3] =
            [(&name, Type::TEXT), (&message, Type::TEXT), (&KEPT, Type::INT8)];
        let signed = self.postgres.query(SIGN, &values).await;
        // Also when that failed: it may have been done all the same.
        if let Some(cache) = &self.cache {
            cache.change().await;
        }
        signed.map(drop)
    }
}

/// Answers a request for the guestbook, on the host of this name.
pub(crate) async fn answer(
    guestbook: Option<&Guestbook>,
    host: &str,
    request: Request,
) -> Result<Response, Error> {
    let Some(guestbook) = guestbook else {
        return Ok(text(StatusCode::SERVICE_UNAVAILABLE, HOW_TO_START));
    };
    let page = request.uri().path() == "/guestbook";
    let answered = match (request.method(), page) {
        (&Method::POST, true) => {
            let form = request.into_body().collect(FORM).await?;
            let (name, message) = read(&form)?;
            let guestbook = guestbook.clone();
            // A task, which goes on without its client: an entry that is written is also listed.
            let signed = spawn(async move { guestbook.sign(&name, &message).await });
            signed.await?.map(|()| {
                let mut response = routes::empty(StatusCode::SEE_OTHER);
                let back = HeaderValue::from_static("/guestbook");
                response.headers_mut().insert(header::LOCATION, back);
                response
            })
        }
        (&Method::GET | &Method::HEAD, _) => guestbook.entries().await.map(|(entries, cache)| {
            let mut response =
                if page { show(host, &entries, cache) } else { routes::json(entries) };
            let headers = response.headers_mut();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            let timing = HeaderValue::from_maybe_shared(format!("cache;desc={cache}"));
            headers.insert("server-timing", timing.expect("a word"));
            response
        }),
        (_, page) => {
            let mut response = routes::empty(StatusCode::METHOD_NOT_ALLOWED);
            let allowed =
                HeaderValue::from_static(if page { "GET, HEAD, POST" } else { "GET, HEAD" });
            response.headers_mut().insert(header::ALLOW, allowed);
            return Ok(response);
        }
    };
    match answered {
        Err(failure @ (Failure::Away(_) | Failure::Busy)) => {
            tracing::warn!(%failure, "the guestbook can't answer");
            let mut response = text(StatusCode::SERVICE_UNAVAILABLE, AWAY);
            let retry = HeaderValue::from_static(RETRY_AFTER);
            response.headers_mut().insert(header::RETRY_AFTER, retry);
            Ok(response)
        }
        answered => Ok(answered?),
    }
}

const AWAY: &str = "the guestbook's database does not answer right now: try again in a moment\n";

const HOW_TO_START: &str = "\
this guestbook has no database. Start with one:

    --postgres postgres://USER:PASSWORD@HOST:PORT/NAME    (or the variable DATABASE_URL)
    --redis redis://:PASSWORD@HOST:PORT                   (or REDIS_URL; a cache, if you like)

`cargo xtask demo` starts both by itself, where Debian's packages `postgresql` and `redis-server` are
installed.
";

/// The name and the message of a form.
fn read(form: &[u8]) -> Result<(String, String), Error> {
    let field = |name: &str, limit: usize| {
        let value = form_urlencoded::parse(form).find(|(key, _)| key == name);
        let value = value.map(|(_, value)| value.trim().to_owned()).unwrap_or_default();
        let wrong = match value.chars().count() {
            0 => "it is empty",
            count if count > limit => "it is too long",
            _ if value.contains('\0') => "it has a zero byte",
            _ => return Ok(value),
        };
        let message = format!("{name} is a text of 1 to {limit} characters: {wrong}");
        Err(Error::client(StatusCode::BAD_REQUEST, message))
    };
    Ok((field("name", NAME)?, field("message", MESSAGE)?))
}

/// The page.
fn show(host: &str, entries: &str, cache: &str) -> Response {
    let from = match cache {
        "hit" => "from Redis",
        "miss" => "from PostgreSQL, and now in Redis as well",
        "away" => "from PostgreSQL, since Redis is away",
        _ => "from PostgreSQL",
    };
    let entries: Vec<Entry> = serde_json::from_str(entries).unwrap_or_default();
    let list: String = entries
        .iter()
        .map(|Entry { name, message, signed }| {
            let (name, message) = (escape(name), escape(message));
            format!("<li><p>{message}</p><p class=\"who\">{name}, {signed} UTC</p></li>\n")
        })
        .collect();
    // The entries come last: a placeholder in one of them is text like any other.
    let page = include_str!("guestbook.html")
        .replace("{{HOST}}", host)
        .replace("{{FROM}}", from)
        .replace("{{ENTRIES}}", &list);
    let mut response = routes::with_type(page, "text/html; charset=utf-8");
    let policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'";
    let policy = HeaderValue::from_static(policy);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// Text as HTML shows it, in an element or in a quoted attribute.
fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut html, character| {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
        html
    })
}

fn text(status: StatusCode, text: &'static str) -> Response {
    let mut response = routes::text(Body::from(text));
    *response.status_mut() = status;
    response
}
