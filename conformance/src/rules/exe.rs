//! The rules of the family EXE.

use crate::rule::Rule;

pub(crate) const RULES: &[Rule] = &[];
