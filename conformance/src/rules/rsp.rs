//! The rules of the family RSP.

use crate::rule::Rule;

pub(crate) const RULES: &[Rule] = &[];
