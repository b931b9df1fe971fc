//! Hosts that break the rules of `host/serving.rs`.

use super::twin::Twin;

pub(crate) fn twins() -> Vec<Twin> {
    vec![]
}
