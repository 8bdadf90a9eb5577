//! `statsd`: where events go, and which share of them.

use super::reader::Cursor;
use super::report::Report;
use super::text::show;
use crate::telemetry::statsd::StatsdSettings;

/// Keys in the Synapse file.
pub const KEYS: [&str; 3] = ["host", "port", "sample_rate"];

/// Keys in the Nerve file: its original knows no sampling.
pub const NERVE_KEYS: [&str; 2] = ["host", "port"];

/// `statsd.host`: the agent runs on every host (both originals).
const HOST: &str = "localhost";

/// `statsd.port`: dogstatsd's (both originals).
const PORT: u16 = 8125;

/// Reads the section with these `keys`.
pub fn read(
    cursor: &Cursor<'_>,
    keys: &'static [&'static str],
    report: &mut Report,
) -> StatsdSettings {
    let section = cursor.section(keys, report);
    let section = section.as_ref();
    let host = section.and_then(|s| s.get("host")).and_then(|c| c.word(report));
    let port = section.and_then(|s| s.get("port")).and_then(|c| c.port(report));
    let rates =
        section.filter(|_| keys.contains(&"sample_rate")).and_then(|s| s.get("sample_rate"));
    StatsdSettings {
        host: host.unwrap_or_else(|| HOST.to_owned()),
        port: port.unwrap_or(PORT),
        sample_rates: rates.map(|rates| sample_rates(&rates, report)).unwrap_or_default(),
    }
}

/// Names are not judged: files name metrics of the original that are not sent here.
fn sample_rates(cursor: &Cursor<'_>, report: &mut Report) -> Vec<(String, f64)> {
    let mut rates = Vec::new();
    for (name, cursor) in cursor.entries(report) {
        match cursor.value().as_f64().filter(|rate| (0.0..=1.0).contains(rate)) {
            Some(rate) => rates.push((name.to_owned(), rate)),
            None => {
                let text = format!("{} is not a share from 0 to 1", show(cursor.value()));
                report.complain(cursor.place(), text);
            }
        }
    }
    rates
}

#[cfg(test)]
mod tests {
    use crate::config::synapse::tests::{complaints, good};
    use crate::telemetry::statsd::StatsdSettings;

    fn statsd(text: &str) -> Option<StatsdSettings> {
        let service = "services: {a: {discovery: {method: base}, haproxy: {port: 3301}}}\n";
        good(&format!("{service}{text}")).config.process.statsd
    }

    #[test]
    fn nothing_is_sent_unless_it_is_asked_for() {
        assert_eq!(statsd(""), None);
        let defaults =
            StatsdSettings { host: "localhost".into(), port: 8125, sample_rates: Vec::new() };
        assert_eq!(statsd("statsd: {}"), Some(defaults));
    }

    #[test]
    fn the_originals_keys_are_read() {
        let read = statsd(
            "statsd: {host: d.ex.com, port: '8126', sample_rate: {synapse.start: 1, a.b: 0.1}}",
        );
        let rates = vec![("synapse.start".to_owned(), 1.0), ("a.b".to_owned(), 0.1)];
        let expected = StatsdSettings { host: "d.ex.com".into(), port: 8126, sample_rates: rates };
        assert_eq!(read, Some(expected));
    }

    #[test]
    fn a_rate_that_is_no_share_is_complained_about() {
        let found = complaints(
            "services: {a: {discovery: {method: base}, haproxy: {port: 3301}}}\n\
             statsd: {port: 0, sample_rate: {a: 2, b: '0.1', c: -1}}\n",
        );
        for part in [
            "statsd.port: 0",
            "statsd.sample_rate.a: 2 is not a share from 0 to 1",
            "statsd.sample_rate.b: \"0.1\" is not a share",
            "statsd.sample_rate.c: -1 is not a share",
        ] {
            assert!(found.iter().any(|c| c.contains(part)), "{part}: {found:#?}");
        }
    }
}
