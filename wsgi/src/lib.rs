//! An app as a WSGI 1 callable (PEP 3333), for gunicorn, uWSGI and every other server for Python.
//!
//! A module of your own holds an [`Application`], and a server imports it:
//!
//! ```no_run
//! use gateway_core::{Body, Request, Response, sleep};
//! use pyo3::prelude::*;
//! use std::time::Duration;
//!
//! async fn hello(request: Request) -> Response {
//!     sleep(Duration::from_millis(10)).await;
//!     Response::new(Body::from(format!("hello, {}", request.uri().path())))
//! }
//!
//! #[pymodule(name = "hello")]
//! fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
//!     module.add("application", gateway_wsgi::Application::new(hello))
//! }
//! # fn main() {}
//! ```
//!
//! `gunicorn hello` then serves it. The crate's README says how the module is built, and
//! `docs/guide-wsgi.md` how it is deployed, and what each server can do.
//!
//! | file | what it holds |
//! |---|---|
//! | `request.rs` | a request of its environ, and `wsgi.input` as its body |
//! | `watch.rs` | what ends a wait early: a signal, or `close()` |
//! | `answer.rs` | a response as `start_response` and an iterator |

#![forbid(unsafe_code)]

mod answer;
mod request;
mod watch;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../../docs/guide-wsgi.md")]
struct Documents;

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;

use answer::Answer;
use gateway_blocking::{Blocking, Reader, decorate};
use gateway_core::App;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use request::Input;
pub use request::ScriptName;
use watch::Interruptible;

/// An app as a WSGI 1 callable.
///
/// Each request runs on the thread that the server calls with, and waits there without the GIL.
/// Tasks and jobs have threads of their own: for tasks as many as the machine has processors. They
/// are started with the first request of a process, so that a server may load the module before it
/// forks.
///
/// An error of the app is the response that it describes, and a panic is a 500, as on every host.
#[pyclass(frozen, module = "gateway_wsgi")]
pub struct Application {
    decorate: Box<Decorate>,
    /// Locked only by threads that hold the GIL, as one that forks does: it is free after a fork.
    serving: Mutex<Option<Serving>>,
}

/// Makes a synchronous function of the app, on one host or another.
type Decorate = dyn Fn(&Arc<Blocking>) -> Serve + Send + Sync;

/// The app as a synchronous function.
type Serve = Arc<dyn Fn(http::Request<Input>) -> http::Response<Reader> + Send + Sync>;

/// What one process serves with.
struct Serving {
    process: u32,
    serve: Serve,
}

impl Application {
    /// Makes a callable of an app.
    #[must_use]
    pub fn new(app: impl App) -> Application {
        let app = Arc::new(Interruptible(app));
        let decorate = move |host: &Arc<Blocking>| Arc::new(decorate(host, app.clone())) as Serve;
        Application { decorate: Box::new(decorate), serving: Mutex::default() }
    }

    /// What this process serves with, started where there is nothing yet.
    fn serve(&self, _gil: Python<'_>) -> PyResult<Serve> {
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        let process = std::process::id();
        if let Some(serving) = serving.as_ref().filter(|serving| serving.process == process) {
            return Ok(serving.serve.clone());
        }
        let host = Blocking::new(available_parallelism().map_or(1, usize::from))?;
        let serve = (self.decorate)(&Arc::new(host));
        // What a parent has left is nobody's here: its threads are not in this process, and to end
        // it would meddle with descriptors that the parent still uses.
        mem::forget(serving.replace(Serving { process, serve: serve.clone() }));
        Ok(serve)
    }
}

#[pymethods]
impl Application {
    /// Answers one request.
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        environ: &Bound<'py, PyDict>,
        start_response: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (request, watch) = match request::read(environ)? {
            Ok(read) => read,
            Err(error) => return answer::refuse(environ, start_response, &error),
        };
        let serve = self.serve(py)?;
        let response = py.detach(|| serve(request));
        watch.raise()?;
        Answer::start(start_response, response, watch)
    }
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application").finish_non_exhaustive()
    }
}
