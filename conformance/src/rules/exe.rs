//! EXE: jobs, the blocking work beside coroutines.

use crate::rule::{
    Level::Must,
    Need::Probe,
    Rule,
    Status::{Active, Reserved},
    Tested::{InProcess, Wire},
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "EXE-01",
        level: Must,
        sentence: "A blocking job does not delay other requests.",
        intent: "One slow file or resolver must not stop the rest of the site.",
        source: "this project",
        tested: &[Wire],
        needs: &[Probe("job"), Probe("open")],
        status: Active,
        since: "0.1",
        look_at: "whether blocking work runs on a thread that serves requests",
    },
    Rule {
        id: "EXE-02",
        level: Must,
        sentence: "Jobs beyond the threads for them wait for their turn, and the number of \
            threads is bounded.",
        intent: "A burst must cost time and not all of the memory.",
        source: "this project",
        tested: &[Wire],
        needs: &[Probe("job"), Probe("open")],
        status: Active,
        since: "0.1",
        look_at: "the bound of the pool, and its queue",
    },
    Rule {
        id: "EXE-03",
        level: Must,
        sentence: "The result of a cancelled job is discarded, and what it held is dropped; one \
            that has finished keeps its result.",
        intent: "Whoever cancels has moved on, and must neither be woken with an old result nor \
            pay for it.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "jobs that the host neither runs nor drops; what a job held goes with it, which core \
            sees to, with tests of its own",
    },
    Rule {
        id: "EXE-04",
        level: Must,
        sentence: "On hosts whose coroutines stay on one thread, a job's result comes back to \
            that thread.",
        intent: "What can't be sent between threads must not be dropped on another one.",
        source: "this project",
        tested: &[],
        needs: &[],
        status: Reserved(
            "for hosts whose coroutines can't be sent between threads: version 1 has none",
        ),
        since: "0.1",
        look_at: "the host's way back from its job threads",
    },
    Rule {
        id: "EXE-05",
        level: Must,
        sentence: "A job runs exactly once, on another thread than the coroutine's, and not \
            inside the yield that starts it.",
        intent: "A job is work that blocks: on the coroutine's thread it would stop everything \
            there.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the arm for `Yield::Job`: it has to hand the job on, or to refuse it; that none \
            runs twice, the types see to",
    },
    Rule {
        id: "EXE-06",
        level: Must,
        sentence: "While seven jobs block, timers, tasks, sockets and an eighth job go on.",
        intent: "Blocking is what jobs are for.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "where jobs run: on threads that poll tasks or wait for sockets, or on too few \
            of their own",
    },
    Rule {
        id: "EXE-07",
        level: Must,
        sentence: "Eight jobs that wait for each other all get a thread.",
        intent: "Jobs may depend on each other; a pool that does not grow would never end them.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "how many threads jobs have, and when more are started",
    },
    Rule {
        id: "EXE-08",
        level: Must,
        sentence: "Two thousand jobs at once all run, at most 1,024 of them beside each other.",
        intent: "A burst of uploads must neither be refused nor take all threads that the system \
            has.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the bound of the pool, and what happens to jobs that find it full",
    },
    Rule {
        id: "EXE-09",
        level: Must,
        sentence: "What a job returns arrives at its own handle, once and whole, whenever and \
            wherever that is awaited.",
        intent: "A mixed-up or lost result is worse than none.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "jobs that the host drops, or runs without waking whoever waits",
    },
    Rule {
        id: "EXE-10",
        level: Must,
        sentence: "A job whose handle has been dropped goes on, also when the coroutine and its \
            `run` have ended.",
        intent: "Work that nobody waits for, a log line to be written, say, still has to be done.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what the host cancels when it drops its own handle of a job, or returns from \
            `run`",
    },
];
