//! SPN: tasks, the coroutines beside a coroutine.

use crate::rule::{
    Level::Must,
    Need::Probe,
    Rule,
    Status::Active,
    Tested::{InProcess, Wire},
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "SPN-01",
        level: Must,
        sentence: "A detached task outlives its request, and does not outlive the server's \
            shutdown.",
        intent: "Mails and audits go out after the answer; a process that is told to stop has to \
            stop.",
        source: "this project",
        tested: &[Wire],
        needs: &[Probe("task"), Probe("state"), Probe("open")],
        status: Active,
        since: "0.1",
        look_at: "whether tasks belong to the request's scope, and who ends them at shutdown",
    },
    Rule {
        id: "SPN-02",
        level: Must,
        sentence: "A task that is cancelled with its request ends, and is dropped, when the \
            client leaves.",
        intent: "A request's helpers must not work on for a client that is gone.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "whether a cancellation's wake-up reaches a task that waits for something else",
    },
    Rule {
        id: "SPN-03",
        level: Must,
        sentence: "A task is never polled inside the yield that starts it.",
        intent: "A task that spawns would recurse until the stack ends, and a lock held across \
            `spawn` would deadlock.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the arm for `Yield::Task`: it may queue the task and do nothing else with it",
    },
    Rule {
        id: "SPN-04",
        level: Must,
        sentence: "Ten thousand tasks that wait at once all run, each to its end.",
        intent: "Each open connection is a task: it may cost memory, and no thread.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the run queue's bound, and what happens to tasks that find it full",
    },
    Rule {
        id: "SPN-05",
        level: Must,
        sentence: "A task may spawn tasks, which outlive it, and may await them, at any depth.",
        intent: "Libraries spawn their drivers wherever they are called.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "whether tasks of tasks get the same trampoline, and whose children they are",
    },
    Rule {
        id: "SPN-06",
        level: Must,
        sentence: "A task outlives the coroutine and the `run` that spawned it, and a later \
            `run` of the same host can await it.",
        intent: "A test or a tool sets up its server in one `run` and talks to it in the next.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what `run` drops when it returns: the host owns the tasks",
    },
    Rule {
        id: "SPN-07",
        level: Must,
        sentence: "A cancelled task is dropped wherever it waits, under its trampoline, before \
            its handle says that it was cancelled.",
        intent: "Who cancels wants the task's sockets and locks back, now and not when its next \
            message comes.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "wake-ups that come from outside the host's own timers and sockets; under which \
            trampoline it is dropped, core sees to, with tests of its own",
    },
    Rule {
        id: "SPN-08",
        level: Must,
        sentence: "What a task returns arrives wherever its handle is awaited: in a task, on a \
            plain thread, on another host.",
        intent: "Handles are futures like others, and need nothing of a host but an honest waker.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "tasks that are dropped or forgotten before their end",
    },
    Rule {
        id: "SPN-09",
        level: Must,
        sentence: "A task that has ended is dropped at once, whoever keeps its wakers, and no lock \
            of the host is held meanwhile.",
        intent: "What a task holds is memory and sockets; and its destructors may start other work.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what the host keeps of a task after its last poll, and what it has locked when \
            it lets go of it",
    },
];
