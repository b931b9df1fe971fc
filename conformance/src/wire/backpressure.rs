//! BPR: backpressure.

use super::WireCheck;

pub(crate) const CHECKS: &[WireCheck] = &[];
