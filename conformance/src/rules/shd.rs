//! The rules of the family SHD.

use crate::rule::Rule;

pub(crate) const RULES: &[Rule] = &[];
