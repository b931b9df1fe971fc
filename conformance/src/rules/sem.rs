//! The rules of the family SEM.

use crate::rule::Rule;

pub(crate) const RULES: &[Rule] = &[];
