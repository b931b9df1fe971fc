//! Servers that break the rules of `wire/disconnects.rs`.

use super::twin::Twin;

pub(crate) fn twins() -> Vec<Twin> {
    vec![]
}
