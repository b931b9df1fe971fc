//! `Answer`: a response, begun with `start_response`, and iterated over as it is made.

use std::sync::{Mutex, MutexGuard, PoisonError};

use gateway_blocking::Reader;
use gateway_core::Error;
use http::response::Parts;
use http::{HeaderValue, header};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::request::HOP_BY_HOP;
use crate::watch::Watch;

/// The iterable that a server is given.
#[pyclass(frozen, module = "gateway_wsgi")]
pub(crate) struct Answer {
    /// Nothing after the end, and while a piece is being made.
    body: Mutex<Option<Reader>>,
    watch: Watch,
}

/// Hands the head of a response to the server.
fn start(start_response: &Bound<'_, PyAny>, mut head: Parts) -> PyResult<()> {
    for name in &HOP_BY_HOP {
        head.headers.remove(name);
    }
    let status = head.status;
    let status = format!("{} {}", status.as_str(), status.canonical_reason().unwrap_or("Unknown"));
    let native = |value: &HeaderValue| value.as_bytes().iter().copied().map(char::from).collect();
    let fields = head.headers.iter().map(|(name, value)| (name.as_str(), native(value)));
    let fields: Vec<(&str, String)> = fields.collect();
    start_response.call1((status, fields)).map(drop)
}

/// Answers a request that the app does not see.
#[cold]
pub(crate) fn refuse<'py>(
    environ: &Bound<'py, PyDict>,
    start_response: &Bound<'py, PyAny>,
    error: &Error,
) -> PyResult<Bound<'py, PyAny>> {
    error.log();
    let (mut head, mut body) = error.response().into_parts();
    let text = body.take_bytes().unwrap_or_default();
    head.headers.insert(header::CONTENT_LENGTH, text.len().into());
    start(start_response, head)?;
    let method = environ.get_item("REQUEST_METHOD")?;
    let is_head = method.map_or(Ok(false), |method| method.eq("HEAD"))?;
    let text = Some(PyBytes::new(environ.py(), &text)).filter(|_| !is_head);
    Ok(PyList::new(environ.py(), text)?.into_any())
}

impl Answer {
    pub(crate) fn start<'py>(
        start_response: &Bound<'py, PyAny>,
        response: http::Response<Reader>,
        watch: Watch,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (head, reader) = response.into_parts();
        let answer = Answer { body: Mutex::new(Some(reader)), watch };
        start(start_response, head)?;
        Ok(Bound::new(start_response.py(), answer)?.into_any())
    }

    fn take(&self) -> Option<Reader> {
        self.lock().take()
    }

    /// Puts the body back where it was, unless the answer has been closed meanwhile.
    fn put(&self, py: Python<'_>, reader: Reader) {
        let mut body = self.lock();
        if !self.watch.is_closed() {
            *body = Some(reader);
            return;
        }
        drop(body);
        py.detach(|| drop(reader));
    }

    fn lock(&self) -> MutexGuard<'_, Option<Reader>> {
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
        let Some(mut reader) = self.take() else { return Ok(None) };
        let made = py.detach(|| {
            let piece = reader.chunk()?;
            Some(piece.map(|piece| (piece, reader)))
        });
        self.watch.raise()?;
        let failed = |error| PyRuntimeError::new_err(format!("the response is cut off: {error}"));
        let Some((piece, reader)) = made.transpose().map_err(failed)? else { return Ok(None) };
        self.put(py, reader);
        Ok(Some(PyBytes::new(py, &piece)))
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
