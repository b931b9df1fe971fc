//! `Counted`: a trampoline around a trampoline, that counts what coroutines wait for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use gateway_core::{Job, Task, Trampoline, Yield};

use crate::metrics::{Answer, Kind, Metrics};

/// A trampoline whose yields are counted, by kind and by how they were answered.
///
/// A wait that is over at once is one answer, `ready`. One that is not has been `pending` once or
/// more often, before it is `ready`; where it is dropped meanwhile, it never is.
///
/// ```
/// use gateway_core::{Coroutine, Host, sleep, trampoline};
/// use gateway_operations::{Counted, Metrics};
/// use std::{sync::Arc, time::Duration};
///
/// let metrics = Metrics::new();
/// gateway_blocking::Blocking::new(1)?.run(async {
///     let counted = Counted::new(trampoline()?, &metrics);
///     Coroutine::new(Arc::new(counted), sleep(Duration::from_millis(1))).await;
///     std::io::Result::Ok(())
/// })?;
/// assert!(metrics.page().contains("gateway_yields_total{kind=\"timer\",answer=\"ready\"} 1\n"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Counted<T> {
    inner: T,
    metrics: Metrics,
}

impl<T: Trampoline> Counted<T> {
    /// Counts into `metrics` what `inner` answers.
    pub fn new(inner: T, metrics: &Metrics) -> Counted<T> {
        Counted { inner, metrics: metrics.clone() }
    }
}

impl<T: Trampoline> Trampoline for Counted<T> {
    fn bounce(&self, yielded: Yield<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (kind, yielded) = match yielded {
            Yield::Timer(timer) => (Kind::Timer, Yield::Timer(timer)),
            Yield::Io(io) => (Kind::Io, Yield::Io(io)),
            Yield::Job(job) => (Kind::Job, Yield::Job(self.job(job))),
            Yield::Task(task) => (Kind::Task, Yield::Task(self.task(task))),
        };
        let answer = self.inner.bounce(yielded, cx);
        let counted = match &answer {
            Poll::Ready(Ok(())) => Answer::Ready,
            Poll::Ready(Err(_)) => Answer::Failed,
            Poll::Pending => Answer::Pending,
        };
        self.metrics.yielded(kind, counted);
        answer
    }
}

impl<T> Counted<T> {
    fn job(&self, job: Job) -> Job {
        let work = self.metrics.started(Kind::Job);
        Job::new(move || {
            job.run();
            drop(work);
        })
    }

    fn task(&self, mut task: Task) -> Task {
        let work = self.metrics.started(Kind::Task);
        Task::new(std::future::poll_fn(move |cx| {
            let _ = &work;
            Pin::new(&mut task).poll(cx)
        }))
    }
}
