//! Checks of waits: timers, wakers, joins, fairness.

use std::time::{Duration, Instant};

use gateway_core::sleep_until;

use super::Subject;

pub(super) fn yld_07_a_timer_is_never_early(subject: &Subject) {
    subject.start().run(async {
        for micros in [1, 10, 100, 999, 1000, 1500, 20_000] {
            let deadline = Instant::now() + Duration::from_micros(micros);
            sleep_until(deadline).await;
            let early = deadline.saturating_duration_since(Instant::now());
            assert!(early.is_zero(), "a sleep of {micros} µs ended {early:?} early");
        }
    });
}
