//! DRP: disconnects and cancellation.

use crate::rule::{
    Level::Must,
    Need::Probe,
    Rule,
    Status::Active,
    Tested::{InProcess, Wire},
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "DRP-01",
        level: Must,
        sentence: "A handler hears of a client that has left: its pending read of the body \
            fails, and its disconnect signal is given.",
        intent: "Work for a client that is gone is lost money, and half a body must never pass \
            for a whole one.",
        source: "this project, after ASGI's `http.disconnect`",
        tested: &[Wire],
        needs: &[Probe("read"), Probe("state")],
        status: Active,
        since: "0.1",
        look_at: "what the server does with a reset or an early end of input while a request is \
            in hand",
    },
    Rule {
        id: "DRP-02",
        level: Must,
        sentence: "After a reset the handler is cancelled at once; after a FIN it is told at \
            once, and cancelled when its grace time is over.",
        intent: "A reset says that nobody will read the answer; a FIN may only say that nothing \
            more will be sent.",
        source: "this project",
        tested: &[Wire],
        needs: &[Probe("hold"), Probe("state")],
        status: Active,
        since: "0.1",
        look_at: "whether the server watches a connection while a handler is at work, also \
            behind unread bytes",
    },
    Rule {
        id: "DRP-03",
        level: Must,
        sentence: "A coroutine dropped at any of its yields is forgotten: each destructor runs \
            once, and the host keeps no waker of it.",
        intent: "Clients leave at any moment; what a cancelled request leaves behind adds up \
            until the server falls over.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "what the host keeps for a wait outside the `Timer` and the `Socket`, which own \
            the host's part of it",
    },
    Rule {
        id: "DRP-04",
        level: Must,
        sentence: "What is sent to a client that has left gives an error to the sender, and is \
            not logged as the server's error.",
        intent: "The sender has to stop. Clients leave all day, and a log full of that hides the \
            errors that matter.",
        source: "this project, after ASGI 2.4",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "how failed writes reach whoever makes the body, and at what level they are \
            logged",
    },
    Rule {
        id: "DRP-05",
        level: Must,
        sentence: "The descriptors, slots and tickets of a dropped request are free again.",
        intent: "A leak of one descriptor per impatient client ends a server in an afternoon.",
        source: "this project",
        tested: &[Wire],
        needs: &[Probe("hold"), Probe("live")],
        status: Active,
        since: "0.1",
        look_at: "what is counted up when a request comes and not counted down in a destructor",
    },
    Rule {
        id: "DRP-06",
        level: Must,
        sentence: "A destructor may yield: what a cancelled, finished or panicked coroutine \
            spawns as its clean-up runs to its end.",
        intent: "Connections go back to their pool, and locks are released, in destructors.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "locks that the host holds while it polls or drops a task",
    },
    Rule {
        id: "DRP-07",
        level: Must,
        sentence: "When a host is dropped, each of its tasks is dropped or goes on to its end, \
            and its handle is told.",
        intent: "A task in limbo holds its sockets and files for good, and whoever awaits it \
            never returns.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "the tasks that wait, not only those in the run queue: who owns them when the \
            threads are gone",
    },
    Rule {
        id: "DRP-08",
        level: Must,
        sentence: "Nobody hangs on a host that is gone: what waits for it, or asks it then, is \
            answered or given an error.",
        intent: "Pooled connections and timers of a library may outlive the host that they were \
            made on.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "wakers that are left when the host's reactor or clock stops, and the \
            trampoline that others still hold",
    },
    Rule {
        id: "DRP-09",
        level: Must,
        sentence: "Destructors that yield while their host is dropped run to their end, and \
            nothing deadlocks.",
        intent: "A process has to come down in good order, with clean-up in the way.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "locks that the host holds while it drops its tasks",
    },
    Rule {
        id: "DRP-10",
        level: Must,
        sentence: "A timer or a socket that has been polled on one thread may be polled or \
            dropped on another.",
        intent: "Executors move their tasks between threads, and pools hand sockets from one \
            task to the next.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "wakers and registrations bound to the thread that polled first",
    },
    Rule {
        id: "DRP-11",
        level: Must,
        sentence: "On this host the handler and the body of a client that has reset its \
            connection are dropped, with their destructors.",
        intent: "An endless stream of events to a client that is gone would be made for ever.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "whether the host reports a hang-up of a socket that nobody reads or writes at \
            the moment",
    },
    Rule {
        id: "DRP-12",
        level: Must,
        sentence: "Hosts that are started and dropped again and again leave no threads and no \
            descriptors behind.",
        intent: "A test suite starts a host for each test, and a service one for each \
            configuration that it loads.",
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at: "threads that nobody tells to end, and what holds the host in a circle",
    },
];
