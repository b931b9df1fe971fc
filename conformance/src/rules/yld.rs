//! YLD: the yield protocol between a coroutine and its host.

use crate::rule::{Level::Must, Rule, Status::Active, Tested::InProcess};

pub(crate) const RULES: &[Rule] = &[Rule {
    id: "YLD-07",
    level: Must,
    sentence: "A timer never ends before its deadline, and one whose deadline has passed ends at \
               once.",
    intent: "A deadline that fires early cuts off work that was in time; one in the past that \
             waits delays whatever has been computed late already.",
    source: "this project",
    tested: &[InProcess],
    needs: &[],
    status: Active,
    since: "0.1",
    look_at: "how the host rounds: a runtime's clock in whole milliseconds has to round up",
}];
