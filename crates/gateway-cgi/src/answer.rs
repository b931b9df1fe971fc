//! A response on its way back to the server in front, written chunk by chunk.

use std::io::{self, Write};

use gateway_blocking::Reader;
use http::{Response, StatusCode};

/// Writes a response, each chunk of its body as soon as it is made: RFC 3875, section 6.
///
/// # Errors
///
/// When the body fails, which has been logged, or nobody takes it any more. What is left of it is
/// cancelled then, and the response is cut off.
pub(crate) fn send(response: Response<Reader>, out: &mut impl Write) -> io::Result<()> {
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    let reason = head.status.canonical_reason().unwrap_or_default();
    write!(bytes, "Status: {} {reason}\r\n", head.status.as_u16())?;
    // A field of this name would be another status.
    for (name, value) in head.headers.iter().filter(|(name, _)| *name != "status") {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body.take_bytes().unwrap_or_default());
    out.write_all(&bytes)?;
    out.flush()?;
    while let Some(chunk) = body.chunk() {
        out.write_all(&chunk?)?;
        out.flush()?;
    }
    Ok(())
}

/// Refuses what is no request, and says so in the log: it is the web server's fault.
///
/// # Errors
///
/// When nobody takes it.
pub(crate) fn refuse(message: &str, out: &mut impl Write) -> io::Result<()> {
    tracing::error!("{message}");
    let status = StatusCode::BAD_REQUEST;
    write!(out, "Status: {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n")?;
    writeln!(out, "{status}: {message}")?;
    out.flush()
}
