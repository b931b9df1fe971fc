//! The access log: one line per request, in which nothing that a client sends can pass for more
//! than a value.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use gateway_core::Request;
use http::{HeaderMap, HeaderValue, Uri, Version, header};

use crate::observed::Exchange;

/// The target of the lines, by which a filter finds them.
pub const ACCESS_LOG: &str = "gateway::access";

/// The longest value, in bytes, that a line shows of what a client has sent. What is longer is cut,
/// and ends in `...`.
pub const LONGEST_VALUE: usize = 1024;

/// What a line says of its request, kept until the response has ended.
pub(crate) struct Asked {
    uri: Uri,
    version: Version,
    client: Option<SocketAddr>,
    user_agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
}

impl Asked {
    pub(crate) fn new(request: &Request, client: Option<SocketAddr>) -> Asked {
        let field = |fields: &HeaderMap, name| fields.get(name).cloned();
        Asked {
            uri: request.uri().clone(),
            version: request.version(),
            client,
            user_agent: field(request.headers(), header::USER_AGENT),
            referer: field(request.headers(), header::REFERER),
        }
    }
}

/// Writes the line.
pub(crate) fn write(exchange: &Exchange, asked: &Asked, total: Duration) {
    let target = asked.uri.path_and_query().map(|target| target.as_str());
    let target = target.or(asked.uri.authority().map(|authority| authority.as_str()));
    let field =
        |value: &'_ Option<HeaderValue>| Some(shown(value.as_ref()?.as_bytes()).into_owned());
    tracing::info!(
        target: ACCESS_LOG,
        method = &*shown(exchange.method.as_str().as_bytes()),
        uri = &*shown(target.unwrap_or_default().as_bytes()),
        version = ?asked.version,
        status = exchange.head.map(|(status, _)| status.as_u16()),
        end = exchange.end.name(),
        request_bytes = exchange.received(),
        response_bytes = exchange.sent,
        head_us = exchange.head.map(|(_, after)| after.as_micros() as u64),
        total_us = total.as_micros() as u64,
        client = asked.client.map(tracing::field::display),
        request_id = exchange.id.as_str(),
        user_agent = field(&asked.user_agent),
        referer = field(&asked.referer),
    );
}

/// A value as lines show it: printable ASCII without quotes and backslashes. Every other byte is
/// percent-encoded (RFC 3986, section 2.1), so that it needs no further escape in any format.
fn shown(value: &[u8]) -> Cow<'_, str> {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if value.len() <= LONGEST_VALUE && value.iter().copied().all(is_plain) {
        return String::from_utf8_lossy(value);
    }
    let mut text = String::new();
    for &byte in value {
        let length = if is_plain(byte) { 1 } else { 3 };
        if text.len() + length > LONGEST_VALUE - CUT.len() {
            text.push_str(CUT);
            break;
        }
        match length {
            1 => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    Cow::Owned(text)
}

/// The end of a value that was cut.
const CUT: &str = "...";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_plain_stays_as_it_is() {
        for value in ["", "/a?b=c%20d&e", "curl/8.0 (x; y) 'z'", &"a".repeat(LONGEST_VALUE)] {
            assert!(matches!(shown(value.as_bytes()), Cow::Borrowed(same) if same == value));
        }
    }

    #[test]
    fn what_could_end_a_value_or_a_line_is_encoded() {
        assert_eq!(shown(b"a\r\nb\tc\0"), "a%0D%0Ab%09c%00");
        assert_eq!(shown(b"\x1b[31m\x7f"), "%1B[31m%7F");
        assert_eq!(shown(b"\" status=200 \\\""), "%22 status=200 %5C%22");
        assert_eq!(shown("é\u{202e}".as_bytes()), "%C3%A9%E2%80%AE");
        assert_eq!(shown(b"\xff"), "%FF");
    }

    #[test]
    fn what_is_long_is_cut_between_two_bytes() {
        for (value, last) in [(&b"a"[..], "a..."), (b"\n", "%0A...")] {
            let text = shown(&value.repeat(LONGEST_VALUE + 1)).into_owned();
            assert!(text.len() <= LONGEST_VALUE && text.len() > LONGEST_VALUE - 3, "{text}");
            assert!(text.ends_with(last), "{text}");
        }
    }
}
