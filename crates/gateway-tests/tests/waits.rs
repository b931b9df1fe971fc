//! Timers, joins, selects, budgets: what a coroutine may rely on while it waits.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::future::{join_all, poll_fn};
use futures_util::stream::{FuturesUnordered, StreamExt};
use gateway_core::{
    Coroutine, Host, Trampoline, YIELDS_PER_POLL, Yield, sleep, sleep_until, spawn, timeout,
};
use gateway_net::{TcpListener, TcpStream};
use gateway_tests::on_every_host;

on_every_host!(2:
    joined_sleeps_take_as_long_as_the_longest,
    a_sleep_never_ends_early_and_a_past_one_ends_at_once,
    a_sleep_that_is_put_off_ends_at_its_last_deadline,
    a_lost_select_is_forgotten_by_the_host,
    ten_thousand_sleeps_are_polled_twice_each,
    a_timeout_asks_the_future_first_and_drops_it_last,
    a_dropped_socket_is_forgotten_by_the_host,
    a_sleep_for_ever_is_only_long;
1:
    a_coroutine_that_is_always_ready_starves_nobody,
);

fn joined_sleeps_take_as_long_as_the_longest(host: impl Host) {
    let each = Duration::from_millis(500);
    let started = Instant::now();
    host.run(join_all((0..10).map(|_| sleep(each))));
    let took = started.elapsed();
    // One after the other they would take ten times as long: a loaded machine has time to spare.
    assert!(each <= took && took < each * 5, "{took:?}");
}

fn a_sleep_never_ends_early_and_a_past_one_ends_at_once(host: impl Host) {
    host.run(async {
        for micros in [1, 10, 100, 999, 1000, 1500, 20_000] {
            let deadline = Instant::now() + Duration::from_micros(micros);
            sleep_until(deadline).await;
            assert!(Instant::now() >= deadline, "{micros} µs");
        }
        let mut past = pin!(sleep_until(Instant::now() - Duration::from_secs(1)));
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            past.as_mut().poll(cx)
        })
        .await;
        assert!(polls <= 2, "{polls} polls for a moment that had passed");
    });
}

fn a_sleep_that_is_put_off_ends_at_its_last_deadline(host: impl Host) {
    host.run(async {
        let started = Instant::now();
        let mut sleep = pin!(sleep(Duration::from_millis(20)));
        assert!(poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx).is_pending())).await);
        sleep.reset(started + Duration::from_millis(60));
        sleep.as_mut().await;
        assert!(started.elapsed() >= Duration::from_millis(60), "the first deadline won");
        // And the other way: sooner than it is armed for.
        let started = Instant::now();
        sleep.reset(started + Duration::from_secs(3600));
        assert!(poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx).is_pending())).await);
        sleep.reset(started + Duration::from_millis(5));
        sleep.as_mut().await;
        assert!(started.elapsed() >= Duration::from_millis(5));
    });
}

fn a_sleep_for_ever_is_only_long(host: impl Host) {
    let waited = host.run(timeout(Duration::from_millis(5), sleep(Duration::MAX)));
    assert!(waited.is_err());
}

/// A waker whose clones can be counted: whoever holds one has not forgotten.
struct Counted(AtomicUsize);

impl Wake for Counted {
    fn wake(self: Arc<Counted>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn a_lost_select_is_forgotten_by_the_host(host: impl Host) {
    let counted = Arc::new(Counted(AtomicUsize::new(0)));
    let waker = Waker::from(counted.clone());
    host.run(async {
        let before = Arc::strong_count(&counted);
        poll_fn(|_| {
            let cx = &mut Context::from_waker(&waker);
            let mut losers: Vec<_> =
                (0..100).map(|_| Box::pin(sleep(Duration::from_secs(3600)))).collect();
            for loser in &mut losers {
                assert!(loser.as_mut().poll(cx).is_pending());
            }
            assert!(Arc::strong_count(&counted) > before, "the host took no waker");
            Poll::Ready(())
        })
        .await;
        // A host may forget at its next turn: give it turns.
        while Arc::strong_count(&counted) > before {
            sleep(Duration::from_millis(1)).await;
        }
    });
    assert_eq!(counted.0.load(Ordering::Relaxed), 0, "a dropped wait was woken");
}

fn a_dropped_socket_is_forgotten_by_the_host(host: impl Host) {
    let counted = Arc::new(Counted(AtomicUsize::new(0)));
    let waker = Waker::from(counted.clone());
    host.run(async {
        let mut listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) =
            futures_util::future::join(TcpStream::connect_to(address), listener.accept()).await;
        let (mut client, (_server, _)) = (client.unwrap(), accepted.unwrap());
        let before = Arc::strong_count(&counted);
        let pending = poll_fn(|_| {
            let cx = &mut Context::from_waker(&waker);
            let read = futures_io::AsyncRead::poll_read(Pin::new(&mut client), cx, &mut [0; 8]);
            Poll::Ready(read.is_pending())
        });
        assert!(pending.await);
        assert!(Arc::strong_count(&counted) > before, "the host took no waker");
        drop(client);
        while Arc::strong_count(&counted) > before {
            sleep(Duration::from_millis(1)).await;
        }
    });
}

fn ten_thousand_sleeps_are_polled_twice_each(host: impl Host) {
    const SLEEPS: usize = 10_000;
    let polls = AtomicUsize::new(0);
    host.run(async {
        let started = Instant::now();
        let mut sleeps: FuturesUnordered<_> = (0..SLEEPS)
            .map(|n| {
                let deadline =
                    started + Duration::from_millis(200) + Duration::from_micros(n as u64);
                let mut sleep = Box::pin(sleep_until(deadline));
                let polls = &polls;
                poll_fn(move |cx| {
                    polls.fetch_add(1, Ordering::Relaxed);
                    sleep.as_mut().poll(cx)
                })
            })
            .collect();
        while sleeps.next().await.is_some() {}
    });
    // Once to begin, once to end; a few more where a budget was spent in between.
    let polls = polls.into_inner();
    let spent = SLEEPS / YIELDS_PER_POLL as usize;
    assert!(polls <= 2 * SLEEPS + 40 * spent, "{polls} polls for {SLEEPS} sleeps");
}

/// A trampoline whose timers are over when the bell has rung. It wakes nobody.
#[derive(Default)]
struct Bell(AtomicBool);

impl Trampoline for Bell {
    fn bounce(&self, _: Yield<'_>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.load(Ordering::Relaxed) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }
}

fn a_timeout_asks_the_future_first_and_drops_it_last(host: impl Host) {
    host.run(async {
        assert_eq!(timeout(Duration::ZERO, async { 7 }).await, Ok(7));
        // Both have come by the time that it is polled again.
        let (clock, (done, told)) = (Arc::<Bell>::default(), futures_channel::oneshot::channel());
        let waits = timeout(Duration::from_secs(3600), told);
        let mut both = pin!(Coroutine::new(clock.clone(), waits));
        assert!(poll_fn(|cx| Poll::Ready(both.as_mut().poll(cx).is_pending())).await);
        clock.0.store(true, Ordering::Relaxed);
        done.send(7).unwrap();
        assert_eq!(both.await, Ok(Ok(7)));
        let dropped = Arc::new(());
        let held = dropped.clone();
        let late = timeout(Duration::from_millis(1), async move {
            sleep(Duration::from_secs(3600)).await;
            drop(held);
        });
        let error = late.await.unwrap_err();
        assert_eq!(error.to_string(), "not finished within 1ms");
        assert_eq!(Arc::strong_count(&dropped), 1, "the future is still there");
    });
}

fn a_coroutine_that_is_always_ready_starves_nobody(host: impl Host) {
    let past = Instant::now();
    let turns = Arc::new(AtomicUsize::new(0));
    let counted = turns.clone();
    host.run(async {
        // Its waits are always over. With one thread, the other gets its turn only if this one is
        // suspended all the same.
        let greedy = spawn(async move {
            loop {
                sleep_until(past).await;
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        spawn(async {}).await.unwrap();
        sleep(Duration::from_millis(1)).await;
        greedy.cancel();
        assert!(greedy.await.is_err());
    });
    assert!(turns.load(Ordering::Relaxed) > 0);
}
