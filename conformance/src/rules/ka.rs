//! The rules of the family KA.

use crate::rule::Rule;

pub(crate) const RULES: &[Rule] = &[];
