//! The rules of the family FLD.

use crate::rule::Rule;

pub(crate) const RULES: &[Rule] = &[];
