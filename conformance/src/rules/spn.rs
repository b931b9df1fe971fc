//! The rules of the family SPN.

use crate::rule::Rule;

pub(crate) const RULES: &[Rule] = &[];
