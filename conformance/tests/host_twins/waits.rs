//! Hosts that break the rules of `host/waits.rs`.

use std::task::Poll;
use std::time::{Duration, Instant};

use gateway_core::Yield;

use super::twin::{Behind, Bounce, Twin};

pub(crate) fn twins() -> Vec<Twin> {
    vec![Twin::new("YLD-07", "early", || {
        Behind::new(|good| {
            Bounce(good, |good, yielded, cx| match yielded {
                Yield::Timer(timer)
                    if timer.deadline() < Instant::now() + Duration::from_millis(2) =>
                {
                    Poll::Ready(Ok(()))
                }
                other => good.bounce(other, cx),
            })
        })
    })]
}
