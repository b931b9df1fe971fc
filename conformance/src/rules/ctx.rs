//! The rules of the family CTX.

use crate::rule::Rule;

pub(crate) const RULES: &[Rule] = &[];
