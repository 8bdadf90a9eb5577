//! What is measured, and how little it costs.
//!
//! Two kinds of numbers. *Hot* ones (per request) live in [`cells`]: plain per-worker counters, written by one thread,
//! summed at scrape; they vanish with their backend. *Cold* ones (sessions, membership changes, reloads) go through the
//! `metrics` facade and its Prometheus exporter. Every name, unit and help text is in [`names`]; labels are bounded:
//! service, backend, reason.

pub mod access;
pub mod cells;
pub mod cold;
pub mod log;
pub mod names;
pub mod render;
pub mod statsd;
