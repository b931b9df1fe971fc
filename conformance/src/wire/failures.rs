//! ERR: failures and isolation.

use super::WireCheck;

pub(crate) const CHECKS: &[WireCheck] = &[];
