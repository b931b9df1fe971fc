//! RSP: framing of responses.

use super::WireCheck;

pub(crate) const CHECKS: &[WireCheck] = &[];
