//! What the servers beside the gateway share: the probe application of the conformance suite.

#![forbid(unsafe_code)]

pub mod probe;
