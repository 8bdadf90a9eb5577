//! The native `listen` of a service's `proxy` section: addresses beside those of its `haproxy` section, with what is said
//! about their sockets.
//!
//! Each is turned into the words of a `bind` line, so that there is one judgement of what they mean.

use super::reader::{Cursor, Section};
use super::report::{Place, Report};
use super::text::BareNumber;

/// Keys of an item that is a map.
pub(super) const KEYS: [&str; 10] = [
    "address",
    "accept_proxy",
    "max_connections",
    "backlog",
    "interface",
    "user_timeout",
    "max_segment",
    "mode",
    "user",
    "group",
];

/// Reads the list at `cursor`: an address, or a map. Gives words as of a `bind` line.
pub(super) fn read(cursor: &Cursor<'_>, report: &mut Report) -> Vec<(Vec<String>, Place)> {
    let words = |item: Cursor<'_>, report: &mut Report| {
        let words = match item.value().is_object() {
            true => of_map(&item.section(&KEYS, report)?, report)?,
            false => vec![item.word(report)?],
        };
        Some((words, item.place().clone()))
    };
    cursor.items().into_iter().filter_map(|item| words(item, report)).collect()
}

fn of_map(item: &Section<'_>, report: &mut Report) -> Option<Vec<String>> {
    let mut words = vec![item.required("address", report)?.word(report)?];
    if item.flag("accept_proxy", false, report) {
        words.push("accept-proxy".to_owned());
    }
    for (key, word) in [
        ("max_connections", "maxconn"),
        ("backlog", "backlog"),
        ("interface", "interface"),
        ("max_segment", "mss"),
        ("user", "user"),
        ("group", "group"),
    ] {
        if let Some(value) = item.text(key, report) {
            words.extend([word.to_owned(), value]);
        }
    }
    if let Some(time) = item.get("user_timeout") {
        let time = time.duration(BareNumber::Milliseconds, report)?;
        words.extend(["tcp-ut".to_owned(), format!("{}ms", time.as_millis())]);
    }
    if let Some(mode) = item.get("mode") {
        // YAML makes another number of 0660.
        let Some(text) = mode.value().as_str() else {
            report.complain(mode.place(), "is a number; write it in quotes, as \"660\"");
            return None;
        };
        words.extend(["mode".to_owned(), text.to_owned()]);
    }
    Some(words)
}
