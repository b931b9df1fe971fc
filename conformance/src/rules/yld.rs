//! YLD: the yield protocol between a coroutine and its host.

use crate::rule::{Level::Must, Rule, Status::Active, Tested::InProcess};

/// A rule of this family: they are all alike in level, source and test.
const fn rule(
    id: &'static str,
    sentence: &'static str,
    intent: &'static str,
    look_at: &'static str,
) -> Rule {
    Rule {
        id,
        level: Must,
        sentence,
        intent,
        source: "this project",
        tested: &[InProcess],
        needs: &[],
        status: Active,
        since: "0.1",
        look_at,
    }
}

pub(crate) const RULES: &[Rule] = &[
    rule(
        "YLD-01",
        "Each kind of yield is answered, in `run`, in tasks and in their tasks; outside any \
         trampoline each fails at once.",
        "An application is written once for all hosts: it can't ask which waits are to be had \
         here, and a wait that hangs tells nobody why.",
        "the arms of `Trampoline::bounce`; whether `run` wraps its future in a `Coroutine`; outside \
         any trampoline it is core that answers, with tests of its own",
    ),
    rule(
        "YLD-02",
        "A yield is answered once, with its own result: an operation that has gone through is not \
         made again.",
        "Bytes that are written twice, or read and thrown away, corrupt every protocol above.",
        "what `Reactor::attempt` does around the operation: it makes it once, or not at all",
    ),
    Rule {
        source: "the contract of `std::future::Future`",
        ..rule(
            "YLD-03",
            "A coroutine is never polled after it has finished, however often it is woken then.",
            "Futures may panic, or worse, when they are polled after their end: the contract of \
         `Future` leaves that open.",
            "a wake-up during the last poll: the task must not be queued again",
        )
    },
    rule(
        "YLD-04",
        "The stack does not grow with the number of yields, of wake-ups, or of tasks that spawn \
         tasks.",
        "A host that resumes by calling deeper and deeper ends the whole process, after hours of \
         working well.",
        "recursion from a wake-up, or from a spawn, into the next poll: use a queue and a loop",
    ),
    rule(
        "YLD-05",
        "A coroutine whose waits are always over, or that always wakes itself, starves neither \
         tasks nor timers, sockets or jobs.",
        "One busy client must not stop all others, nor the deadlines that would end it.",
        "the order of the run queue: what has been woken goes behind what waits for its turn, and \
         the reactor gets turns as well",
    ),
    rule(
        "YLD-06",
        "Yields of one coroutine take effect in their order.",
        "Code reads from top to bottom; a response whose parts change places is a wrong response.",
        "writes that are buffered or made again behind the coroutine's back",
    ),
    rule(
        "YLD-07",
        "A timer never ends before its deadline, also when that has been moved, and one whose \
         deadline has passed ends at once.",
        "A deadline that fires early cuts off work that was in time; one in the past that \
         waits delays whatever has been computed late already.",
        "how the host rounds: a runtime's clock in whole milliseconds has to round up; whether \
         it arms its timer by `Timer::poll`, which knows of moved deadlines",
    ),
    Rule {
        source: "the contract of `std::task::Waker`",
        ..rule(
            "YLD-08",
            "No wake-up is lost: whether it comes before the suspension or after, from which thread, \
         and how often.",
            "A lost wake-up is a request that hangs until its client gives up, once in a million.",
            "a wake-up while the task is being polled: it has to be polled once more; a wake-up from \
         another thread: it has to end the host's sleep",
        )
    },
    Rule {
        source: "the contract of `std::task::Waker`",
        ..rule(
            "YLD-09",
            "A wake-up after the end does no harm, also after the host is gone, and no waker is kept \
         for a wait that is over or has been dropped.",
            "Channels and caches keep wakers for as long as they like; and a host that keeps them \
         leaks the memory of every request that ever waited.",
            "what a waker holds, and what dropping the host's timer and registered socket lets go of",
        )
    },
    rule(
        "YLD-10",
        "Readiness is never lost: not what arrives during an attempt, nor what is left after a \
         partial read; and a poll without readiness stays pending.",
        "A byte that arrives at the wrong moment must not hang its connection.",
        "edges: readiness is cleared only by the attempt that would block, within the same guard; \
         registration looks at the level, or is there before the attempt",
    ),
    rule(
        "YLD-11",
        "Joined waits are waited for at once, and each gives its own result.",
        "An application joins two queries to wait for the longer one, not for their sum; and one \
         may be what the other waits for.",
        "a host that blocks its thread inside `bounce`",
    ),
    rule(
        "YLD-12",
        "A select has one winner; a loser that is dropped is gone before the coroutine goes on, \
         and wakes nobody later.",
        "Timeouts are selects: almost all of their timers lose. What they leave behind adds up.",
        "what dropping a timer, or a registered socket, does to the host's part of the wait",
    ),
    rule(
        "YLD-13",
        "Timers, sockets, jobs and tasks mix in joins and selects, in any combination.",
        "Real handlers race a socket against a timer, and join a job with a task.",
        "wakers that are kept per task, where each wait has its own",
    ),
    rule(
        "YLD-14",
        "After the end of input, each further read gives the end at once, whoever reads.",
        "A parser that asks once more at the end must not hang.",
        "hang-ups: they are readiness, and stay so; clearing readiness must not clear them",
    ),
    rule(
        "YLD-15",
        "Each timer ends by itself: whatever others have the same deadline, are dropped, or are \
         moved, and not seconds late.",
        "A deadline that goes down with somebody else's is a request without a deadline.",
        "how timers are told apart (a deadline alone is no key), and when the host's sleep is cut \
         short for one that is sooner",
    ),
    rule(
        "YLD-16",
        "A timer or a socket wakes the waker of its latest poll, also when another coroutine has \
         taken it over.",
        "Pooled connections move between requests: the wake-up belongs to whoever waits now.",
        "a waker that is stored at the first poll only; `Waker::will_wake` used the wrong way \
         round",
    ),
    rule(
        "YLD-17",
        "A socket's reader and writer are waited for at the same time, each with its own waker, \
         and both hear of the peer's close.",
        "HTTP/2 and WebSocket connections read and write at once; a half that is forgotten \
         deadlocks them under load.",
        "one waker, or one interest, per socket instead of one per direction; oneshot events that \
         end both interests; errors and hang-ups, which concern both",
    ),
    rule(
        "YLD-18",
        "Every kind of descriptor that can be waited for is waited for: streams, listeners, \
         datagrams, pipes; and their hang-ups.",
        "Applications talk to databases over Unix sockets, and to child processes over pipes.",
        "hang-ups without bytes (HUP without IN) and errors without room (ERR without OUT): each \
         makes an attempt worthwhile",
    ),
    rule(
        "YLD-19",
        "A descriptor number that is closed and given to another socket serves that one.",
        "Servers use the same few numbers again a thousand times a second: a stale entry hangs a \
         stranger's connection.",
        "dropping the registered socket: it is taken out of the reactor before it is closed, and \
         nothing is remembered by its number",
    ),
    rule(
        "YLD-20",
        "While the host runs, a coroutine under its trampoline may be driven by any thread, and all \
         kinds of yields are answered there.",
        "Coroutines are driven from other runtimes, from jobs and from plain threads; there \
         nobody has entered the host's runtime.",
        "what the host finds through a thread-local of its runtime, its clock, its reactor, its \
         executor: enter it where a timer, a socket or a task is made",
    ),
    rule(
        "YLD-21",
        "What waits is not polled until it has been woken.",
        "A host that polls again and again burns a processor for each idle connection.",
        "busy loops around `poll`; one wake-up that makes the host poll all its tasks",
    ),
    rule(
        "YLD-22",
        "A wake-up never polls: it returns at once, within a poll as well, and the coroutine has \
         its turn later.",
        "Whoever wakes may hold a lock; a poll inside the wake-up would ask for it again.",
        "what the waker does beyond queueing; locks that are held while a task is polled",
    ),
    rule(
        "YLD-23",
        "Ten thousand timers and a thousand sockets are waited for at once, at a cost that does \
         not grow with the others' number.",
        "Idle connections are the common case: each has a socket and a deadline.",
        "tables of a fixed size; a wake-up that wakes everybody",
    ),
    rule(
        "YLD-24",
        "A writer that finds no room waits, is resumed when there is some, and every byte arrives \
         once, in order.",
        "Backpressure is what keeps a slow reader's response out of memory.",
        "interest in writing, after a short write as well as after none",
    ),
    rule(
        "YLD-25",
        "A connection that is refused, or reset, resumes whoever waits for it with that error, \
         and nobody else.",
        "A peer that is down must be an error within a moment, not a timeout.",
        "error events (ERR, HUP): they make an attempt worthwhile, and its result is the error",
    ),
    rule(
        "YLD-26",
        "A waker that is woken, replaced or dropped may let go of other waits of the same host.",
        "The last clone of a waker may own a whole request, with all its timers and sockets.",
        "locks of the reactor that are held while a waker is woken or dropped",
    ),
    rule(
        "YLD-27",
        "A host whose coroutines all wait needs no processor: none of its threads looks again and \
         again.",
        "An idle server shares its machine; one that spins looks busy to whoever scales it, and \
         empties batteries.",
        "readiness by level that nobody waits for any more; an event that is never taken; waits of \
         zero length; hang-ups, which can't be masked",
    ),
];
