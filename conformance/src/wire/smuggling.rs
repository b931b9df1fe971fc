//! SMG: request smuggling.

use super::WireCheck;

pub(crate) const CHECKS: &[WireCheck] = &[];
