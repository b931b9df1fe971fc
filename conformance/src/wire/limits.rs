//! TMO: deadlines and limits.

use super::WireCheck;

pub(crate) const CHECKS: &[WireCheck] = &[];
