//! The rules of the family DRP.

use crate::rule::Rule;

pub(crate) const RULES: &[Rule] = &[];
