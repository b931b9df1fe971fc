//! Servers that break the rules of `wire/request_line.rs`.

use super::twin::{Twin, replace};

pub(crate) fn twins() -> Vec<Twin> {
    vec![Twin::front("REQ-03", "G(T: 200", |bytes| replace(bytes, b"G(T", b"GET"))]
}
