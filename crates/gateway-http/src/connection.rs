//! One connection: finds its protocol, hands its requests to the app, and goes when told.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use gateway_core::{App, Error, spawn};
use hyper::server::conn::http1::{self, UpgradeableConnection};
use hyper::server::conn::http2;
use hyper::service::service_fn;

use crate::connections::{Connection, Phase, Slot};
use crate::exchange::{self, Exchanges};
use crate::guarded::Guarded;
use crate::lifespan::Attach;
use crate::preface::{PREFACE, Protocol, Rewound};
use crate::stalled::Watched;
use crate::transport::{self, Accepted, Opened};

/// How much hyper reads ahead at least, in bytes: it can't do with less.
const LEAST_BUFFER: usize = 8 * 1024;

/// How many fields of a head hyper takes by itself. To be told so costs it an allocation.
const HYPERS_FIELDS: usize = 100;

/// How many bytes of a response's body wait in each stream of HTTP/2 for a client that does not
/// take them.
pub const STREAM_BUFFER: usize = 64 * 1024;

/// What is said to a client whose head does not come.
const LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 57\r\n\r\n\
    408 Request Timeout: the head has not come within time.\r\n";

/// Serves one connection to its end.
pub(crate) async fn serve<A: App>(
    app: Arc<A>,
    attach: Attach,
    accepted: Accepted,
    mut connection: Connection,
) {
    let Some(opened) = accepted.open(&mut connection).await else { return };
    let Opened { transport, peer, protocol } = opened;
    let slot = connection.slot();
    let limits = slot.shared().limits;
    let head_bytes = limits.head_bytes.max(LEAST_BUFFER);
    let mut stream = Rewound::new(Guarded::new(transport, slot.clone()));
    let protocol = std::future::poll_fn(|cx| match connection.phase(cx) {
        Phase::Serve | Phase::Drain => stream.poll_agreed(protocol, cx),
        Phase::Late if stream.has_read() => Poll::Ready(Ok(Protocol::Late)),
        Phase::Late | Phase::Close => Poll::Ready(Ok(Protocol::None)),
    });
    let protocol = protocol.await;
    slot.client().introduce(peer.clone());
    let exchanges = Exchanges::new(app, attach, slot.clone());
    let ended = match protocol {
        Ok(Protocol::None) => Ok(()),
        Ok(Protocol::Late) => stream.stream.says_last(LATE).await.map_err(Error::from),
        Ok(Protocol::Proxy) => {
            transport::refuse_proxy(stream.stream, &peer).await;
            Ok(())
        }
        Ok(Protocol::Http1) => {
            stream.put_back(Guarded::speaks_http1);
            let service = service_fn(|request| exchange::answer(&exchanges, request));
            let mut builder = http1::Builder::new();
            if limits.head_fields != HYPERS_FIELDS {
                builder.max_headers(limits.head_fields);
            }
            builder
                .header_read_timeout(None)
                // A client that has only closed its sending side has its answer: see
                // `departures.rs`.
                .half_close(true)
                .max_header_size(head_bytes)
                .max_buf_size(head_bytes);
            let (mut begins, mut vectored) = ((stream, service), false);
            loop {
                let (stream, service) = begins;
                builder.writev(vectored);
                let mut served = builder.serve_connection(stream, service).with_upgrades();
                let drain = |served: Pin<&mut _>| UpgradeableConnection::graceful_shutdown(served);
                match until_told(&mut connection, &mut served, drain).await {
                    Ok(Ended::Outgrown) => match served.into_parts() {
                        Some(left) if left.read_buf.is_empty() => {
                            (begins, vectored) = ((left.io, left.service), true);
                            slot.writes_vectored();
                        }
                        _ => break Err(io::Error::other("hyper has read too far").into()),
                    },
                    Ok(Ended::Late) => {
                        break match served.into_parts() {
                            Some(parts) => {
                                parts.io.stream.says_last(LATE).await.map_err(Error::from)
                            }
                            None => Ok(()),
                        };
                    }
                    Ok(Ended::Served) => break Ok(()),
                    Err(error) => break Err(error),
                }
            }
        }
        Ok(Protocol::Http2) => {
            stream.stream.speaks_http2(PREFACE.len());
            let exchanges = Arc::new(exchanges);
            let service = service_fn(move |request| {
                let exchanges = exchanges.clone();
                async move { exchange::answer(&exchanges, request).await }
            });
            let mut served = http2::Builder::new(Tasks(slot))
                .max_header_list_size(head_bytes as u32)
                .max_concurrent_streams(limits.streams)
                .max_send_buf_size(STREAM_BUFFER)
                .serve_connection(stream, service);
            until_told(&mut connection, &mut served, |served| served.graceful_shutdown())
                .await
                .map(drop)
        }
        Err(error) => Err(error.into()),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// How hyper's connection ended.
enum Ended {
    Served,
    /// It did not: the next head has not come in time.
    Late,
    /// It did not, but has to start anew, between two requests. At first it copies bodies behind their
    /// heads, which is cheaper than to have the system gather the two, as long as they are small; now a
    /// larger one was sent. How it writes, hyper can be told only when it starts.
    Outgrown,
}

/// Drives hyper's connection until it has ended, or the server says so. Not async, which would be one
/// more state to find on each poll.
fn until_told<'a, F: Future<Output = hyper::Result<()>> + Unpin>(
    connection: &'a mut Connection,
    served: &'a mut F,
    drain: impl Fn(Pin<&mut F>) + 'a,
) -> impl Future<Output = Result<Ended, Error>> + 'a {
    let mut draining = false;
    std::future::poll_fn(move |cx| {
        match connection.phase(cx) {
            Phase::Serve => {}
            Phase::Late if !connection.is_busy() => return Poll::Ready(Ok(Ended::Late)),
            Phase::Drain | Phase::Late if draining => {}
            Phase::Drain | Phase::Late => {
                // What has come already counts as begun.
                if let Poll::Ready(ended) = Pin::new(&mut *served).poll(cx) {
                    return Poll::Ready(Ok(ended.map(|()| Ended::Served)?));
                }
                draining = true;
                drain(Pin::new(served));
            }
            Phase::Close => return Poll::Ready(Ok(Ended::Served)),
        }
        match Pin::new(&mut *served).poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Ok(ended.map(|()| Ended::Served)?)),
            Poll::Pending if connection.has_outgrown() => Poll::Ready(Ok(Ended::Outgrown)),
            Poll::Pending => Poll::Pending,
        }
    })
}

/// What HTTP/2 starts its streams with.
#[derive(Clone)]
struct Tasks(Arc<Slot>);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        spawn(Watched::new(future, self.0.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::LATE;

    #[test]
    fn the_last_word_has_the_length_that_it_announces() {
        let text = std::str::from_utf8(LATE).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{text}");
    }
}
