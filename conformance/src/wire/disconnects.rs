//! DRP: disconnects and cancellation, as seen from outside.

use super::WireCheck;

pub(crate) const CHECKS: &[WireCheck] = &[];
