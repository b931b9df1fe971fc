//! The server's deadlines and limits as flags, each under the name that the server has for it.

use std::time::Duration;

use clap::Args;
use gateway_http::{Deadlines, Limits};

/// Deadlines in seconds, with fractions, and limits.
#[derive(Debug, Args)]
#[command(next_help_heading = "Deadlines and limits")]
pub(crate) struct Bounds {
    /// A whole request head
    #[arg(long, env = "GATEWAY_HEAD_SECONDS", value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    head_seconds: Duration,

    /// The next piece of a body, while its handler waits for it
    #[arg(long, env = "GATEWAY_BODY_SECONDS", value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    body_seconds: Duration,

    /// A handler, up to its response's head
    #[arg(long, env = "GATEWAY_HANDLER_SECONDS", value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    handler_seconds: Duration,

    /// A client that does not read, up to its next few kilobytes
    #[arg(long, env = "GATEWAY_WRITE_SECONDS", value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    write_seconds: Duration,

    /// A connection between two requests
    #[arg(long, env = "GATEWAY_IDLE_SECONDS", value_name = "SECONDS", default_value = "75", value_parser = seconds)]
    idle_seconds: Duration,

    /// The requests of a client that has closed its sending side
    #[arg(long, env = "GATEWAY_GRACE_SECONDS", value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    grace_seconds: Duration,

    /// The requests in hand, after the first signal
    #[arg(long, env = "GATEWAY_DRAIN_SECONDS", value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    drain_seconds: Duration,

    /// Each hook of the application's start and end
    #[arg(long, env = "GATEWAY_HOOK_SECONDS", value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    hook_seconds: Duration,

    /// How long to go on after the first signal, ready no more
    #[arg(long, env = "GATEWAY_DRAIN_DELAY_SECONDS", value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    pub(crate) drain_delay_seconds: Duration,

    /// Open connections
    #[arg(long, env = "GATEWAY_CONNECTION_LIMIT", value_name = "N", default_value = "10000")]
    connection_limit: usize,

    /// Bytes of a request head (8192 at least)
    #[arg(long, env = "GATEWAY_HEAD_LIMIT", value_name = "BYTES", default_value = "65536")]
    head_limit: usize,

    /// Fields of a request head
    #[arg(long, env = "GATEWAY_FIELD_LIMIT", value_name = "N", default_value = "100")]
    field_limit: usize,

    /// Bytes of a request's target
    #[arg(long, env = "GATEWAY_TARGET_LIMIT", value_name = "BYTES", default_value = "16384")]
    target_limit: usize,

    /// Bytes of a request's body, where the application says nothing else
    #[arg(long, env = "GATEWAY_BODY_LIMIT", value_name = "BYTES", default_value = "2097152")]
    body_limit: u64,

    /// Requests that an HTTP/2 connection may have in hand
    #[arg(long, env = "GATEWAY_STREAM_LIMIT", value_name = "N", default_value = "100")]
    stream_limit: u32,
}

impl Bounds {
    pub(crate) fn deadlines(&self) -> Deadlines {
        Deadlines {
            head: self.head_seconds,
            body: self.body_seconds,
            handler: self.handler_seconds,
            write: self.write_seconds,
            idle: self.idle_seconds,
            grace: self.grace_seconds,
            drain: self.drain_seconds,
            hook: self.hook_seconds,
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            connections: self.connection_limit,
            head_bytes: self.head_limit,
            head_fields: self.field_limit,
            target_bytes: self.target_limit,
            body_bytes: self.body_limit,
            streams: self.stream_limit,
        }
    }
}

/// Reads a number of seconds: at least a millisecond, or nothing at all.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "give a number of seconds".to_owned())?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    if !duration.is_zero() && duration < Duration::from_millis(1) {
        return Err("less than a millisecond can't be kept".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bounds: Bounds,
    }

    #[test]
    fn flags_that_are_not_given_are_what_the_server_does_by_itself() {
        let Line { bounds } = Line::parse_from(["app"]);
        assert_eq!(bounds.deadlines(), Deadlines::default());
        assert_eq!(bounds.limits(), Limits::default());
        assert_eq!(bounds.drain_delay_seconds, Duration::ZERO);
    }

    #[test]
    fn a_deadline_may_have_a_fraction_and_must_be_a_time() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        for wrong in ["", "soon", "-1", "1e300", "NaN", "0.0000001"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
