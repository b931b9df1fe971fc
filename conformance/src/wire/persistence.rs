//! KA: persistent connections.

use super::WireCheck;

pub(crate) const CHECKS: &[WireCheck] = &[];
