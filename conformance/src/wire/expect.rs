//! EXP: Expect: 100-continue.

use super::WireCheck;

pub(crate) const CHECKS: &[WireCheck] = &[];
