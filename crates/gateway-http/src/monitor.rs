//! `Monitor`: what a server shows of itself while it runs, to whoever operates it.

use std::fmt;
use std::sync::Arc;

use crate::bounds::Deadline;
use crate::connections::Shared;

/// A look at a running server: [`Bound::monitor`](crate::Bound::monitor). Looking costs the server
/// nothing between two looks.
#[derive(Clone)]
pub struct Monitor(pub(crate) Arc<Shared>);

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Activity {
    /// It is open, and not a byte of a request has come.
    Opening,
    /// A request's head is on its way.
    Reading,
    /// At least one request is in hand.
    Busy,
    /// It waits for the next request.
    Idle,
    /// It was handed over by an upgrade.
    Upgraded,
}

impl Activity {
    /// All of them.
    pub const ALL: [Activity; 5] =
        [Activity::Opening, Activity::Reading, Activity::Busy, Activity::Idle, Activity::Upgraded];
}

impl Activity {
    /// Its name, for logs and numbers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Activity::Opening => "opening",
            Activity::Reading => "reading",
            Activity::Busy => "busy",
            Activity::Idle => "idle",
            Activity::Upgraded => "upgraded",
        }
    }
}

impl Monitor {
    /// Whether the server has started, and is not about to end: what a readiness probe asks.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.is_ready()
    }

    /// Waits until the server is ready.
    ///
    /// # Cancel safety
    ///
    /// Giving it up loses nothing.
    pub async fn ready(&self) {
        std::future::poll_fn(|cx| self.0.poll_ready(cx)).await;
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.len()
    }

    /// How many connections have been accepted since the start.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.0.accepted()
    }

    /// How many connections do what at this moment.
    #[must_use]
    pub fn connections(&self) -> Vec<(Activity, usize)> {
        let slots = self.0.slots();
        let count = |wanted| slots.iter().filter(|slot| slot.activity() == wanted).count();
        Activity::ALL.into_iter().map(|activity| (activity, count(activity))).collect()
    }

    /// How often each deadline has passed since the start.
    #[must_use]
    pub fn deadlines(&self) -> Vec<(Deadline, u64)> {
        Deadline::ALL.into_iter().map(|deadline| (deadline, self.0.passed(deadline))).collect()
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Monitor");
        out.field("ready", &self.is_ready()).field("open", &self.open()).finish_non_exhaustive()
    }
}
