//! The rules of the family ERR.

use crate::rule::Rule;

pub(crate) const RULES: &[Rule] = &[];
