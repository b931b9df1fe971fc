//! RUN: running a coroutine on the calling thread.

use crate::rule::{Level::Must, Rule, Status::Active, Tested::InProcess};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "RUN-01",
        level: Must,
        sentence: "`run` polls its future on the calling thread, under the host's trampoline, and \
            gives what the future gives.",
        intent: "Callers pass references and values that may not leave their thread, and use the \
            output at once.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the host's `run`: its trampoline, and wake-ups from foreign threads; that the \
            future stays on its thread, the types see to",
    },
    Rule {
        id: "RUN-02",
        level: Must,
        sentence: "A panic of the future reaches the caller of `run` with its own payload, and \
            the host works on after it.",
        intent: "A test's assertion has to arrive where the test is; and one bad command must \
            not cost a program its host.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what `run` leaves behind when it unwinds: a poisoned lock, a flag that says it \
            is still running",
    },
    Rule {
        id: "RUN-03",
        level: Must,
        sentence: "`run` may be called any number of times, also inside somebody else's \
            coroutine, and leaves no trampoline behind.",
        intent: "Tests and tools run one future after another on the same host.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what `run` starts and does not end: threads, descriptors, a registration of \
            the calling thread; that no trampoline is left, core sees to, with tests of its own",
    },
    Rule {
        id: "RUN-04",
        level: Must,
        sentence: "Two hosts in one process do not disturb each other, and dropping one leaves \
            the other's waits whole.",
        intent: "Tests start hosts beside each other, and a library may bring one of its own.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "static state: a global executor or reactor that the first host to go takes down",
    },
    Rule {
        id: "RUN-05",
        level: Must,
        sentence: "On this host the HTTP server serves twenty waiting requests beside each other \
            while jobs are blocked.",
        intent: "A coroutine that waits holds no thread; a host that gives it one serves as many \
            clients as it has threads.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what the host does with a task that waits, and where it runs jobs",
    },
    Rule {
        id: "RUN-06",
        level: Must,
        sentence: "On this host a server that is told to drain finishes what is in hand, drops \
            at the deadline what is left, and returns.",
        intent: "A deployment waits for the old process to end; a drain that hangs is killed, \
            with all its requests.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "wake-ups of tasks that are told to go, and timers that fire while nothing else \
            happens",
    },
];
