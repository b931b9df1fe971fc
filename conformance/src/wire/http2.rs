//! H2: HTTP/2 with prior knowledge.

use super::WireCheck;

pub(crate) const CHECKS: &[WireCheck] = &[];
