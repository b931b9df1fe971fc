//! The rules of the family BPR.

use crate::rule::Rule;

pub(crate) const RULES: &[Rule] = &[];
