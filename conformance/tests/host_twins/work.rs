//! Hosts that break the rules of `host/work.rs`.

use super::twin::Twin;

pub(crate) fn twins() -> Vec<Twin> {
    vec![]
}
