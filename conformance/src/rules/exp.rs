//! The rules of the family EXP.

use crate::rule::Rule;

pub(crate) const RULES: &[Rule] = &[];
