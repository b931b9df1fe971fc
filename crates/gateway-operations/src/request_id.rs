//! `RequestId`: the name of one request, on its way through all that handles it.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use gateway_core::Request;
use http::{HeaderName, HeaderValue};

/// The field that carries the id, in requests and in responses.
pub static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id, in bytes, that is taken over from a client. A longer one is replaced.
pub const LONGEST_REQUEST_ID: usize = 128;

/// The name of one request: what the client has sent in `x-request-id`, or a fresh one.
///
/// A client's id is taken over when there is exactly one, of 1 to [`LONGEST_REQUEST_ID`] bytes,
/// each a letter or a digit of ASCII or one of `-._:=+/`. That covers UUIDs, ULIDs, base64 and trace
/// ids. Anything else is replaced: an id goes into logs and into the requests of others.
///
/// A fresh id is 128 bits in hexadecimal: two SipHashes of a counter, with the keys of two of std's
/// [`RandomState`]s, which come from the system's random numbers once per process. So ids of
/// different processes are as unlikely to meet as random numbers of that size, and one that is
/// known does not tell the next. They are names all the same, not secrets: grant nothing for one.
///
/// The app finds it in the request's extensions:
///
/// ```
/// use gateway_core::{Body, Request, Response};
/// use gateway_operations::RequestId;
///
/// async fn whoami(request: Request) -> Response {
///     let id = request.extensions().get::<RequestId>().map(RequestId::as_str);
///     Response::new(Body::from(id.unwrap_or("nobody").to_owned()))
/// }
/// # fn is_app(_: impl gateway_core::App) {}
/// # is_app(gateway_operations::Observed::new(whoami));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Always the alphabet of ids, or hexadecimal digits.
        self.0.to_str().unwrap_or_default()
    }

    /// The id as the value of a field.
    #[must_use]
    pub fn as_value(&self) -> &HeaderValue {
        &self.0
    }

    /// The id of a request that arrives. Afterwards its field and its extension agree.
    pub(crate) fn of(request: &mut Request) -> RequestId {
        let mut given = request.headers().get_all(&X_REQUEST_ID).iter();
        let id = match (given.next(), given.next()) {
            (Some(one), None) if is_well_formed(one.as_bytes()) => RequestId(one.clone()),
            _ => {
                let id = RequestId::fresh();
                request.headers_mut().insert(&X_REQUEST_ID, id.0.clone());
                id
            }
        };
        request.extensions_mut().insert(id.clone());
        id
    }

    fn fresh() -> RequestId {
        static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let [high, low] = [0, 1].map(|half: usize| KEYS[half].hash_one(number));
        let bits = u128::from(high) << 64 | u128::from(low);
        let digit = |place: usize| b"0123456789abcdef"[(bits >> (4 * (31 - place))) as usize & 15];
        let digits: [u8; 32] = std::array::from_fn(digit);
        RequestId(HeaderValue::from_bytes(&digits).expect("digits are a field's value"))
    }
}

fn is_well_formed(id: &[u8]) -> bool {
    let is_fit = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:=+/".contains(byte);
    (1..=LONGEST_REQUEST_ID).contains(&id.len()) && id.iter().all(is_fit)
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestId").field(&self.as_str()).finish()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_of_the_common_kinds_are_taken_over_and_no_others() {
        let longest = "a".repeat(LONGEST_REQUEST_ID);
        for id in [
            "0",
            "2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "Root=1-67891233-abcdef012345678912345678",
            "aGVsbG8+/w==",
            &longest,
        ] {
            assert!(is_well_formed(id.as_bytes()), "{id}");
        }
        let too_long = format!("{longest}a");
        for id in ["", "a b", "a\"b", "a\\b", "a%0d", "a\t", "é", "a,b", "<a>", &too_long] {
            assert!(!is_well_formed(id.as_bytes()), "{id}");
        }
    }

    #[test]
    fn fresh_ids_are_well_formed_and_differ() {
        let ids: HashSet<_> = (0..10_000).map(|_| RequestId::fresh()).collect();
        assert_eq!(ids.len(), 10_000);
        for id in ids {
            assert!(id.as_str().len() == 32 && is_well_formed(id.as_str().as_bytes()), "{id}");
        }
    }
}
