//! Walks a document: typed values out, complaints and unknown keys into the report.
//!
//! A [`Cursor`] is a value that knows its [`Place`]; a [`Section`] is a map of which all legal keys are known. Reading
//! never stops at a mistake: a value of the wrong type is a complaint with its key path and the value itself, and the
//! reader goes on as if the key were missing. Where the original crashes on a scalar in place of a list of lines, the
//! scalar is taken (its own README writes it that way).

mod duration;

use serde_json::{Map, Value};

use super::document::Origins;
use super::report::{Line, Place, Report};
use super::text::{show, unknown_key};

/// One value of the document and where it stands.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    value: &'a Value,
    place: Place,
    origins: Option<&'a Origins>,
}

/// A map whose keys are all known; created by [`Cursor::section`].
#[derive(Clone, Debug)]
pub struct Section<'a> {
    map: &'a Map<String, Value>,
    place: Place,
    origins: Option<&'a Origins>,
    known: &'static [&'static str],
}

impl<'a> Cursor<'a> {
    /// A cursor at `value`, which stands at `place` unless `origins` says otherwise.
    pub fn new(value: &'a Value, place: Place, origins: Option<&'a Origins>) -> Self {
        Self { value, place, origins }
    }

    /// The raw value.
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// Where it stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// True for `null`.
    pub fn is_null(&self) -> bool {
        self.value.is_null()
    }

    fn child(&self, key: &str, value: &'a Value) -> Self {
        let origins = self.origins.and_then(|o| o.below(key));
        let place = origins.and_then(|o| o.place().cloned()).unwrap_or_else(|| self.place.key(key));
        Self::new(value, place, origins)
    }

    /// The value under `key` of a map; `None` when it is missing or null, or when no map stands here.
    pub fn peek(&self, key: &str) -> Option<Self> {
        let value = self.value.as_object()?.get(key)?;
        (!value.is_null()).then(|| self.child(key, value))
    }

    fn wrong(&self, expected: &str, report: &mut Report) {
        let text = format!("{} is not {expected}", show(self.value));
        report.complain(&self.place, text);
    }

    /// The map that stands here; warns about every key that is not in `known`.
    pub fn section(
        &self,
        known: &'static [&'static str],
        report: &mut Report,
    ) -> Option<Section<'a>> {
        let Value::Object(map) = self.value else {
            self.wrong("a map", report);
            return None;
        };
        for (key, value) in map {
            if !known.contains(&key.as_str()) {
                let place = self.child(key, value).place;
                report.warn(&place, unknown_key(key, known));
            }
        }
        Some(Section { map, place: self.place.clone(), origins: self.origins, known })
    }

    /// The entries of a map with free keys, in file order.
    pub fn entries(&self, report: &mut Report) -> Vec<(&'a str, Self)> {
        let Value::Object(map) = self.value else {
            self.wrong("a map", report);
            return Vec::new();
        };
        map.iter().map(|(key, value)| (key.as_str(), self.child(key, value))).collect()
    }

    /// The items of a list; a single value counts as a list of one.
    pub fn items(&self) -> Vec<Self> {
        match self.value {
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(i, value)| Self::new(value, self.place.index(i), None))
                .collect(),
            Value::Null => Vec::new(),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                vec![self.clone()]
            }
        }
    }

    /// Text; numbers are taken as written.
    pub fn text(&self, report: &mut Report) -> Option<String> {
        match self.value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                self.wrong("a string", report);
                None
            }
        }
    }

    /// As [`text`](Self::text); what is wrong is told without the value, which may be a password.
    pub fn secret(&self, report: &mut Report) -> Option<String> {
        if matches!(self.value, Value::String(_) | Value::Number(_)) {
            return self.text(report);
        }
        report.complain(&self.place, "is not a string (the value is not shown)");
        None
    }

    /// Text that is not empty.
    pub fn word(&self, report: &mut Report) -> Option<String> {
        let text = self.text(report)?;
        if text.trim().is_empty() {
            report.complain(&self.place, "must not be empty");
            return None;
        }
        Some(text)
    }

    /// One of `choices`; the complaint lists them.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)], report: &mut Report) -> Option<T> {
        let text = self.text(report)?;
        let found = choices.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            let text = format!("{} is not one of {}", show(self.value), names.join(", "));
            report.complain(&self.place, text);
        }
        found.map(|(_, value)| *value)
    }

    /// `true` or `false` (YAML's `yes` and `on` have become those).
    pub fn flag(&self, report: &mut Report) -> Option<bool> {
        let flag = self.value.as_bool();
        if flag.is_none() {
            self.wrong("true or false", report);
        }
        flag
    }

    /// A whole number in `range`, or a string of its digits. `what` completes "… is not".
    pub fn integer(
        &self,
        range: std::ops::RangeInclusive<u64>,
        what: &str,
        report: &mut Report,
    ) -> Option<u64> {
        let number = match self.value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => digits(text).and_then(|d| d.parse().ok()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        let fits = number.filter(|n| range.contains(n));
        if fits.is_none() {
            let (low, high) = (range.start(), range.end());
            let expected = if *high == u64::MAX {
                format!("{what} (a whole number from {low})")
            } else {
                format!("{what} ({low} to {high})")
            };
            self.wrong(&expected, report);
        }
        fits
    }

    /// A TCP port, as number or string of digits.
    pub fn port(&self, report: &mut Report) -> Option<u16> {
        let port = self.integer(1..=u64::from(u16::MAX), "a port", report)?;
        u16::try_from(port).ok()
    }

    /// A number from 0.
    pub fn non_negative(&self, report: &mut Report) -> Option<f64> {
        let number = self.value.as_f64().filter(|n| *n >= 0.0 && n.is_finite());
        if number.is_none() {
            self.wrong("a number from 0", report);
        }
        number
    }

    /// haproxy lines: a list of strings, or one string. A string of several lines counts as several.
    pub fn lines(&self, report: &mut Report) -> Vec<Line> {
        let mut lines = Vec::new();
        if self.value.is_object() {
            self.wrong("a list of lines", report);
            return lines;
        }
        for item in self.items() {
            let Some(text) = item.text(report) else {
                continue;
            };
            let place = &item.place;
            lines.extend(
                text.lines().map(|line| Line { text: line.to_owned(), place: place.clone() }),
            );
        }
        lines
    }

    /// One haproxy line, or part of one.
    pub fn line(&self, report: &mut Report) -> Option<Line> {
        let text = self.text(report)?;
        if text.contains('\n') {
            self.wrong("a single line", report);
            return None;
        }
        Some(Line { text, place: self.place.clone() })
    }

    /// Text and its place.
    pub fn placed_text(&self, report: &mut Report) -> Option<(String, Place)> {
        Some((self.text(report)?, self.place.clone()))
    }
}

impl<'a> Section<'a> {
    /// Where the map stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The value of `key`; `None` when the key is missing.
    pub fn raw(&self, key: &str) -> Option<Cursor<'a>> {
        debug_assert!(self.known.contains(&key), "{key} is not a known key");
        let value = self.map.get(key)?;
        let parent = Cursor { value, place: self.place.clone(), origins: self.origins };
        Some(parent.child(key, value))
    }

    /// The value of `key`; `None` when it is missing or null.
    pub fn get(&self, key: &str) -> Option<Cursor<'a>> {
        self.raw(key).filter(|cursor| !cursor.is_null())
    }

    /// The value of `key`; complains when it is missing or null.
    pub fn required(&self, key: &str, report: &mut Report) -> Option<Cursor<'a>> {
        let value = self.get(key);
        if value.is_none() {
            report.complain(&self.place.key(key), "is required");
        }
        value
    }

    /// Text under `key`.
    pub fn text(&self, key: &str, report: &mut Report) -> Option<String> {
        self.get(key)?.text(report)
    }

    /// A flag under `key`, `default` when missing or wrong.
    pub fn flag(&self, key: &str, default: bool, report: &mut Report) -> bool {
        self.get(key).and_then(|c| c.flag(report)).unwrap_or(default)
    }

    /// haproxy lines under `key`.
    pub fn lines(&self, key: &str, report: &mut Report) -> Vec<Line> {
        self.get(key).map_or_else(Vec::new, |c| c.lines(report))
    }
}

fn digits(text: &str) -> Option<&str> {
    let text = text.trim();
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then_some(text)
}

#[cfg(test)]
mod tests;
