//! Hosts that break the rules of `host/sockets.rs`.

use super::twin::Twin;

pub(crate) fn twins() -> Vec<Twin> {
    vec![]
}
