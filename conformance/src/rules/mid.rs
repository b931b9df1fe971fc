//! The rules of the family MID.

use crate::rule::Rule;

pub(crate) const RULES: &[Rule] = &[];
