//! `Metrics`: what is counted of requests, of waits and of the process.
//!
//! Everything is an atomic that is there from the start: nothing is looked up, locked or allocated
//! while a request is counted, and what a client sends can't add a series. `docs/operations.md` has
//! the table of all names.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gateway_core::Fault;
use http::{Method, StatusCode};

use crate::observed::{End, Exchange};
use crate::page::Page;
use crate::process;

/// The methods that are counted by name. All others are `other`.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

/// The status codes that are counted by number. All others are `other`.
const CODES: std::ops::Range<u16> = 100..600;

/// The upper bounds of the histograms' buckets, in microseconds; beyond the last is one more.
const BOUNDS: [u64; 16] = [
    100, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// What adds families of its own to a page.
type Collector = Box<dyn Fn(&mut Page) + Send + Sync>;

/// What is counted. A clone counts into the same numbers.
///
/// [`Observed`](crate::Observed) counts requests, and [`Counted`](crate::Counted) waits;
/// [`Metrics::collect`] adds what others count.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Counts>);

#[derive(Default)]
struct Counts {
    /// By method, then by code: see [`series`].
    requests: Series,
    in_flight: AtomicU64,
    to_head: Histogram,
    to_end: Histogram,
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    panics: AtomicU64,
    errors: [AtomicU64; 3],
    yields: [[AtomicU64; 3]; 4],
    started: [AtomicU64; 2],
    finished: [AtomicU64; 2],
    collectors: Mutex<Vec<Collector>>,
}

impl Metrics {
    /// Everything at zero.
    #[must_use]
    pub fn new() -> Metrics {
        Metrics::default()
    }

    /// Adds families to each page from now on. `collector` is called at each scrape, and must not
    /// block.
    pub fn collect(&self, collector: impl Fn(&mut Page) + Send + Sync + 'static) {
        let mut collectors = self.0.collectors.lock().unwrap_or_else(PoisonError::into_inner);
        collectors.push(Box::new(collector));
    }

    /// The numbers as they are now, in Prometheus' text format.
    #[must_use]
    pub fn page(&self) -> String {
        let mut page = Page::default();
        self.requests(&mut page);
        self.waits(&mut page);
        process::write(&mut page);
        let collectors = self.0.collectors.lock().unwrap_or_else(PoisonError::into_inner);
        for collector in &*collectors {
            collector(&mut page);
        }
        page.into_text()
    }

    fn requests(&self, page: &mut Page) {
        let counts = &*self.0;
        let name = "gateway_requests_total";
        page.family(name, "counter", "Requests that are over, by method and status code.");
        for (method, code, count) in counts.requests.iter() {
            page.sample(name, &[("method", method), ("code", &code)], count);
        }
        page.gauge(
            "gateway_requests_in_flight",
            "Requests that have begun, and whose response has not ended.",
            [([], read(&counts.in_flight))],
        );
        counts.to_head.write(
            page,
            "gateway_response_head_seconds",
            "Time from a request's head to its response's head.",
        );
        counts.to_end.write(
            page,
            "gateway_response_end_seconds",
            "Time from a request's head to the end of its response's body.",
        );
        page.counter(
            "gateway_request_body_bytes_total",
            "Bytes of requests' bodies that the application has read.",
            [([], read(&counts.request_bytes))],
        );
        page.counter(
            "gateway_response_body_bytes_total",
            "Bytes of responses' bodies that were handed to connections.",
            [([], read(&counts.response_bytes))],
        );
        page.counter(
            "gateway_responses_cut_off_total",
            "Requests whose response did not come to its end: its body failed, or was dropped.",
            [
                ([("end", End::Failed.name())], read(&counts.failed)),
                ([("end", End::Dropped.name())], read(&counts.dropped)),
            ],
        );
        page.counter(
            "gateway_errors_total",
            "Errors of the application and of bodies, by whose fault they are.",
            [Fault::Application, Fault::Client, Fault::Host]
                .map(|fault| ([("fault", named(fault))], read(&counts.errors[fault as usize]))),
        );
        page.counter(
            "gateway_panics_total",
            "Panics of the application and of bodies.",
            [([], read(&counts.panics))],
        );
    }

    fn waits(&self, page: &mut Page) {
        let counts = &*self.0;
        let yields = counts.yields.iter().zip(Kind::ALL).flat_map(|(counts, kind)| {
            let labels = move |answer: &'static str| [("kind", kind.name()), ("answer", answer)];
            counts.iter().zip(ANSWERS).map(move |(count, answer)| (labels(answer), read(count)))
        });
        page.counter(
            "gateway_yields_total",
            "Yields by kind, and by the answer: ready at once, pending, or failed.",
            yields,
        );
        let work = [Kind::Job, Kind::Task];
        page.counter(
            "gateway_work_started_total",
            "Jobs and tasks that were handed to the host.",
            work.map(|kind| ([("kind", kind.name())], read(&counts.started[kind.of_work()]))),
        );
        page.counter(
            "gateway_work_finished_total",
            "Jobs and tasks that are over, whichever way.",
            work.map(|kind| ([("kind", kind.name())], read(&counts.finished[kind.of_work()]))),
        );
    }

    pub(crate) fn begin(&self) {
        add(&self.0.in_flight, 1);
    }

    pub(crate) fn end(&self, exchange: &Exchange, total: Duration) {
        let counts = &*self.0;
        let code = exchange.head.map(|(status, _)| status);
        add(counts.requests.of(&exchange.method, code), 1);
        if let Some((_, after)) = exchange.head {
            counts.to_head.observe(after);
        }
        counts.to_end.observe(total);
        add(&counts.request_bytes, exchange.received());
        add(&counts.response_bytes, exchange.sent);
        match exchange.end {
            End::Complete => {}
            End::Failed => add(&counts.failed, 1),
            End::Dropped => add(&counts.dropped, 1),
        }
        counts.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, fault: Fault) {
        add(&self.0.errors[fault as usize], 1);
    }

    pub(crate) fn panicked(&self) {
        add(&self.0.panics, 1);
    }

    pub(crate) fn yielded(&self, kind: Kind, answer: Answer) {
        add(&self.0.yields[kind as usize][answer as usize], 1);
    }

    /// Counts a job or a task: it is over when what this returns is dropped.
    pub(crate) fn started(&self, kind: Kind) -> Work {
        add(&self.0.started[kind.of_work()], 1);
        Work(self.clone(), kind)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("in_flight", &self.0.in_flight).finish_non_exhaustive()
    }
}

fn named(fault: Fault) -> &'static str {
    match fault {
        Fault::Application => "application",
        Fault::Client => "client",
        Fault::Host => "host",
    }
}

/// The kinds of yields.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Timer,
    Io,
    Job,
    Task,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Timer, Kind::Io, Kind::Job, Kind::Task];

    fn name(self) -> &'static str {
        match self {
            Kind::Timer => "timer",
            Kind::Io => "io",
            Kind::Job => "job",
            Kind::Task => "task",
        }
    }

    /// Where jobs and tasks are counted.
    fn of_work(self) -> usize {
        usize::from(matches!(self, Kind::Task))
    }
}

/// How a yield was answered.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    Ready,
    Pending,
    Failed,
}

/// The names of [`Answer`]s, in their order.
const ANSWERS: [&str; 3] = ["ready", "pending", "failed"];

/// A job or a task that is not over.
pub(crate) struct Work(Metrics, Kind);

impl Drop for Work {
    fn drop(&mut self) {
        add(&self.0.0.finished[self.1.of_work()], 1);
    }
}

/// One number for each method and code, and one more of each for all others.
struct Series(Box<[AtomicU64]>);

/// How many numbers one method has: no head at all, each code, and all others.
const PER_METHOD: usize = 1 + CODES.end as usize - CODES.start as usize + 1;

impl Default for Series {
    fn default() -> Series {
        Series((0..PER_METHOD * (METHODS.len() + 1)).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Series {
    fn of(&self, method: &Method, status: Option<StatusCode>) -> &AtomicU64 {
        let row = METHODS.iter().position(|known| known == method).unwrap_or(METHODS.len());
        let column = match status.map(|status| status.as_u16()) {
            None => 0,
            Some(code) if CODES.contains(&code) => usize::from(code - CODES.start) + 1,
            Some(_) => PER_METHOD - 1,
        };
        &self.0[row * PER_METHOD + column]
    }

    /// All that were ever counted: the method, the code, how many.
    fn iter(&self) -> impl Iterator<Item = (&str, String, u64)> {
        let counted = self.0.iter().enumerate().filter(|(_, count)| read(count) > 0);
        counted.map(|(place, count)| {
            let (row, column) = (place / PER_METHOD, place % PER_METHOD);
            let code = match column {
                0 => "none".to_owned(),
                _ if column == PER_METHOD - 1 => "other".to_owned(),
                _ => (usize::from(CODES.start) + column - 1).to_string(),
            };
            (METHODS.get(row).map_or("other", Method::as_str), code, read(count))
        })
    }
}

/// How often something took how long.
#[derive(Default)]
struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Histogram {
    fn observe(&self, took: Duration) {
        let bucket = BOUNDS.partition_point(|bound| Duration::from_micros(*bound) < took);
        add(&self.buckets[bucket], 1);
        add(&self.nanoseconds, took.as_nanos() as u64);
    }

    fn write(&self, page: &mut Page, name: &str, help: &str) {
        page.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let mut count = 0;
        let bounds = BOUNDS.iter().map(|bound| (*bound as f64 / 1e6).to_string());
        for (bound, within) in bounds.chain(["+Inf".to_owned()]).zip(&self.buckets) {
            count += read(within);
            page.sample(&bucket, &[("le", &bound)], count);
        }
        page.sample(&format!("{name}_sum"), &[], read(&self.nanoseconds) as f64 / 1e9);
        page.sample(&format!("{name}_count"), &[], count);
    }
}

// Each number stands for itself: nothing is ordered by them.

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}
