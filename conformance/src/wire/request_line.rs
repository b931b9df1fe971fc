//! REQ: request line and target.

use super::WireCheck;

pub(crate) const CHECKS: &[WireCheck] = &[];
