//! The rules of the family SMG.

use crate::rule::Rule;

pub(crate) const RULES: &[Rule] = &[];
