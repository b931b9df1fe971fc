//! Checks of the HTTP server on a host.
