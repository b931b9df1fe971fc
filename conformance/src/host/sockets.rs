//! Checks of sockets: readiness, registration, hang-ups.
