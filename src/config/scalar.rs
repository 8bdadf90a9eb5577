//! What a plain YAML scalar means: Psych's rules, which are YAML 1.1's with a few of its own.
//!
//! Written down as a table of tests, because every one of them changes what an existing file means: `on` is true, `y`
//! is text, `010` is eight, `08` is text, `12:30` is 45000, `1e3` is text, `1.5e+3` is a number. Dates, symbols,
//! infinities and NaN, which JSON values cannot hold, stay text.

use serde_json::{Number, Value};

/// The value of a plain (unquoted, untagged) scalar.
pub fn resolve(text: &str) -> Value {
    if text.is_empty() || text == "~" || text.eq_ignore_ascii_case("null") {
        return Value::Null;
    }
    if ["yes", "true", "on"].iter().any(|w| text.eq_ignore_ascii_case(w)) {
        return Value::Bool(true);
    }
    if ["no", "false", "off"].iter().any(|w| text.eq_ignore_ascii_case(w)) {
        return Value::Bool(false);
    }
    sexagesimal(text)
        .or_else(|| float(text))
        .or_else(|| integer(text))
        .unwrap_or_else(|| Value::from(text))
}

fn split_sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// `H:M` and `H:M:S`, with optional fraction; Psych takes the first group for hours in both.
fn sexagesimal(text: &str) -> Option<Value> {
    let (negative, body) = split_sign(text);
    let (whole, fraction) = match body.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (body, None),
    };
    let mut groups = whole.split(':');
    let hours = groups.next()?;
    let minutes = groups.next()?;
    let seconds = groups.next();
    let starts_with_digit = hours.starts_with(|c: char| c.is_ascii_digit());
    if groups.next().is_some() || !starts_with_digit || !is_digits(hours, "_") {
        return None;
    }
    let hours: i64 = without(hours, "_").parse().ok()?;
    let small = |group: &str| {
        let fits = (1..=2).contains(&group.len()) && is_digits(group, "");
        group.parse::<i64>().ok().filter(|n| fits && *n < 60)
    };
    let hours = if negative { -hours } else { hours };
    let seconds = seconds.map_or(Some(0), small)?;
    let total = hours.checked_mul(3600)?.checked_add(small(minutes)? * 60 + seconds)?;
    match fraction {
        None => Some(Value::from(total)),
        // Too odd to be meant as a number anywhere in a config: keep the text.
        Some(_) => None,
    }
}

/// Needs a dot; an exponent needs a sign.
fn float(text: &str) -> Option<Value> {
    let (_, body) = split_sign(text);
    let (whole, rest) = body.split_once('.')?;
    let (fraction, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (rest.get(..at)?, Some(rest.get(at + 1..)?)),
        None => (rest, None),
    };
    let whole_fits = whole.is_empty()
        || whole.starts_with(|c: char| c.is_ascii_digit()) && is_digits(whole, "_,");
    let exponent_fits = exponent.is_none_or(|e| {
        e.strip_prefix(['+', '-']).is_some_and(|digits| !digits.is_empty() && is_digits(digits, ""))
    });
    if !whole_fits
        || !exponent_fits
        || !is_digits(fraction, "")
        || (whole.is_empty() && fraction.is_empty())
    {
        return None;
    }
    let number: f64 = without(text, "_,").parse().ok()?;
    Number::from_f64(number).map(Value::Number)
}

/// Decimal, `0b`, `0x`, and octal with a leading zero; `_` and `,` between digits.
fn integer(text: &str) -> Option<Value> {
    let (negative, body) = split_sign(text);
    let (radix, digits) = if let Some(rest) = body.strip_prefix("0b") {
        (2, rest)
    } else if let Some(rest) = body.strip_prefix("0x") {
        (16, rest)
    } else if body.len() > 1 && body.starts_with('0') {
        (8, body)
    } else {
        (10, body)
    };
    let separators = if radix == 16 { "_" } else { "_," };
    let separator_ends = digits.ends_with(['_', ',']) || digits.starts_with(['_', ',']);
    let clean = without(digits, separators);
    let all_digits = !clean.is_empty() && clean.chars().all(|c| c.is_digit(radix));
    let doubled = ["__", ",,", "_,", ",_"].iter().any(|pair| digits.contains(pair));
    if !all_digits || (radix == 10 && (separator_ends || doubled)) {
        return None;
    }
    let sign = if negative { "-" } else { "" };
    let Ok(number) = i128::from_str_radix(&format!("{sign}{clean}"), radix) else {
        return (radix == 10).then(|| Value::from(format!("{sign}{clean}")));
    };
    let small =
        i64::try_from(number).map(Value::from).or_else(|_| u64::try_from(number).map(Value::from));
    Some(small.unwrap_or_else(|_| Value::from(number.to_string())))
}

fn is_digits(text: &str, separators: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || separators.contains(c))
}

fn without(text: &str, separators: &str) -> String {
    text.chars().filter(|c| !separators.contains(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn scalars_mean_what_psych_says() {
        let table = [
            ("", Value::Null),
            ("~", Value::Null),
            ("Null", Value::Null),
            ("yes", json!(true)),
            ("On", json!(true)),
            ("TRUE", json!(true)),
            ("no", json!(false)),
            ("off", json!(false)),
            ("y", json!("y")),
            ("n", json!("n")),
            ("nope", json!("nope")),
            ("0", json!(0)),
            ("42", json!(42)),
            ("-7", json!(-7)),
            ("+7", json!(7)),
            ("1_000", json!(1000)),
            ("1,000", json!(1000)),
            ("1_000_", json!("1_000_")),
            ("1__000", json!("1__000")),
            ("010", json!(8)),
            ("08", json!("08")),
            ("0o10", json!("0o10")),
            ("0x1F", json!(31)),
            ("0b101", json!(5)),
            ("0x", json!("0x")),
            ("12:30", json!(45000)),
            ("1:30:15", json!(5415)),
            ("12:60", json!("12:60")),
            ("zk1:2181", json!("zk1:2181")),
            ("10.0.0.1:80", json!("10.0.0.1:80")),
            ("10.0.0.1", json!("10.0.0.1")),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("5.", json!(5.0)),
            (".", json!(".")),
            ("1.5e-07", json!(1.5e-7)),
            ("1.5e3", json!("1.5e3")),
            ("1e+20", json!("1e+20")),
            ("1e3", json!("1e3")),
            (".inf", json!(".inf")),
            (".nan", json!(".nan")),
            (":sym", json!(":sym")),
            ("2026-01-02", json!("2026-01-02")),
            ("-", json!("-")),
            ("5s", json!("5s")),
            ("18446744073709551615", json!(u64::MAX)),
            ("18446744073709551616", json!("18446744073709551616")),
        ];
        for (text, expected) in table {
            assert_eq!(resolve(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_scalar_panics(text in "[-+0-9a-fxo_,.:eE~]{0,50}") {
            drop(resolve(&text));
        }
    }
}
