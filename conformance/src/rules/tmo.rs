//! The rules of the family TMO.

use crate::rule::Rule;

pub(crate) const RULES: &[Rule] = &[];
