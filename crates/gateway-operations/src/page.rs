//! `Page`: what a scrape reads, in Prometheus' text format.

use std::fmt::{Display, Write};

/// The type of a page, for the field `content-type`.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a scrape reads, in
/// [Prometheus' text format](https://prometheus.io/docs/instrumenting/exposition_formats/), 0.0.4.
///
/// ```
/// use gateway_operations::Metrics;
///
/// let metrics = Metrics::new();
/// metrics.collect(|page| {
///     page.gauge("pool_connections", "Connections of the pool.", [([("state", "idle")], 3)]);
///     page.counter("pool_refused_total", "Requests without a connection.", [([], 0)]);
/// });
/// let text = metrics.page();
/// assert!(text.contains("# TYPE pool_connections gauge\npool_connections{state=\"idle\"} 3\n"));
/// assert!(text.contains("\npool_refused_total 0\n"));
/// ```
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// A family of values that only ever grow, each with its labels. Its name ends in `_total`.
    pub fn counter<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = ([(&'static str, &'static str); N], impl Display)>,
    ) {
        self.family(name, "counter", help);
        for (labels, value) in samples {
            self.sample(name, &labels, value);
        }
    }

    /// A family of values that grow and shrink, each with its labels.
    pub fn gauge<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = ([(&'static str, &'static str); N], impl Display)>,
    ) {
        self.family(name, "gauge", help);
        for (labels, value) in samples {
            self.sample(name, &labels, value);
        }
    }

    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// A value. Labels are literals of the program, and need no escape.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let pairs: Vec<_> =
            labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        match &pairs[..] {
            [] => self.line(format_args!("{name} {value}")),
            pairs => self.line(format_args!("{name}{{{}}} {value}", pairs.join(","))),
        }
    }

    fn line(&mut self, line: impl Display) {
        // To write into a string never fails.
        let _ = writeln!(self.text, "{line}");
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}
