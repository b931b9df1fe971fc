//! The service manager: it is told that the server is ready, reloads, stops, and is alive.
//!
//! Without one (no `NOTIFY_SOCKET` in the environment) nothing is said. Source: sd_notify(3).

use gateway_core::sleep;
use sd_notify::NotifyState::{self, Ready, Reloading, Stopping, Watchdog};

/// It listens.
pub(crate) fn ready() {
    tell(&[Ready]);
}

/// It reads its files again, and says [`ready`] after that. The moment lets the manager tell which
/// of several reloads that was.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[Reloading, now]),
        Err(error) => tracing::warn!(%error, "cannot tell the service manager of a reload"),
    }
}

/// It drains.
pub(crate) fn stopping() {
    tell(&[Stopping]);
}

/// Says that it is alive, twice as often as the manager asks, for as long as the host drives this.
pub(crate) async fn keep_alive() {
    let Some(interval) = sd_notify::watchdog_enabled() else { return };
    loop {
        tell(&[Watchdog]);
        sleep(interval / 2).await;
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, ?state, "cannot tell the service manager");
    }
}
