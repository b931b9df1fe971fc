//! The limit of descriptors: as many as the system allows, rather than as few as it begins with.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one. The soft one is low (1024, mostly) for the sake of programs
/// that call `select`, and none of ours does.
pub(crate) fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => {
            tracing::debug!(from = current, to = maximum, "the limit of descriptors is raised")
        }
        Err(error) => tracing::warn!(%error, current, "cannot raise the limit of descriptors"),
    }
}
