//! `Watch`: what ends a wait early, a signal whose handler raises or the server's `close()`.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_core::{App, Body, Client, Departure, Error, Request, Response, Sleep, sleep};
use http::StatusCode;
use http_body::{Body as HttpBody, Frame, SizeHint};
use pyo3::prelude::*;
use rustix::process::getpid;
use rustix::thread::gettid;

/// How often a wait on Python's main thread looks whether there was a signal. Python runs the
/// handlers of signals on that thread alone, so no other one looks.
const SIGNALS: Duration = Duration::from_millis(200);

/// One request's. Clones are the same.
#[derive(Clone)]
pub(crate) struct Watch(Arc<Shared>);

struct Shared {
    client: Client,
    closed: AtomicBool,
    raised: Mutex<Option<PyErr>>,
}

impl Watch {
    pub(crate) fn new(client: &Client) -> Watch {
        let (client, closed, raised) = (client.clone(), AtomicBool::new(false), Mutex::default());
        Watch(Arc::new(Shared { client, closed, raised }))
    }

    /// The request is over: what waits is cancelled, and its input is read no more.
    pub(crate) fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.client.leaves(Departure::Gone);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// Keeps what was raised, for the server.
    pub(crate) fn keep(&self, raised: PyErr) {
        *self.0.raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(raised);
    }

    /// Raises what was kept.
    pub(crate) fn raise(&self) -> PyResult<()> {
        let raised = self.0.raised.lock().unwrap_or_else(PoisonError::into_inner).take();
        raised.map_or(Ok(()), Err)
    }

    /// Ready when a signal's handler has raised.
    fn poll(&self, look: &mut Option<Sleep>, cx: &mut Context<'_>) -> Poll<Error> {
        while gettid() == getpid() {
            let look = look.get_or_insert_with(|| sleep(SIGNALS));
            ready!(Pin::new(&mut *look).poll(cx));
            look.reset(Instant::now() + SIGNALS);
            if let Err(raised) = Python::attach(|py| py.check_signals()) {
                self.keep(raised);
                let message = "a signal has interrupted the wait";
                return Poll::Ready(Error::client(StatusCode::BAD_REQUEST, message));
            }
        }
        Poll::Pending
    }
}

/// The app around the app: a signal ends what waits in it.
pub(crate) struct Interruptible<A>(pub(crate) A);

impl<A: App> App for Interruptible<A> {
    async fn call(&self, mut request: Request) -> Result<Response, Error> {
        let Some(watch) = request.extensions_mut().remove::<Watch>() else {
            return self.0.call(request).await;
        };
        let (mut answer, mut look) = (pin!(self.0.call(request)), None);
        let answer = poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Pending => watch.poll(&mut look, cx).map(Err),
            answered => answered,
        });
        Ok(answer.await?.map(|mut body| match body.take_bytes() {
            Some(bytes) => Body::from(bytes),
            None => Body::new(Watched { body, watch, look }),
        }))
    }
}

/// A response's body that a signal can end.
struct Watched {
    body: Body,
    watch: Watch,
    look: Option<Sleep>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Watched { body, watch, look } = &mut *self;
        match Pin::new(body).poll_frame(cx) {
            Poll::Pending => watch.poll(look, cx).map(|error| Some(Err(error))),
            frame => frame,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
