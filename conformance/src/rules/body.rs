//! The rules of the family BODY.

use crate::rule::Rule;

pub(crate) const RULES: &[Rule] = &[];
