//! FLD: header fields.

use super::WireCheck;

pub(crate) const CHECKS: &[WireCheck] = &[];
