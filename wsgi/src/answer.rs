//! `Answer`: a response, begun with `start_response`, and iterated over as it is made.

use std::io::{Cursor, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

use gateway_core::Error;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::request::HOP_BY_HOP;
use crate::watch::Watch;

/// How many bytes an iteration gives at most.
const PIECE_BYTES: usize = 64 * 1024;

/// The iterable that a server is given.
#[pyclass(frozen, module = "gateway_wsgi")]
pub(crate) struct Answer {
    /// Nothing after the end, and while a piece is being made.
    body: Mutex<Option<Pieces>>,
    watch: Watch,
}

struct Pieces {
    reader: Box<dyn Read + Send>,
    buffer: Vec<u8>,
}

/// The response to a request that the app does not see.
#[cold]
pub(crate) fn refusal(error: &Error) -> http::Response<Box<dyn Read + Send>> {
    error.log();
    let mut response = error.response().map(|mut body| body.take_bytes().unwrap_or_default());
    let length = HeaderValue::from(response.body().len());
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response.map(|text| Box::new(Cursor::new(text)) as Box<dyn Read + Send>)
}

/// Takes out the fields of the connection, and what they name (RFC 9110, section 7.6.1).
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<_> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

impl Answer {
    /// Hands the head to the server.
    pub(crate) fn start(
        environ: &Bound<'_, PyDict>,
        start_response: &Bound<'_, PyAny>,
        response: http::Response<Box<dyn Read + Send>>,
        watch: Watch,
    ) -> PyResult<Answer> {
        let (mut head, reader) = response.into_parts();
        let pieces = Pieces { reader, buffer: Vec::new() };
        let answer = Answer { body: Mutex::new(Some(pieces)), watch };
        let reason = head.status.canonical_reason().unwrap_or("Unknown");
        let status = format!("{} {reason}", head.status.as_str());
        strip_hop_by_hop(&mut head.headers);
        let native =
            |value: &HeaderValue| value.as_bytes().iter().copied().map(char::from).collect();
        let fields = head.headers.iter().map(|(name, value)| (name.as_str(), native(value)));
        let fields: Vec<(&str, String)> = fields.collect();
        start_response.call1((status, fields))?;

        let method = environ.get_item("REQUEST_METHOD")?;
        let is_head = method.map_or(Ok(false), |method| method.eq("HEAD"))?;
        let bodyless = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if is_head || bodyless {
            environ.py().detach(|| drop(answer.take()));
        }
        Ok(answer)
    }

    fn take(&self) -> Option<Pieces> {
        self.lock().take()
    }

    /// Puts the body back where it was, unless the answer has been closed meanwhile.
    fn put(&self, py: Python<'_>, pieces: Pieces) {
        let mut body = self.lock();
        if !self.watch.is_closed() {
            *body = Some(pieces);
            return;
        }
        drop(body);
        py.detach(|| drop(pieces));
    }

    fn lock(&self) -> MutexGuard<'_, Option<Pieces>> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Answer {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    /// Waits for the next piece, without the GIL. An exception means that the response is cut off.
    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let Some(mut pieces) = self.take() else { return Ok(None) };
        let made = py.detach(|| {
            pieces.buffer.resize(PIECE_BYTES, 0);
            match pieces.reader.read(&mut pieces.buffer) {
                Ok(0) => Ok(None),
                Ok(size) => Ok(Some((pieces, size))),
                Err(error) => Err(error),
            }
        });
        self.watch.raise()?;
        let failed = |error| PyRuntimeError::new_err(format!("the response is cut off: {error}"));
        let Some((pieces, size)) = made.map_err(failed)? else { return Ok(None) };
        let piece = PyBytes::new(py, &pieces.buffer[..size]);
        self.put(py, pieces);
        Ok(Some(piece))
    }

    /// Cancels what is left of the response: its coroutine is dropped. An iteration that is waiting
    /// on another thread ends at once.
    fn close(&self, py: Python<'_>) {
        self.watch.close();
        py.detach(|| drop(self.take()));
    }
}

impl Drop for Answer {
    /// As `close()`, for a server that has not called it.
    fn drop(&mut self) {
        let _ = Python::try_attach(|py| self.close(py));
    }
}
