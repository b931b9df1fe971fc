//! `Error`: what went wrong, whose fault it is, and the response that says so.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use http::{HeaderValue, StatusCode, header};

use crate::app::Response;
use crate::body::Body;

/// Any error, boxed.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Whose fault an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The application's: a bug, or something behind it that failed. The client sees the status
    /// alone; the message is for the log.
    Application,
    /// The client's: the message may go back to it.
    Client,
    /// The host's: it has shut down, or has run out of something. As with the application, the
    /// message is for the log.
    Host,
}

/// An application's error: whose fault, the status that it becomes, and the cause.
///
/// Every [`std::error::Error`] converts into one with `?`: the application's fault, 500. A cause
/// that is itself such an error, also deep inside, keeps its fault and its status (the outermost one's), so that a
/// malformed body that surfaces through several layers is still the client's 400.
///
/// Like `anyhow::Error` it is not a [`std::error::Error`] itself, but converts into a boxed one.
pub struct Error(Box<Cause>);

struct Cause {
    fault: Fault,
    status: StatusCode,
    source: BoxError,
}

impl Error {
    /// An error with all its parts.
    pub fn new(fault: Fault, status: StatusCode, source: impl Into<BoxError>) -> Error {
        Error(Box::new(Cause { fault, status, source: source.into() }))
    }

    /// The client's fault. `source`, which may be a plain string, goes back to it.
    pub fn client(status: StatusCode, source: impl Into<BoxError>) -> Error {
        Error::new(Fault::Client, status, source)
    }

    /// Whose fault.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.0.fault
    }

    /// The status of the response that it becomes.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Logs it, for servers: the client's faults for those who look closely, all others as errors.
    pub fn log(&self) {
        let (status, error) = (self.status().as_u16(), self);
        match self.fault() {
            Fault::Client => tracing::debug!(status, %error, "a request failed by the client"),
            Fault::Application => tracing::error!(status, %error, "the application failed"),
            Fault::Host => tracing::error!(status, %error, "the host failed"),
        }
    }

    /// The response that says so. A client reads what it did wrong, and never the application's
    /// inner workings.
    #[must_use]
    pub fn response(&self) -> Response {
        let status = self.status();
        let text = match self.fault() {
            Fault::Client => format!("{status}: {}\n", self.0.source),
            Fault::Application | Fault::Host => format!("{status}\n"),
        };
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
        response
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(source: E) -> Error {
        let (mut fault, mut status) = (Fault::Application, StatusCode::INTERNAL_SERVER_ERROR);
        let mut next: Option<&(dyn StdError + 'static)> = Some(&source);
        while let Some(error) = next {
            if let Some(cause) = error.downcast_ref::<Cause>() {
                (fault, status) = (cause.fault, cause.status);
                break;
            }
            // An `io::Error` shows the source of what it wraps, and hides the wrapped error itself.
            let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            next = match wrapped {
                Some(wrapped) => Some(wrapped),
                None => error.source(),
            };
        }
        Error::new(fault, status, source)
    }
}

impl From<Error> for BoxError {
    fn from(error: Error) -> BoxError {
        error.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cause { fault, status, source } = self;
        let status = status.as_u16();
        let mut out = f.debug_struct("Error");
        out.field("fault", fault).field("status", &status).field("source", source).finish()
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.source()
    }
}
