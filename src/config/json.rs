//! Strict JSON with whole numbers of any size, and JSON files with numbers as Psych reads them.

use serde_json::Value;

use super::scalar;

/// Why a text cannot be read: JSON's or YAML's reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {text}")]
pub struct SyntaxError {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong there.
    pub text: String,
}

/// Reads strict JSON.
///
/// # Errors
/// The first place that is not JSON.
pub fn parse_json(text: &str) -> Result<Value, SyntaxError> {
    parse_with(text, |number| is_big_integer(number).then(|| Value::from(number)))
}

/// Reads strict JSON with numbers as YAML has them: to the original nerve, which reads every file as YAML, `1e+20` and
/// `1e3` are text, and labels are registered that way.
///
/// # Errors
/// The first place that is not JSON.
pub fn parse_json_as_psych(text: &str) -> Result<Value, SyntaxError> {
    parse_with(text, |number| {
        let psych = scalar::resolve(number);
        let same = serde_json::from_str::<Value>(number).is_ok_and(|json| json == psych);
        (!same).then_some(psych)
    })
}

/// `reread` gives the value of a number that JSON would read otherwise.
fn parse_with(text: &str, reread: impl Fn(&str) -> Option<Value>) -> Result<Value, SyntaxError> {
    let parsed = serde_json::from_str::<Value>(text).map_err(|e| SyntaxError {
        line: e.line(),
        column: e.column(),
        text: json_text(&e),
    })?;
    match replace_numbers(text, reread) {
        Some(replaced) => Ok(serde_json::from_str(&replaced).unwrap_or(parsed)),
        None => Ok(parsed),
    }
}

/// serde_json repeats the position at the end of its text.
fn json_text(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((what, _)) => what.to_owned(),
        None => text,
    }
}

/// Writes other values where `reread` has any. `None`: nowhere.
fn replace_numbers(text: &str, reread: impl Fn(&str) -> Option<Value>) -> Option<String> {
    let mut out = String::new();
    let mut copied = 0;
    let mut in_string = false;
    let mut escaped = false;
    let mut start = None;
    for (at, byte) in text.bytes().chain([b' ']).enumerate() {
        if in_string {
            (in_string, escaped) = match byte {
                _ if escaped => (true, false),
                b'\\' => (true, true),
                b'"' => (false, false),
                _ => (true, false),
            };
            continue;
        }
        let numeric = byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
        match (start, numeric) {
            // A number starts with a digit or a minus: the `e` of `true` does not start one.
            (None, _) if byte.is_ascii_digit() || byte == b'-' => start = Some(at),
            (Some(from), false) => {
                start = None;
                let token = text.get(from..at)?;
                if let Some(value) = reread(token) {
                    out.push_str(text.get(copied..from)?);
                    out.push_str(&value.to_string());
                    copied = at;
                }
            }
            (Some(_), true) | (None, _) => {}
        }
        in_string = byte == b'"';
    }
    (copied > 0).then(|| text.get(copied..).map(|rest| out + rest))?
}

fn is_big_integer(token: &str) -> bool {
    let digits = token.strip_prefix('-').unwrap_or(token);
    digits.bytes().all(|b| b.is_ascii_digit())
        && token.parse::<i64>().is_err()
        && token.parse::<u64>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn integers_beyond_64_bits_keep_their_digits() {
        let seed = "106120057668456273355833563333802393184";
        let expected =
            json!({"s": seed, "b": [true, -5, u64::MAX], "x": "1 \\\" 99999999999999999999"});
        let json = format!(
            r#"{{"s": {seed}, "b": [true,-5,18446744073709551615], "x": "1 \\\" 99999999999999999999"}}"#
        );
        assert_eq!(parse_json(&json).unwrap(), expected);
        assert_eq!(parse_json(seed).unwrap(), json!(seed));
    }

    #[test]
    fn numbers_can_be_psychs() {
        let json = r#"{"a": [1e+20,1e3, 1.5e-07, -0, 2.50, 12, 99999999999999999999], "1e3": "1e3 \ud83d\ude00"}"#;
        let expected = json!({"a": ["1e+20", "1e3", 1.5e-7, 0, 2.5, 12, "99999999999999999999"],
            "1e3": "1e3 😀"});
        assert_eq!(parse_json_as_psych(json).unwrap(), expected);
        assert_eq!(parse_json("1e3").unwrap(), json!(1000.0));
    }

    proptest! {
        #[test]
        fn json_values_survive(ints in proptest::collection::vec(any::<i64>(), 0..5), text in ".{0,20}") {
            let value = json!({"ints": ints, "text": text});
            prop_assert_eq!(parse_json(&value.to_string()).unwrap(), value);
        }
    }
}
