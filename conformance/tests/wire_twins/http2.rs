//! Servers that break the rules of `wire/http2.rs`.

use super::twin::Twin;

pub(crate) fn twins() -> Vec<Twin> {
    vec![]
}
