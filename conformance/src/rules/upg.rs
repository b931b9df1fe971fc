//! The rules of the family UPG.

use crate::rule::Rule;

pub(crate) const RULES: &[Rule] = &[];
