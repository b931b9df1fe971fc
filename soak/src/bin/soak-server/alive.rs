//! `Alive`: counts what has begun and has not been dropped.

use std::sync::atomic::{AtomicIsize, Ordering};

/// What is counted. The names stand in the answer of `/counts`, in this order.
pub(crate) static COUNTS: [(&str, AtomicIsize); 5] = [
    ("handlers", AtomicIsize::new(0)),
    ("bodies", AtomicIsize::new(0)),
    ("tasks", AtomicIsize::new(0)),
    ("jobs", AtomicIsize::new(0)),
    ("timers", AtomicIsize::new(0)),
];

/// Which of them.
#[derive(Clone, Copy)]
#[repr(usize)]
pub(crate) enum Of {
    Handler,
    Body,
    Task,
    Job,
    Timer,
}

/// Counts as long as it lives.
pub(crate) struct Alive(Of);

impl Alive {
    pub(crate) fn new(of: Of) -> Alive {
        COUNTS[of as usize].1.fetch_add(1, Ordering::Relaxed);
        Alive(of)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        COUNTS[self.0 as usize].1.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All counts, in one line: `handlers 0, bodies 0, …`.
pub(crate) fn counts() -> String {
    let count =
        |(name, count): &(&str, AtomicIsize)| format!("{name} {}", count.load(Ordering::Relaxed));
    COUNTS.iter().map(count).collect::<Vec<_>>().join(", ")
}
