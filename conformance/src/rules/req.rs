//! The rules of the family REQ.

use crate::rule::Rule;

pub(crate) const RULES: &[Rule] = &[];
