//! The server's deadlines and limits as flags, each under the name that the server has for it.

use std::time::Duration;

use clap::Args;
use gateway_core::App;
use gateway_http::Server;

/// Deadlines in seconds, with fractions, and limits.
#[derive(Debug, Args)]
#[command(next_help_heading = "Deadlines and limits")]
#[group(skip)]
pub(crate) struct Bounds {
    /// A PROXY header, from a trusted proxy [default: 5]
    #[arg(long, env = "GATEWAY_PROXY_SECONDS", value_name = "SECONDS", value_parser = seconds)]
    proxy_seconds: Option<Duration>,

    /// A TLS handshake [default: 10]
    #[arg(long, env = "GATEWAY_HANDSHAKE_SECONDS", value_name = "SECONDS", value_parser = seconds)]
    handshake_seconds: Option<Duration>,

    /// A whole request head [default: 30]
    #[arg(long, env = "GATEWAY_HEAD_SECONDS", value_name = "SECONDS", value_parser = seconds)]
    head_seconds: Option<Duration>,

    /// The next piece of a body, while its handler waits for it [default: 30]
    #[arg(long, env = "GATEWAY_BODY_SECONDS", value_name = "SECONDS", value_parser = seconds)]
    body_seconds: Option<Duration>,

    /// A handler, up to its response's head [default: 60]
    #[arg(long, env = "GATEWAY_HANDLER_SECONDS", value_name = "SECONDS", value_parser = seconds)]
    handler_seconds: Option<Duration>,

    /// A client that does not read, up to its next few kilobytes [default: 30]
    #[arg(long, env = "GATEWAY_WRITE_SECONDS", value_name = "SECONDS", value_parser = seconds)]
    write_seconds: Option<Duration>,

    /// A connection between two requests [default: 75]
    #[arg(long, env = "GATEWAY_IDLE_SECONDS", value_name = "SECONDS", value_parser = seconds)]
    idle_seconds: Option<Duration>,

    /// The requests of a client that has closed its sending side [default: 30]
    #[arg(long, env = "GATEWAY_GRACE_SECONDS", value_name = "SECONDS", value_parser = seconds)]
    grace_seconds: Option<Duration>,

    /// The requests in hand, after the first signal [default: 30]
    #[arg(long, env = "GATEWAY_DRAIN_SECONDS", value_name = "SECONDS", value_parser = seconds)]
    drain_seconds: Option<Duration>,

    /// Each hook of the application's start and end [default: 60]
    #[arg(long, env = "GATEWAY_HOOK_SECONDS", value_name = "SECONDS", value_parser = seconds)]
    hook_seconds: Option<Duration>,

    /// How long to go on after the first signal, ready no more [default: 0]
    #[arg(long, env = "GATEWAY_DRAIN_DELAY_SECONDS", value_name = "SECONDS", value_parser = seconds)]
    drain_delay_seconds: Option<Duration>,

    /// Open connections [default: 10000]
    #[arg(long, env = "GATEWAY_CONNECTION_LIMIT", value_name = "N")]
    connection_limit: Option<usize>,

    /// Bytes of a request head (8192 at least) [default: 65536]
    #[arg(long, env = "GATEWAY_HEAD_LIMIT", value_name = "BYTES")]
    head_limit: Option<usize>,

    /// Fields of a request head [default: 100]
    #[arg(long, env = "GATEWAY_FIELD_LIMIT", value_name = "N")]
    field_limit: Option<usize>,

    /// Bytes of a request's target [default: 16384]
    #[arg(long, env = "GATEWAY_TARGET_LIMIT", value_name = "BYTES")]
    target_limit: Option<usize>,

    /// Bytes of a request's body, where the application says nothing else [default: 2097152]
    #[arg(long, env = "GATEWAY_BODY_LIMIT", value_name = "BYTES")]
    body_limit: Option<u64>,

    /// Requests that an HTTP/2 connection may have in hand [default: 100]
    #[arg(long, env = "GATEWAY_STREAM_LIMIT", value_name = "N")]
    stream_limit: Option<u32>,
}

impl Bounds {
    /// Sets what the command line says, and leaves the rest as the program has it.
    pub(crate) fn set<A: App>(&self, server: Server<A>) -> Server<A> {
        let (mut deadlines, mut limits) = server.bounds();
        let seconds = [
            (&mut deadlines.proxy, self.proxy_seconds),
            (&mut deadlines.handshake, self.handshake_seconds),
            (&mut deadlines.head, self.head_seconds),
            (&mut deadlines.body, self.body_seconds),
            (&mut deadlines.handler, self.handler_seconds),
            (&mut deadlines.write, self.write_seconds),
            (&mut deadlines.idle, self.idle_seconds),
            (&mut deadlines.grace, self.grace_seconds),
            (&mut deadlines.drain, self.drain_seconds),
            (&mut deadlines.hook, self.hook_seconds),
        ];
        seconds.into_iter().for_each(|(deadline, flag)| put(deadline, flag));
        put(&mut limits.connections, self.connection_limit);
        put(&mut limits.head_bytes, self.head_limit);
        put(&mut limits.head_fields, self.field_limit);
        put(&mut limits.target_bytes, self.target_limit);
        put(&mut limits.body_bytes, self.body_limit);
        put(&mut limits.streams, self.stream_limit);
        let server = server.deadlines(deadlines).limits(limits);
        match self.drain_delay_seconds {
            Some(delay) => server.drain_delay(delay),
            None => server,
        }
    }
}

fn put<T>(bound: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *bound = value;
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
    use clap::{CommandFactory, Parser};
    use gateway_core::{Request, Response};
    use gateway_http::{Deadlines, Limits};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bounds: Bounds,
    }

    fn set(words: &[&str]) -> (Deadlines, Limits) {
        let Line { bounds } = Line::parse_from([&["app"], words].concat());
        let own = Limits { streams: 7, ..Limits::default() };
        bounds.set(Server::new(async |_: Request| Response::default()).limits(own)).bounds()
    }

    #[test]
    fn flags_go_before_what_the_program_has_set_and_the_rest_stays() {
        let own = Limits { streams: 7, ..Limits::default() };
        assert_eq!(set(&[]), (Deadlines::default(), own));
        let (deadlines, limits) = set(&["--idle-seconds", "1.5", "--stream-limit", "9"]);
        assert_eq!(deadlines.idle, Duration::from_millis(1500));
        assert_eq!((deadlines.head, limits.streams), (Deadlines::default().head, 9));
    }

    #[test]
    fn the_help_names_the_defaults_that_there_are() {
        let help = Line::command().render_long_help().to_string();
        let (deadlines, limits) = (Deadlines::default(), Limits::default());
        let seconds = |deadline: Duration| deadline.as_secs();
        for (flag, default) in [
            ("proxy-seconds", seconds(deadlines.proxy)),
            ("handshake-seconds", seconds(deadlines.handshake)),
            ("head-seconds", seconds(deadlines.head)),
            ("body-seconds", seconds(deadlines.body)),
            ("handler-seconds", seconds(deadlines.handler)),
            ("write-seconds", seconds(deadlines.write)),
            ("idle-seconds", seconds(deadlines.idle)),
            ("grace-seconds", seconds(deadlines.grace)),
            ("drain-seconds", seconds(deadlines.drain)),
            ("hook-seconds", seconds(deadlines.hook)),
            ("connection-limit", limits.connections as u64),
            ("head-limit", limits.head_bytes as u64),
            ("field-limit", limits.head_fields as u64),
            ("target-limit", limits.target_bytes as u64),
            ("body-limit", limits.body_bytes),
            ("stream-limit", limits.streams.into()),
        ] {
            let (_, about) = help.split_once(&format!("--{flag} ")).expect(flag);
            let about = about.split("--").next().unwrap_or_default();
            assert!(about.contains(&format!("[default: {default}]")), "{flag}: {about}");
        }
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
