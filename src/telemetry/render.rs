//! The Prometheus text format (version 0.0.4): families with their header once, samples grouped below it.
//!
//! Nothing here knows what is measured: the admin server walks services and backends and writes one family after the
//! other. A big host has a hundred thousand samples: writing one allocates nothing. A family without samples leaves no
//! trace. What is written can be taken out between two samples, so that nobody needs the memory for all of it.

use std::fmt::{Display, Write as _};

use super::cells::{Histogram, LATENCY_BOUNDS_US};
use super::names::{Kind, Metric};

/// `Content-Type` of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Labels of a sample, escaped and ready to be written: `service="search",backend="a:1"`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(String);

impl Labels {
    /// No labels.
    pub fn none() -> Self {
        Self::default()
    }

    /// These labels and one more. `name` is one of the constants in `names`; `value` may be any text.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut more = Self(String::with_capacity(self.0.len() + name.len() + value.len() + 4));
        more.set(self, name, value);
        more
    }

    /// Becomes [`with`](Self::with) of `base`, in the memory that these labels have.
    pub fn set(&mut self, base: &Self, name: &str, value: &str) {
        self.0.clear();
        self.0.push_str(&base.0);
        push_label(&mut self.0, name, value);
    }

    /// The text between the braces.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn push_label(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() {
        text.push(',');
    }
    text.push_str(name);
    text.push_str("=\"");
    push_escaped(text, value);
    text.push('"');
}

/// The format's three escapes; every other character, control characters included, stands for itself.
fn push_escaped(text: &mut String, value: &str) {
    if !value.contains(['\\', '"', '\n']) {
        text.push_str(value);
        return;
    }
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            plain => text.push(plain),
        }
    }
}

/// A text exposition in the making.
#[derive(Debug, Default)]
pub struct Exposition {
    out: String,
    /// The family whose header was written last.
    open: Option<&'static str>,
}

impl Exposition {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a family, or goes on with it if it is the last one that was written to. A family that another one has
    /// followed must not be begun again: the format forbids a second header.
    pub fn family(&mut self, metric: &'static Metric) -> Family<'_> {
        Family { out: &mut self.out, open: &mut self.open, metric }
    }

    /// Appends text that is in the format already; its families must be others than those written here.
    pub fn append(&mut self, exposition: &str) {
        self.out.push_str(exposition);
    }

    /// Bytes written since the last [`take`](Self::take).
    pub fn written(&self) -> usize {
        self.out.len()
    }

    /// Takes what is written; the text goes on behind it, with memory for `next` bytes.
    pub fn take(&mut self, next: usize) -> String {
        std::mem::replace(&mut self.out, String::with_capacity(next))
    }

    /// The whole text, or what is left of it.
    pub fn finish(self) -> String {
        self.out
    }
}

/// One family: its header is written with its first sample.
#[derive(Debug)]
pub struct Family<'a> {
    out: &'a mut String,
    open: &'a mut Option<&'static str>,
    metric: &'static Metric,
}

impl Family<'_> {
    /// A sample of a counter or gauge.
    pub fn sample(&mut self, labels: &Labels, value: impl Display) {
        self.begin();
        self.line("", labels, None, value);
    }

    /// A sample with one more label than `labels`, for families that split by code or cause.
    pub fn split(&mut self, labels: &Labels, name: &str, part: &str, value: impl Display) {
        self.begin();
        self.line("", labels, Some((name, part)), value);
    }

    /// The sum of a histogram over all workers: cumulative buckets up to `+Inf`, sum and count.
    pub fn histogram<'h>(
        &mut self,
        labels: &Labels,
        workers: impl Iterator<Item = &'h Histogram> + Clone,
    ) {
        self.begin();
        let mut seen: u64 = 0;
        let open = LATENCY_BOUNDS_US.len();
        for (index, bound) in LATENCY_BOUNDS_US.iter().enumerate() {
            seen += bucket(workers.clone(), index);
            self.line("_bucket", labels, Some(("le", &seconds(*bound))), seen);
        }
        seen += bucket(workers.clone(), open);
        self.line("_bucket", labels, Some(("le", "+Inf")), seen);
        let sum = workers.fold(0_u64, |sum, h| sum.wrapping_add(h.sum_us.get()));
        self.line("_sum", labels, None, seconds(sum));
        self.line("_count", labels, None, seen);
    }

    fn begin(&mut self) {
        if *self.open == Some(self.metric.name) {
            return;
        }
        *self.open = Some(self.metric.name);
        let Metric { name, kind, help, .. } = self.metric;
        put(self.out, format_args!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.word()));
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: &Labels,
        extra: Option<(&str, &str)>,
        value: impl Display,
    ) {
        debug_assert!(suffix.is_empty() || self.metric.kind == Kind::Histogram);
        self.out.push_str(self.metric.name);
        self.out.push_str(suffix);
        if !labels.0.is_empty() || extra.is_some() {
            self.out.push('{');
            self.out.push_str(&labels.0);
            if let Some((name, value)) = extra {
                if !labels.0.is_empty() {
                    self.out.push(',');
                }
                self.out.push_str(name);
                self.out.push_str("=\"");
                push_escaped(self.out, value);
                self.out.push('"');
            }
            self.out.push('}');
        }
        put(self.out, format_args!(" {value}\n"));
    }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    #[expect(clippy::expect_used, reason = "writing into a String cannot fail")]
    out.write_fmt(text).expect("a String takes any text");
}

fn bucket<'h>(workers: impl Iterator<Item = &'h Histogram>, index: usize) -> u64 {
    workers.filter_map(|h| h.buckets.get(index)).map(super::cells::Cell::get).sum()
}

/// Microseconds as seconds, exactly: `2500` is `0.0025`.
fn seconds(us: u64) -> String {
    let (whole, rest) = (us / 1_000_000, us % 1_000_000);
    if rest == 0 {
        return whole.to_string();
    }
    let text = format!("{whole}.{rest:06}");
    text.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests;
