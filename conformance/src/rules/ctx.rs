//! CTX: context.

use crate::rule::{
    Level::Must,
    Need::Probe,
    Rule,
    Status::Active,
    Tested::{Compared, Wire},
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "CTX-01",
        level: Must,
        sentence: "What a request keeps for itself is seen by no other request, whatever runs \
                   beside it, before it, or on its thread.",
        intent: "State that leaks shows one user the data of another.",
        source: "this project",
        tested: &[Wire],
        needs: &[Probe("local")],
        status: Active,
        since: "0.1",
        look_at: "where the request's state lives: with the request, or with a thread or a \
                  connection",
    },
    Rule {
        id: "CTX-02",
        level: Must,
        sentence: "One application does the same on all hosts: the same steps in the same order, \
                   and the same bytes on the wire, `Date` aside.",
        intent: "That the host is a choice of the operator, and not of the application, is what \
                 the contract is for.",
        source: "this project",
        tested: &[Compared],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the first step in which the two traces differ, and the yield behind it",
    },
];
