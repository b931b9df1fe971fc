//! SEM: responses without a body.

use super::WireCheck;

pub(crate) const CHECKS: &[WireCheck] = &[];
