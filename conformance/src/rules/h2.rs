//! The rules of the family H2.

use crate::rule::Rule;

pub(crate) const RULES: &[Rule] = &[];
