//! The application: one route per way to be busy. Each answers with the content that belongs to its
//! request.
//!
//! | path | what it does |
//! |---|---|
//! | `/quick` | answers at once, with a length |
//! | `/slow` | waits on a timer first: `ms` milliseconds |
//! | `/stream` | sends its content in pieces, without a length |
//! | `/job` | blocks for a moment, as a job |
//! | `/stall` | blocks the thread of its coroutine, which it should not |
//! | `/spawn` | leaves a task behind that outlives the request |
//! | `/echo` | gives the body back, and its checksum |
//! | `/panic` | panics before it answers |
//! | `/panic-late` | panics when half of its content is sent |
//! | `/counts` | how many handlers, bodies, tasks, jobs and timers are alive |
//!
//! The parameters `id` and `bytes` say which content, and how much of it.

use std::thread;
use std::time::Duration;

use gateway_core::{Body, Error, Request, Response, sleep, spawn, unblock};
use gateway_soak::{CHECKSUM, Content, ECHO_BYTES, ID, checksum};
use http::StatusCode;

use crate::alive::{Alive, Of, counts};

/// How long a job blocks.
const JOB: Duration = Duration::from_millis(5);

/// How long a thread is blocked that should not be.
const STALL: Duration = Duration::from_millis(50);

/// How long a task outlives its request.
const OUTLIVES: Duration = Duration::from_millis(200);

/// How long a stream rests between its pieces: long enough to wait, short enough to be quick.
const REST: Duration = Duration::from_millis(1);

/// Answers one request.
pub(crate) async fn serve(request: Request) -> Result<Response, Error> {
    if request.uri().path() == "/counts" {
        return Ok(Response::new(counts().into()));
    }
    let _alive = Alive::new(Of::Handler);
    let (id, bytes) = (number(&request, "id")?, number(&request, "bytes")? as usize);
    let mut response = match request.uri().path() {
        "/quick" => Response::new(Content::new(id, bytes).whole().into()),
        "/slow" => {
            wait(Duration::from_millis(number(&request, "ms")?)).await;
            Response::new(Content::new(id, bytes).whole().into())
        }
        "/stream" => Response::new(stream(id, bytes, bytes)),
        "/job" => {
            let alive = Alive::new(Of::Job);
            let work = move || {
                let _alive = alive;
                thread::sleep(JOB);
                Content::new(id, bytes).whole()
            };
            Response::new(unblock(work).await?.into())
        }
        "/stall" => {
            thread::sleep(STALL);
            Response::new(Content::new(id, bytes).whole().into())
        }
        "/spawn" => {
            let alive = Alive::new(Of::Task);
            drop(spawn(async move {
                let _alive = alive;
                wait(OUTLIVES).await;
            }));
            Response::new(Content::new(id, bytes).whole().into())
        }
        "/echo" => echo(request).await?,
        "/panic" => panic!("asked to"),
        "/panic-late" => Response::new(stream(id, bytes, bytes / 2)),
        _ => return Err(Error::client(StatusCode::NOT_FOUND, "there is no such route")),
    };
    response.headers_mut().insert(ID, id.into());
    Ok(response)
}

/// A parameter, zero when it is missing.
fn number(request: &Request, name: &str) -> Result<u64, Error> {
    let query = request.uri().query().unwrap_or_default();
    let value =
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
    let number = value.map_or(Ok(0), |(_, value)| value.parse());
    number.map_err(|error| Error::client(StatusCode::BAD_REQUEST, error))
}

async fn wait(duration: Duration) {
    let _alive = Alive::new(Of::Timer);
    sleep(duration).await;
}

/// Content in pieces. Panics when so many bytes have been sent and more are to come.
fn stream(id: u64, bytes: usize, panics_at: usize) -> Body {
    let alive = Alive::new(Of::Body);
    Body::coroutine(async move |mut out| {
        let _alive = alive;
        let mut sent = 0;
        for piece in Content::new(id, bytes) {
            assert!(sent < panics_at, "asked to");
            sent += piece.len();
            out.send(piece).await?;
            wait(REST).await;
        }
        Ok(())
    })
}

async fn echo(request: Request) -> Result<Response, Error> {
    let received = request.into_body().collect(ECHO_BYTES).await?;
    let checksum = checksum(&received);
    let mut response = Response::new(received.into());
    response.headers_mut().insert(CHECKSUM, checksum.into());
    Ok(response)
}
