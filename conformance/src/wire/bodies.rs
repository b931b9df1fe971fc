//! BODY: framing of request bodies.

use super::WireCheck;

pub(crate) const CHECKS: &[WireCheck] = &[];
