//! Hosts that break the rules of `host/ends.rs`.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::mem::{self, ManuallyDrop};
use std::net::UdpSocket;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Instant;

use gateway_blocking::Blocking;
use gateway_core::{Coroutine, Host, Task, Trampoline, Yield, trampoline};

use super::twin::{Behind, Bounce, Twin};
use super::work::{Numbered, deafened, dropped, lost, once};

type Answer = Poll<io::Result<()>>;

pub(crate) fn twins() -> Vec<Twin> {
    [running(), dropping(), panicking()].into_iter().flatten().collect()
}

fn running() -> Vec<Twin> {
    vec![
        Twin::new("RUN-01", "outside any trampoline", || Bare),
        Twin::new("RUN-01", "hangs", || Runs::new(|host, future| host.run(deafened(future)))),
        Twin::new("RUN-02", "PoisonError", || Runs::new(|host, future| host.run(future))),
        Twin::new("RUN-02", "payload", || Replaces(Blocking::new(2).unwrap())),
        Twin::new("RUN-03", "no more runs", || Hundred(Blocking::new(2).unwrap(), Cell::new(0))),
        Twin::new("RUN-03", "`run` inside another coroutine", || {
            Inherits(Blocking::new(2).unwrap())
        }),
        Twin::new("RUN-04", "another host has stopped", || Shared(Blocking::new(2).unwrap())),
    ]
}

fn dropping() -> Vec<Twin> {
    vec![
        Twin::new("DRP-03", "the host has forgotten it", || {
            Behind::new(|good| {
                Bounce(good, |good, yielded, cx| {
                    if let Yield::Timer(_) = yielded {
                        mem::forget(cx.waker().clone());
                    }
                    good.bounce(yielded, cx)
                })
            })
        }),
        Twin::new("DRP-03", "all that it held is dropped", || {
            Behind::new(|good| Numbered::new(good, |n, _, work| lost(n == 0, work)))
        }),
        Twin::new("DRP-03", "the script has no end", || {
            Behind::new(|good| {
                Bounce(good, |good, yielded, cx| match yielded {
                    Yield::Timer(_) => {
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                    other => good.bounce(other, cx),
                })
            })
        }),
        Twin::new("DRP-08", "a trampoline inside `run`", || Bare),
        Twin::new("DRP-10", "a trampoline inside `run`", || Bare),
        Twin::new("DRP-06", "hangs", || {
            Behind::new(|good| Locks { good, lock: Arc::default(), polling: true })
        }),
        Twin::new("DRP-07", "was dropped, or has ended", || Behind::new(|good| Forgets { good })),
        Twin::new("DRP-07", "each job that a dropped host left", || {
            Behind::new(|good| Numbered::new(good, |n, _, work| lost(n > 100, work)))
        }),
        Twin::new("SPN-09", "though their wakers are kept", || {
            Behind::new(|good| Forgets { good })
        }),
        Twin::new("SPN-09", "hangs", || {
            Behind::new(|good| Locks { good, lock: Arc::default(), polling: false })
        }),
        Twin::new("DRP-08", "a job asked of it hangs", || Gone::new(true, Gone::forget)),
        Twin::new("DRP-08", "waited for a timer hangs", || Gone::new(false, Gone::refuse)),
        Twin::new("DRP-09", "hangs", || {
            Behind::new(|good| Locks { good, lock: Arc::default(), polling: false })
        }),
        Twin::new("DRP-09", "destructors that yield have run", || {
            Behind::new(|good| Forgets { good })
        }),
        Twin::new("DRP-12", "hosts have closed what they had", || {
            Kept(ManuallyDrop::new(Blocking::new(2).unwrap()))
        }),
        Twin::new("DRP-12", "hosts have closed what they had", || Opens(Blocking::new(2).unwrap())),
        Twin::new("DRP-10", "a timer that has changed threads hangs", || {
            Behind::new(|good| {
                Bounce(good, |good, yielded, cx| match yielded {
                    Yield::Timer(timer) => timer.poll(cx, FirstWaker::new),
                    other => good.bounce(other, cx),
                })
            })
        }),
    ]
}

fn panicking() -> Vec<Twin> {
    vec![
        Twin::new("ERR-04", "Cancelled", || {
            Behind::new(|good| Numbered::new(good, |_, good, work| once(true, good, work)))
        }),
        // Drops a task where nobody hears of the panic of what it held.
        Twin::new("ERR-04", "a trap in a task gives Err(Cancelled)", || {
            Behind::new(|good| Numbered::new(good, |n, _, work| dropped_elsewhere(n == 29, work)))
        }),
        Twin::new("ERR-08", "panicked give", || {
            Behind::new(|good| Numbered::new(good, |n, _, work| dropped(n > 1500, work)))
        }),
        Twin::new("ERR-08", "hangs", || {
            Behind::new(|good| Numbered::new(good, |n, _, work| lost(n > 1500, work)))
        }),
    ]
}

fn dropped_elsewhere(bad: bool, work: Yield<'static>) -> Result<Answer, Yield<'static>> {
    let Yield::Task(task) = work else { return Err(work) };
    if !bad {
        return Err(Yield::Task(task));
    }
    thread::spawn(move || drop(task));
    Ok(Poll::Ready(Ok(())))
}

/// A host that runs its future under no trampoline.
pub(crate) struct Bare;

impl Host for Bare {
    fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        loop {
            let noop = &mut Context::from_waker(Waker::noop());
            if let Poll::Ready(output) = future.as_mut().poll(noop) {
                return output;
            }
            thread::yield_now();
        }
    }
}

/// The future that hosts under test are given, whatever it is.
type Erased<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A host that holds a lock while it runs, in a way of its own.
struct Runs(Mutex<Blocking>, fn(&Blocking, Erased<'_>));

impl Runs {
    fn new(run: fn(&Blocking, Erased<'_>)) -> Runs {
        Runs(Mutex::new(Blocking::new(2).unwrap()), run)
    }
}

impl Host for Runs {
    fn run<F: Future>(&self, future: F) -> F::Output {
        let mut output = None;
        (self.1)(&self.0.lock().unwrap(), Box::pin(async { output = Some(future.await) }));
        output.unwrap()
    }
}

/// A host that reports panics in its own words.
struct Replaces(Blocking);

impl Host for Replaces {
    fn run<F: Future>(&self, future: F) -> F::Output {
        let caught = catch_unwind(AssertUnwindSafe(|| self.0.run(future)));
        caught.unwrap_or_else(|_| resume_unwind(Box::new("the future has panicked")))
    }
}

/// A host that runs a hundred times.
struct Hundred(Blocking, Cell<usize>);

impl Host for Hundred {
    fn run<F: Future>(&self, future: F) -> F::Output {
        self.1.set(self.1.get() + 1);
        assert!(self.1.get() <= 100, "no more runs");
        self.0.run(future)
    }
}

/// A host that has its yields answered by whoever is there already.
struct Inherits(Blocking);

impl Host for Inherits {
    fn run<F: Future>(&self, future: F) -> F::Output {
        if trampoline().is_ok() { Bare.run(future) } else { self.0.run(future) }
    }
}

/// A host that stops with the first of its kind.
struct Shared(Blocking);

static STOPPED: AtomicBool = AtomicBool::new(false);

impl Host for Shared {
    fn run<F: Future>(&self, future: F) -> F::Output {
        self.0.run(async {
            let stops = Bounce(trampoline().unwrap(), |good, yielded, cx| {
                if STOPPED.load(Ordering::SeqCst) {
                    return Poll::Ready(Err(io::Error::other("another host has stopped")));
                }
                good.bounce(yielded, cx)
            });
            Coroutine::new(Arc::new(stops), future).await
        })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        STOPPED.store(true, Ordering::SeqCst);
    }
}

/// A host that holds its lock while it polls tasks, or only while it drops them.
struct Locks {
    good: Arc<dyn Trampoline>,
    lock: Arc<Mutex<()>>,
    polling: bool,
}

impl Trampoline for Locks {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Answer {
        let Yield::Task(task) = yielded else { return self.good.bounce(yielded, cx) };
        drop(self.lock.lock());
        let (lock, polling) = (self.lock.clone(), self.polling);
        let task = Task::new(Locked { task: Some(task), lock, polling });
        self.good.bounce(Yield::Task(task), cx)
    }
}

struct Locked {
    task: Option<Task>,
    lock: Arc<Mutex<()>>,
    polling: bool,
}

impl Future for Locked {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (lock, polling) = (self.lock.clone(), self.polling);
        let _locked = polling.then(|| lock.lock());
        Pin::new(self.task.as_mut().unwrap()).poll(cx)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let _locked = self.lock.lock();
        self.task = None;
    }
}

/// A host that forgets its tasks, in place of dropping them.
struct Forgets {
    good: Arc<dyn Trampoline>,
}

impl Trampoline for Forgets {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Answer {
        match yielded {
            Yield::Task(task) => {
                let task = Task::new(Forgotten(Some(task)));
                self.good.bounce(Yield::Task(task), cx)
            }
            other => self.good.bounce(other, cx),
        }
    }
}

struct Forgotten(Option<Task>);

impl Future for Forgotten {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(self.0.as_mut().unwrap()).poll(cx)
    }
}

impl Drop for Forgotten {
    fn drop(&mut self) {
        mem::forget(self.0.take());
    }
}

/// A host that does not end.
struct Kept(ManuallyDrop<Blocking>);

impl Host for Kept {
    fn run<F: Future>(&self, future: F) -> F::Output {
        self.0.run(future)
    }
}

/// A host that does not close all that it has opened.
struct Opens(Blocking);

impl Host for Opens {
    fn run<F: Future>(&self, future: F) -> F::Output {
        mem::forget(UdpSocket::bind("127.0.0.1:0").unwrap());
        self.0.run(future)
    }
}

/// What answers when the host is gone.
type Afterwards = fn(&dyn Trampoline, Yield<'_>, &mut Context<'_>) -> Answer;

/// A host that may wake nobody when it is dropped, and then answers in a way of its own.
struct Gone {
    host: Blocking,
    gone: Arc<AtomicBool>,
    wakes: bool,
    afterwards: Afterwards,
}

impl Gone {
    fn new(wakes: bool, afterwards: Afterwards) -> Gone {
        Gone { host: Blocking::new(2).unwrap(), gone: Arc::default(), wakes, afterwards }
    }

    fn forget(good: &dyn Trampoline, yielded: Yield<'_>, cx: &mut Context<'_>) -> Answer {
        match yielded {
            Yield::Job(_) | Yield::Task(_) => {
                mem::forget(yielded);
                Poll::Ready(Ok(()))
            }
            other => good.bounce(other, cx),
        }
    }

    fn refuse(_: &dyn Trampoline, _: Yield<'_>, _: &mut Context<'_>) -> Answer {
        Poll::Ready(Err(io::Error::other("the host is gone")))
    }
}

impl Host for Gone {
    fn run<F: Future>(&self, future: F) -> F::Output {
        self.host.run(async {
            let (good, gone) = (trampoline().unwrap(), self.gone.clone());
            let (wakes, afterwards) = (self.wakes, self.afterwards);
            Coroutine::new(Arc::new(Leaves { good, gone, wakes, afterwards }), future).await
        })
    }
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
    }
}

struct Leaves {
    good: Arc<dyn Trampoline>,
    gone: Arc<AtomicBool>,
    wakes: bool,
    afterwards: Afterwards,
}

impl Trampoline for Leaves {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Answer {
        /// Wakes while the host is there.
        struct WhileThere(Waker, Arc<AtomicBool>);
        impl Wake for WhileThere {
            fn wake(self: Arc<WhileThere>) {
                if !self.1.load(Ordering::SeqCst) {
                    self.0.wake_by_ref();
                }
            }
        }
        if self.gone.load(Ordering::SeqCst) {
            return (self.afterwards)(&*self.good, yielded, cx);
        }
        if self.wakes {
            return self.good.bounce(yielded, cx);
        }
        let waker = Arc::new(WhileThere(cx.waker().clone(), self.gone.clone())).into();
        self.good.bounce(yielded, &mut Context::from_waker(&waker))
    }
}

/// A timer that wakes whoever polled it first.
struct FirstWaker(Instant, bool);

impl FirstWaker {
    fn new(deadline: Instant) -> FirstWaker {
        FirstWaker(deadline, false)
    }
}

impl Future for FirstWaker {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let left = self.0.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Poll::Ready(());
        }
        if !mem::replace(&mut self.1, true) {
            let waker = cx.waker().clone();
            thread::spawn(move || {
                thread::sleep(left);
                waker.wake();
            });
        }
        Poll::Pending
    }
}
