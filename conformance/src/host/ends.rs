//! Checks of ends: running, panics, cancellation, the end of a host.
