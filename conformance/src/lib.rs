//! The specification as executable rules, for hosts in process and for any HTTP server from outside.
//!
//! # For authors of hosts
//!
//! One line in a test file makes one test of each rule. It needs a way to start the host, which must
//! implement [`Host`](gateway_core::Host):
//!
//! ```
//! # mod conformance {
//! gateway_conformance::host_tests!(gateway_blocking::Blocking::new(2).unwrap());
//! # }
//! ```
//!
//! # For authors of servers
//!
//! `gateway-conformance wire http://127.0.0.1:8000` checks any HTTP server in any language; more of
//! it where the server runs the probe application, see [`probe`]. The README beside this crate
//! shows how to read what it says.
//!
//! | file | what it holds |
//! |---|---|
//! | `rule.rs`, `rules/` | the rules, as data |
//! | `verdict.rs` | what may come of a rule, and the evidence |
//! | `host.rs`, `host/` | the rules for hosts: checks in process |
//! | `wire.rs`, `wire/` | the rules for servers: checks from outside |
//! | `probe.rs` | the application that lets a server be checked further |
//! | `lint.rs` | the contract, checked inside a running system |

#![forbid(unsafe_code)]

pub mod host;
pub mod lint;
pub mod probe;
pub mod rule;
mod rules;
pub mod verdict;
pub mod wire;

pub use host::HostCheck;
pub use rule::{Level, Rule};
pub use verdict::{Outcome, Verdict};
