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
//! | `scout.rs`, `launch.rs` | finding a server by its URL, starting one by its command |
//! | `report.rs`, `report/` | what came of a run: as text, JSON, JUnit's XML and a page |
//! | `baseline.rs` | failures that are known, so that only changes count |
//! | `specification.rs` | the rules for people: the document, the list, one rule |
//! | `main.rs` | the command line |

#![forbid(unsafe_code)]

pub mod baseline;
pub mod host;
pub mod launch;
pub mod lint;
pub mod probe;
pub mod report;
pub mod rule;
mod rules;
pub mod scout;
pub mod specification;
pub mod verdict;
pub mod wire;

pub use host::HostCheck;
pub use rule::{Level, Rule};
pub use verdict::{Outcome, Verdict};
