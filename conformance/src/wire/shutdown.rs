//! SHD: start-up and shutdown.

use super::WireCheck;

pub(crate) const CHECKS: &[WireCheck] = &[];
