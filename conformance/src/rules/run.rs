//! The rules of the family RUN.

use crate::rule::Rule;

pub(crate) const RULES: &[Rule] = &[];
