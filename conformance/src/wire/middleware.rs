//! MID: middleware, as seen from outside.

use super::WireCheck;

pub(crate) const CHECKS: &[WireCheck] = &[];
