//! The guestbook on every host, with a real PostgreSQL and a real Redis, also while they are killed.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gateway_core::{App, Body, BoxError, Error, Fault, Host, Request, Response};
use gateway_examples::Portable;
use gateway_examples::guestbook::{Entry, Guestbook, KEPT, MESSAGE, NAME, Options};
use gateway_examples::local::{Kind, Service};
use gateway_examples::postgres::{Bounds, Failure, Postgres};
use gateway_examples::tls;
use gateway_http::Server;
use gateway_tests::secure::Folder;
use gateway_tests::{Answer, Client, PATIENCE, Serving, eventually, on_every_host};
use tokio_postgres::types::Type;

on_every_host!(2:
    entries_are_written_listed_and_escaped,
    the_list_is_cached_until_an_entry_is_added,
    both_are_spoken_to_through_tls,
    waiting_queries_are_served_in_order_and_bounded,
    many_requests_share_a_small_pool,
    a_database_that_is_killed_in_mid_query_is_a_503_until_it_is_back,
    a_database_that_never_answers_is_a_503_at_the_deadline,
    a_client_that_leaves_in_mid_query_cancels_it,
    an_entry_whose_client_leaves_is_written_and_listed,
    a_cache_that_is_killed_is_not_missed,
    a_client_that_needs_tokio_panics_with_a_500_where_there_is_none,
);

/// A service, unless it is not installed: then the test ends here.
fn start(kind: Kind, certificate: Option<&Folder>) -> Option<Service> {
    let files = certificate.map(|folder| folder.files("server"));
    let files = files.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
    match Service::start(kind, files) {
        Ok(service) => Some(service),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            gateway_tests::skip(&error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Options for a database, and perhaps a cache.
fn options(postgres: &Service, redis: Option<&Service>) -> Options {
    Options { postgres: Some(postgres.url()), redis: redis.map(Service::url), trust: None }
}

fn guestbook(options: &Options, bounds: Bounds) -> Guestbook {
    Guestbook::new(options, bounds).expect("URLs").expect("a database")
}

/// The application with a guestbook, on a host.
fn serve(host: impl Host + Send + 'static, options: &Options, bounds: Bounds) -> Serving {
    let app = Portable::alone("here").with(Some(guestbook(options, bounds)));
    ready(Serving::start(host, app.server()))
}

/// A server whose table is there.
fn ready(serving: Serving) -> Serving {
    eventually("the guestbook is prepared", || serving.monitor.is_ready());
    serving
}

fn sign(serving: &Serving, name: &str, message: &str) -> Answer {
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("name", name)
        .append_pair("message", message)
        .finish();
    post(serving, &form)
}

fn post(serving: &Serving, form: &str) -> Answer {
    let mut client = serving.connect();
    let head = format!("POST /guestbook HTTP/1.1\r\nhost: a\r\ncontent-length: {}", form.len());
    client.send(format!("{head}\r\n\r\n{form}"));
    client.answer()
}

/// The messages that are listed, and where the list came from.
fn list(serving: &Serving) -> (Vec<String>, String) {
    let answer = serving.get("/guestbook/entries");
    assert_eq!(answer.status, 200, "{answer:?}");
    let entries: Vec<Entry> = serde_json::from_slice(&answer.body).expect("entries");
    let cache = answer.field("server-timing").and_then(|timing| timing.strip_prefix("cache;desc="));
    (
        entries.into_iter().map(|entry| entry.message).collect(),
        cache.expect("it says so").to_owned(),
    )
}

fn entries_are_written_listed_and_escaped(host: impl Host + Send + 'static) {
    let Some(postgres) = start(Kind::Postgres, None) else { return };
    let serving = serve(host, &options(&postgres, None), Bounds::default());
    assert_eq!(list(&serving), (vec![], "none".to_owned()));
    let answer = sign(&serving, " Zoë & \"co\" ", "<script>alert('{{HOST}}')</script>\n你好");
    assert_eq!((answer.status, answer.field("location")), (303, Some("/guestbook")));
    assert_eq!(sign(&serving, "second", &"ü".repeat(MESSAGE)).status, 303);
    let page = serving.get("/guestbook");
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    let text = page.text();
    let escaped = "<p>&lt;script&gt;alert(&#39;{{HOST}}&#39;)&lt;/script&gt;\n你好</p>";
    assert!(text.contains(escaped) && text.contains("Zoë &amp; &quot;co&quot;, 20"), "{text}");
    assert!(!text.contains("<script"), "{text}");
    let (messages, _) = list(&serving);
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0], "ü".repeat(MESSAGE), "the latest comes first");
    let refused = [
        ("", "hello"),
        ("me", "  "),
        (&"n".repeat(NAME + 1), "hello"),
        ("me", &"m".repeat(MESSAGE + 1)),
        ("me", "zero \0 byte"),
    ];
    for (name, message) in refused {
        let answer = sign(&serving, name, message);
        assert_eq!(answer.status, 400, "{name} {message} {answer:?}");
    }
    assert_eq!(post(&serving, "neither").status, 400);
    assert_eq!(post(&serving, &"x".repeat(20_000)).status, 413);
    let mut client = serving.connect();
    client.send("DELETE /guestbook HTTP/1.1\r\nhost: a\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.field("allow")), (405, Some("GET, HEAD, POST")));
    assert_eq!(list(&serving).0.len(), 2, "what was refused is not there");
}

fn the_list_is_cached_until_an_entry_is_added(host: impl Host + Send + 'static) {
    let (Some(postgres), Some(redis)) = (start(Kind::Postgres, None), start(Kind::Redis, None))
    else {
        return;
    };
    let options = options(&postgres, Some(&redis));
    let serving = serve(host, &options, Bounds::default());
    // A second application with the same database and cache, as another host is in the demo.
    let other = gateway_tests::hosts::Tokio::new(1).expect("a second host");
    let other = serve(other, &options, Bounds::default());
    let came_from = |serving: &Serving, expected: &[&str]| {
        let (messages, cache) = list(serving);
        assert_eq!(messages, expected, "{cache}");
        cache
    };
    came_from(&other, &[]);
    came_from(&serving, &[]);
    assert_eq!(came_from(&serving, &[]), "hit");
    assert_eq!(came_from(&other, &[]), "hit");
    assert_eq!(sign(&serving, "me", "one").status, 303);
    assert_eq!(came_from(&other, &["one"]), "miss");
    assert_eq!(came_from(&serving, &["one"]), "hit");
    assert!(serving.get("/guestbook").text().contains("from Redis"));
    assert_eq!(sign(&other, "me", "two").status, 303);
    assert_eq!(came_from(&serving, &["two", "one"]), "miss");
    assert_eq!(came_from(&other, &["two", "one"]), "hit");
    assert_eq!(sign(&serving, "", "").status, 400);
    assert_eq!(came_from(&other, &["two", "one"]), "hit", "what was refused changes nothing");
}

fn both_are_spoken_to_through_tls(host: impl Host + Send + Sync + 'static) {
    let folder = Folder::new();
    folder.certificate("server", &["127.0.0.1"]);
    let (Some(postgres), Some(redis)) =
        (start(Kind::Postgres, Some(&folder)), start(Kind::Redis, Some(&folder)))
    else {
        return;
    };
    let mut options = options(&postgres, Some(&redis));
    let failed = host.run(guestbook(&options, Bounds::default()).prepare()).unwrap_err();
    assert!(failed.to_string().contains("UnknownIssuer"), "{failed}");
    options.trust = Some(folder.files("server").0);
    let secure = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let config = tls::trusting_file(&folder.files("server").0).expect("a certificate");
    let postgres = Postgres::new(&postgres.url(), config, Bounds::default()).expect("a URL");
    let rows = host.run(postgres.query(secure, &[])).expect("an answer");
    assert!(rows[0].get::<_, bool>(0), "the database knows of TLS");
    let serving = serve(host, &options, Bounds::default());
    assert_eq!(list(&serving).1, "miss");
    assert_eq!(sign(&serving, "me", "through TLS").status, 303);
    assert_eq!(list(&serving), (vec!["through TLS".to_owned()], "miss".to_owned()));
    assert_eq!(list(&serving).1, "hit");
}

/// A database, over plain connections.
fn plain(service: &Service, bounds: Bounds) -> Postgres {
    Postgres::new(&service.url(), tls::trusting_authorities(), bounds).expect("a URL")
}

fn waiting_queries_are_served_in_order_and_bounded(host: impl Host + Send + Sync + 'static) {
    let Some(service) = start(Kind::Postgres, None) else { return };
    let bounds = Bounds { connections: 1, waiting: 8, deadline: PATIENCE };
    let (postgres, gate) = (plain(&service, bounds), plain(&service, bounds));
    host.run(async {
        postgres.batch("CREATE TABLE served (n bigserial, query int)").await.expect("a table");
        gate.query("SELECT pg_advisory_lock(1)", &[]).await.expect("the gate is closed");
        let ask = async |n: i32| match n {
            // It has the only connection, and waits at the gate.
            0 => postgres.query("SELECT pg_advisory_lock(1)", &[]).await,
            // The others wait for the connection, but for the last, for which there is no place.
            _ => {
                postgres.query("INSERT INTO served (query) VALUES ($1)", &[(&n, Type::INT4)]).await
            }
        };
        let asked = join_all((0..10).map(ask));
        let open = async {
            let last = ask(10).await;
            assert!(matches!(last, Err(Failure::Busy)), "{last:?}");
            gate.query("SELECT pg_advisory_unlock(1)", &[]).await.expect("the gate is open");
        };
        let (answers, ()) = futures_util::future::join(asked, open).await;
        for (n, answer) in answers.into_iter().enumerate() {
            match n {
                9 => assert!(matches!(answer, Err(Failure::Busy)), "{answer:?}"),
                _ => drop(answer.expect("an answer")),
            }
        }
        let served = postgres.query("SELECT query FROM served ORDER BY n", &[]).await;
        let served: Vec<i32> = served.expect("rows").iter().map(|row| row.get(0)).collect();
        assert_eq!(served, [1, 2, 3, 4, 5, 6, 7, 8]);
    });
}

fn many_requests_share_a_small_pool(host: impl Host + Send + 'static) {
    let Some(service) = start(Kind::Postgres, None) else { return };
    let bounds = Bounds { connections: 2, deadline: PATIENCE, ..Bounds::default() };
    let serving = serve(host, &options(&service, None), bounds);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert_eq!(sign(&serving, "me", "hello").status, 303);
                }
            });
        }
    });
    assert_eq!(list(&serving).0.len(), 50);
    let count = "SELECT (SELECT count(*) FROM guestbook), (SELECT count(*) FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid())";
    let rows = observe(&service, count);
    assert_eq!((rows[0].get::<_, i64>(0), rows[0].get::<_, i64>(1)), (80, 2));
    let many = "INSERT INTO guestbook (name, message) SELECT '', '' FROM generate_series(1, $1)";
    observe(&service, &many.replace("$1", &KEPT.to_string()));
    assert_eq!(sign(&serving, "me", "one more").status, 303);
    assert_eq!(observe(&service, count)[0].get::<_, i64>(0), KEPT, "the oldest are gone");
}

/// What a database says to somebody else, on a host of his own.
fn observe(service: &Service, sql: &str) -> Vec<tokio_postgres::Row> {
    let host = gateway_tests::hosts::Tokio::new(1).expect("a host to observe from");
    let postgres = plain(service, Bounds { deadline: PATIENCE, ..Bounds::default() });
    let rows = host.run(async {
        let rows = postgres.query(sql, &[]).await;
        postgres.close();
        rows
    });
    rows.expect("the database answers")
}

/// How many queries are sleeping in it.
fn sleeping(service: &Service) -> i64 {
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'
        AND state = 'active'";
    observe(service, sleeping)[0].get(0)
}

/// The application, and `/wait` beside it, which keeps a connection of the same pool in a query for an
/// hour.
fn with_wait(options: &Options, bounds: Bounds) -> Server<impl App> {
    let guestbook = guestbook(options, bounds);
    let portable = Arc::new(Portable::alone("here").with(Some(guestbook.clone())));
    let prepare = {
        let guestbook = guestbook.clone();
        async move || {
            guestbook.prepare().await?;
            Ok(())
        }
    };
    let app = move |request: Request| {
        let (portable, guestbook) = (portable.clone(), guestbook.clone());
        async move {
            if request.uri().path() != "/wait" {
                return portable.call(request).await;
            }
            let waited = guestbook.postgres().query("SELECT pg_sleep(3600)", &[]).await;
            let away = |failure| {
                let failure: BoxError = Box::new(failure);
                Error::new(Fault::Application, http::StatusCode::SERVICE_UNAVAILABLE, failure)
            };
            waited.map(|_| Response::default()).map_err(away)
        }
    };
    Server::new(app).lifespan(prepare, async |()| Ok(()))
}

const WAIT: &str = "GET /wait HTTP/1.1\r\nhost: a\r\n\r\n";

fn waiting(serving: &Serving) -> Client {
    let mut client = serving.connect();
    client.send(WAIT);
    client
}

fn a_database_that_is_killed_in_mid_query_is_a_503_until_it_is_back(
    host: impl Host + Send + 'static,
) {
    let Some(mut postgres) = start(Kind::Postgres, None) else { return };
    let bounds = Bounds { connections: 3, deadline: PATIENCE * 2, ..Bounds::default() };
    let serving = Serving::start(host, with_wait(&options(&postgres, None), bounds));
    let serving = ready(serving);
    assert_eq!(sign(&serving, "me", "before").status, 303);
    let mut clients: Vec<_> = (0..3).map(|_| waiting(&serving)).collect();
    eventually("all three are in a query", || sleeping(&postgres) == 3);
    // These wait for a connection.
    clients.extend((0..5).map(|_| waiting(&serving)));
    postgres.kill().expect("it is there");
    for client in &mut clients {
        // Long before the deadline of their own: the connections are gone, and no new one is had.
        assert_eq!(client.answer().status, 503);
    }
    let away = serving.get("/guestbook");
    assert_eq!((away.status, away.field("retry-after")), (503, Some("1")));
    assert!(away.text().contains("try again"), "{away:?}");
    assert_eq!(sign(&serving, "me", "meanwhile").status, 503);
    postgres.restart().expect("it starts again");
    assert_eq!(list(&serving).0, ["before"]);
    assert_eq!(sign(&serving, "me", "after").status, 303);
    assert_eq!(list(&serving).0, ["after", "before"]);
}

fn a_database_that_never_answers_is_a_503_at_the_deadline(host: impl Host + Send + 'static) {
    // It takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("postgres://me@{}/postgres", silent.local_addr().expect("an address"));
    let options = Options { postgres: Some(url), ..Options::default() };
    let deadline = Duration::from_millis(300);
    let bounds = Bounds { connections: 1, deadline, ..Bounds::default() };
    let app = Portable::alone("here").with(Some(guestbook(&options, bounds)));
    let serving = Serving::start(host, Server::new(app));
    let started = Instant::now();
    let mut clients: Vec<_> = (0..4).map(|_| serving.connect()).collect();
    for client in &mut clients {
        client.send("GET /guestbook HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    for client in &mut clients {
        let answer = client.answer();
        assert_eq!((answer.status, answer.field("retry-after")), (503, Some("1")));
        assert!(started.elapsed() >= deadline, "it has waited that long");
    }
}

fn a_client_that_leaves_in_mid_query_cancels_it(host: impl Host + Send + 'static) {
    let Some(postgres) = start(Kind::Postgres, None) else { return };
    let bounds = Bounds { connections: 1, deadline: PATIENCE * 2, ..Bounds::default() };
    let serving = Serving::start(host, with_wait(&options(&postgres, None), bounds));
    let serving = ready(serving);
    for _ in 0..3 {
        let client = waiting(&serving);
        eventually("it is in its query", || sleeping(&postgres) == 1);
        reset(client);
        // The pool's one connection is free again, within less than the query's hour.
        assert_eq!(list(&serving).1, "none");
        assert_eq!(sleeping(&postgres), 0);
    }
}

/// Closes the connection with a reset.
fn reset(client: Client) {
    let stream = client.stream.into_inner();
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("a socket");
}

fn an_entry_whose_client_leaves_is_written_and_listed(host: impl Host + Send + 'static) {
    let (Some(postgres), Some(redis)) = (start(Kind::Postgres, None), start(Kind::Redis, None))
    else {
        return;
    };
    let bounds = Bounds { deadline: PATIENCE * 2, ..Bounds::default() };
    let serving = serve(host, &options(&postgres, Some(&redis)), bounds);
    assert_eq!(list(&serving).1, "miss");
    let gate = plain(&postgres, Bounds { connections: 1, ..bounds });
    let keeper = gateway_tests::hosts::Tokio::new(1).expect("a host for the gate");
    let close = gate.batch("BEGIN; LOCK TABLE guestbook IN EXCLUSIVE MODE");
    keeper.run(close).expect("nobody writes any more");
    let mut client = serving.connect();
    let head = "POST /guestbook HTTP/1.1\r\nhost: a\r\ncontent-length: 20";
    client.send(format!("{head}\r\n\r\nname=me&message=late"));
    eventually("it waits to be written", || {
        let waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        !observe(&postgres, waiting).is_empty()
    });
    reset(client);
    eventually("the client has left", || serving.monitor.open() == 0);
    assert_eq!(list(&serving), (vec![], "hit".to_owned()));
    keeper.run(gate.batch("COMMIT")).expect("all write again");
    eventually("the entry is listed", || list(&serving).0 == ["late"]);
}

fn a_cache_that_is_killed_is_not_missed(host: impl Host + Send + 'static) {
    let (Some(postgres), Some(mut redis)) = (start(Kind::Postgres, None), start(Kind::Redis, None))
    else {
        return;
    };
    let serving = serve(host, &options(&postgres, Some(&redis)), Bounds::default());
    assert_eq!(sign(&serving, "me", "before").status, 303);
    assert_eq!(list(&serving).1, "miss");
    assert_eq!(list(&serving).1, "hit");
    redis.kill().expect("it is there");
    for _ in 0..3 {
        assert_eq!(list(&serving), (vec!["before".to_owned()], "away".to_owned()));
    }
    assert!(serving.get("/guestbook").text().contains("since Redis is away"));
    assert_eq!(sign(&serving, "me", "meanwhile").status, 303);
    assert_eq!(list(&serving).0, ["meanwhile", "before"]);
    redis.restart().expect("it starts again");
    eventually("the cache is used again", || {
        let (messages, cache) = list(&serving);
        assert_eq!(messages, ["meanwhile", "before"], "{cache}");
        cache == "hit"
    });
}

fn a_client_that_needs_tokio_panics_with_a_500_where_there_is_none(
    host: impl Host + Send + 'static,
) {
    let app = async |_: Request| -> Result<Response, Error> {
        // Nobody listens there: on tokio that is an error like any other.
        let url = "postgres://me@127.0.0.1:9/a";
        let connected = tokio_postgres::connect(url, tokio_postgres::NoTls).await;
        let refused = connected.err().expect("nobody listens there").to_string();
        Ok(Response::new(Body::from(refused)))
    };
    let on_tokio = std::any::type_name_of_val(&host).contains("tokio");
    let serving = Serving::start(host, Server::new(app));
    assert_eq!(serving.get("/").status, if on_tokio { 200 } else { 500 });
    assert_eq!(serving.get("/").status, if on_tokio { 200 } else { 500 }, "it goes on");
}
