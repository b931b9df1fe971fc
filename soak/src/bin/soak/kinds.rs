//! The kinds of clients: their names, how many there are of each, and what one session of each
//! does.

mod hostile;
mod http2;
mod well_behaved;

use std::future::Future;
use std::pin::Pin;

use crate::client::{Client, Phase};

type Session = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One kind of client.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Whether it does what a client should not.
    pub(crate) hostile: bool,
    /// How many of it there are at once, by phase.
    workers: fn(Phase) -> usize,
    pub(crate) session: fn(Client) -> Session,
}

impl Kind {
    /// How many of it there are at once.
    pub(crate) fn workers(&self, phase: Phase) -> usize {
        (self.workers)(phase)
    }
}

/// Makes the table: name, whether it is hostile, how many, one session, what it does.
macro_rules! kinds {
    ($($name:literal, $hostile:literal, $workers:expr, $session:path, $about:literal;)*) => {
        /// All kinds.
        pub(crate) const KINDS: [Kind; [$($name),*].len()] = [$(Kind {
            name: $name,
            about: $about,
            hostile: $hostile,
            workers: $workers,
            session: |client| Box::pin($session(client)),
        }),*];
    };
}

fn one(phase: Phase) -> usize {
    usize::from(matches!(phase, Phase::Mixed | Phase::Drain))
}

fn two(phase: Phase) -> usize {
    2 * one(phase)
}

fn four(phase: Phase) -> usize {
    4 * one(phase)
}

/// Many, and a few beside the flood.
fn many(phase: Phase) -> usize {
    match phase {
        Phase::Mixed | Phase::Drain => 8,
        Phase::Flood => 2,
        Phase::Descriptors => 0,
    }
}

fn floods(phase: Phase) -> usize {
    if phase == Phase::Flood { 4 } else { 0 }
}

fn exhausts(phase: Phase) -> usize {
    if phase == Phase::Descriptors { 96 } else { 0 }
}

kinds! {
    "keep-alive", false, many, well_behaved::keep_alive,
        "GETs one after another on one connection";
    "pipelined", false, four, well_behaved::pipelined,
        "several GETs at once, answered in order";
    "post", false, many, well_behaved::post_echo,
        "bodies with a length, or chunked in odd pieces, echoed";
    "expect", false, two, well_behaved::expect,
        "waits for 100 Continue before it sends its body";
    "slow", false, four, well_behaved::slow,
        "pauses within head and body, far below the deadlines";
    "patient", false, two, well_behaved::patient,
        "a handler, or a stream, that takes a second or so: SIGTERM finds it at work";
    "half-close", false, two, well_behaved::half_close,
        "closes its sending side behind the request, and has its answer";
    "http2", false, four, http2::streams,
        "several streams at once, with and without a body";
    "queued", false, exhausts, well_behaved::queued,
        "waits for its answer while the server is out of descriptors";
    "slow head", true, four, hostile::slow_head,
        "a head that comes byte by byte, and never ends";
    "slow body", true, four, hostile::slow_body,
        "a body that comes byte by byte, and never ends";
    "stopped reader", true, four, hostile::stopped_reader,
        "reads a part of a large response, and stops";
    "endless handler", true, one, hostile::endless_handler,
        "keeps its handler waiting for longer than any may";
    "idler", true, one, hostile::idler,
        "has its answer, and keeps the connection: each is booked as a request";
    "reset in body", true, two, hostile::reset_in_body,
        "resets the connection in the middle of its body";
    "reset in response", true, two, hostile::reset_in_response,
        "resets the connection in the middle of the response";
    "vanishing", true, two, hostile::vanishing,
        "closes or resets the connection before the answer";
    "garbage", true, one, hostile::garbage,
        "bytes that mean nothing";
    "mutated", true, two, hostile::mutated,
        "a request with a few bytes changed";
    "oversized head", true, one, hostile::oversized_head,
        "more header fields than fit: 431";
    "oversized target", true, one, hostile::oversized_target,
        "a target that is too long: 414";
    "oversized body", true, one, hostile::oversized_body,
        "a body that is larger than the application takes: 413";
    "panicking", true, one, hostile::panicking,
        "makes the handler panic: 500";
    "panicking late", true, one, hostile::panicking_late,
        "makes the body panic half-way: it is cut off";
    "stalling", true, one, hostile::stalling,
        "makes the handler block its thread";
    "http2 resets", true, one, http2::resets,
        "opens and resets streams, rapidly";
    "http2 garbage", true, one, http2::garbage,
        "frames that mean nothing";
    "flood", true, floods, hostile::flood,
        "many connections at once, most of them silent";
}
