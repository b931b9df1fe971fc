//! EXE and SPN: jobs and tasks, as seen from outside.

use super::WireCheck;

pub(crate) const CHECKS: &[WireCheck] = &[];
