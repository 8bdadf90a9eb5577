//! Small texts: durations as people write them, values as complaints show them, words that were meant.

use std::time::Duration;

use serde_json::Value;

/// What a bare number means where a duration is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareNumber {
    /// Milliseconds, as in haproxy lines.
    Milliseconds,
    /// Seconds, as everywhere in Synapse.
    Seconds,
}

/// Longest duration that is taken, 10 years: far above anything meant, and no deadline overflows.
pub const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The duration that a value says, whatever its length: `"250ms"`, `"5s"` (units us ms s m h d), or a bare number. Who
/// takes it compares it with [`MAX_DURATION`].
pub fn duration_of(value: &Value, bare: BareNumber) -> Option<Duration> {
    match value {
        Value::Number(number) => number.as_f64().and_then(|n| bare_duration(n, bare)),
        Value::String(text) => parse_duration(text, bare),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A number with a unit (us ms s m h d), or a bare one.
pub fn parse_duration(text: &str, bare: BareNumber) -> Option<Duration> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(unit_at)?;
    let number: f64 = number.parse().ok()?;
    let seconds = match unit.trim() {
        "" => return bare_duration(number, bare),
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86_400.0,
        _ => return None,
    };
    of_seconds(seconds)
}

/// `None` below zero and for what is no number; what no duration can hold is the longest there is.
fn of_seconds(seconds: f64) -> Option<Duration> {
    (seconds >= 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// A number without a unit.
pub fn bare_duration(number: f64, bare: BareNumber) -> Option<Duration> {
    let seconds = match bare {
        BareNumber::Milliseconds => number / 1e3,
        BareNumber::Seconds => number,
    };
    of_seconds(seconds)
}

/// A value as it is shown in complaints: JSON, cut after 60 characters.
pub fn show(value: &Value) -> String {
    const SHOWN: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= SHOWN {
        return text;
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}

/// The text about a key nobody knows.
pub fn unknown_key(key: &str, known: &[&str]) -> String {
    match nearest(key, known) {
        Some(near) => format!("unknown key, ignored; did you mean {near:?}?"),
        None => "unknown key, ignored".to_owned(),
    }
}

/// The known word nearest to `word`, when it is near enough to be meant.
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // Cutting first bounds the quadratic comparison: keys come from outside.
    let word: String = word.chars().take(64).collect::<String>().to_lowercase();
    let limit = (word.chars().count() / 3).max(2);
    known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(&word, k), *k))
        .filter(|(distance, _)| *distance <= limit && *distance < word.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_needs_nearness() {
        assert_eq!(nearest("Serivces", &["services", "statsd"]), Some("services"));
        assert_eq!(nearest("x", &["y"]), None);
        assert_eq!(nearest(&"a".repeat(100_000), &["services"]), None);
    }
}
