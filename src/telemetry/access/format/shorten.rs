//! A line of JSON that is too long for its place. Cut anywhere it would be no JSON any more, and lost to whoever parses it.

use std::ops::Range;

/// A value is not cut below so many bytes: keys at the end go instead. A time or an address is shorter.
const LEAST: usize = 64;

/// Makes the object that begins at `start` and ends `out` as short as `max`: its longest values are cut, between characters
/// as [`json`](super::escape::json) writes them, then its last keys go. It stays an object.
#[cold]
pub(super) fn shorten(out: &mut Vec<u8>, start: usize, max: usize) {
    loop {
        let object = out.get(start..).unwrap_or_default();
        let excess = object.len().saturating_sub(max);
        if excess == 0 {
            return;
        }
        let Shape { longest, commas } = Shape::of(object);
        if longest.len() <= LEAST {
            // The brace takes the comma's place.
            let end = commas.into_iter().rfind(|comma| *comma < max).unwrap_or(1);
            out.truncate(start + end);
            out.push(b'}');
            return;
        }
        let value = object.get(longest.clone()).unwrap_or_default();
        let kept = whole(value, longest.len().saturating_sub(excess).max(LEAST));
        out.drain(start + longest.start + kept..start + longest.end);
    }
}

/// Where things are in an object without objects inside.
struct Shape {
    /// Of the longest value in quotes, what is inside them.
    longest: Range<usize>,
    /// Between the keys.
    commas: Vec<usize>,
}

impl Shape {
    fn of(object: &[u8]) -> Self {
        let mut shape = Self { longest: 0..0, commas: Vec::new() };
        let mut at = 0;
        while let Some(byte) = object.get(at) {
            match byte {
                b'"' => {
                    let is_value = at.checked_sub(1).and_then(|at| object.get(at)) == Some(&b':');
                    let inside = at + 1..at + 1 + inside(object.get(at + 1..).unwrap_or_default());
                    at = inside.end;
                    if is_value && inside.len() > shape.longest.len() {
                        shape.longest = inside;
                    }
                }
                b',' => shape.commas.push(at),
                _ => {}
            }
            at += 1;
        }
        shape
    }
}

/// Bytes before the quote that ends a string.
fn inside(text: &[u8]) -> usize {
    characters(text, |rest, _| !rest.starts_with(b"\"")).min(text.len())
}

/// The bytes of all characters at the start of `text` that are whole within `room`.
fn whole(text: &[u8], room: usize) -> usize {
    characters(text, |_, end| end <= room)
}

/// The bytes of the characters at the start of `text` that are wanted, each asked for with what begins with it and where it
/// ends.
fn characters(text: &[u8], is_wanted: impl Fn(&[u8], usize) -> bool) -> usize {
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let end = at + character(rest);
        if !is_wanted(rest, end) {
            break;
        }
        at = end;
    }
    at
}

/// Bytes of what stands for the first byte or character of what was logged.
fn character(text: &[u8]) -> usize {
    match text {
        [b'\\', b'\\', b'x', ..] => 5,
        [b'\\', b'\\', ..] => 4,
        [b'\\', b'u', ..] => 6,
        [b'\\', ..] => 2,
        [first, ..] => usize::try_from(first.leading_ones()).unwrap_or_default().max(1),
        [] => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::escape;
    use super::*;

    /// An object with these values, shortened.
    fn shortened(values: &[Vec<u8>], max: usize) -> (String, String) {
        let mut out = b"head {\"time\":\"now\",\"n\":1".to_vec();
        for (n, value) in values.iter().enumerate() {
            out.extend_from_slice(format!(",\"k{n}\":\"").as_bytes());
            escape::json(&mut out, value);
            out.push(b'"');
        }
        out.extend_from_slice(b",\"last\":null}");
        let whole = String::from_utf8(out.clone()).unwrap();
        shorten(&mut out, 5, max);
        let cut = String::from_utf8(out).unwrap();
        let object = |line: &str| line.strip_prefix("head ").unwrap().to_owned();
        (object(&whole), object(&cut))
    }

    #[test]
    fn the_longest_value_is_cut_first_then_the_last_keys_go() {
        let values = [vec![b'a'; 300], vec![0xff; 100], vec![b'c'; 10]];
        let (whole, cut) = shortened(&values, 500);
        assert!(whole.len() > 800 && cut.len() <= 500 && cut.len() > 490, "{cut}");
        let cut: Value = serde_json::from_str(&cut).unwrap();
        assert_eq!((&cut["k2"], &cut["last"]), (&Value::from("cccccccccc"), &Value::Null));
        let escaped = cut["k1"].as_str().unwrap();
        assert!(escaped.len().is_multiple_of(4) && escaped.ends_with("\\xff"), "{escaped}");
        assert_eq!(shortened(&values, 30).1, "{\"time\":\"now\",\"n\":1}");
        assert_eq!(shortened(&values, 5).1, "{}");
    }

    proptest! {
        #[test]
        fn it_stays_an_object_of_the_same_keys_and_of_beginnings_of_the_values(
            values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..6),
            max in 30_usize..1000,
        ) {
            let (whole, cut) = shortened(&values, max);
            prop_assert!(cut.len() <= max.max(2), "{}", cut);
            if whole.len() <= max {
                prop_assert_eq!(&whole, &cut);
            }
            let read = |text: &str| serde_json::from_str::<serde_json::Map<String, Value>>(text);
            let (whole, cut) = (read(&whole).unwrap(), read(&cut).unwrap());
            for (key, value) in &cut {
                match (value, &whole[key]) {
                    (Value::String(cut), Value::String(whole)) => prop_assert!(whole.starts_with(cut)),
                    (cut, whole) => prop_assert_eq!(cut, whole),
                }
            }
        }
    }
}
