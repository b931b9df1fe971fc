//! UPG: upgrades.

use super::WireCheck;

pub(crate) const CHECKS: &[WireCheck] = &[];
