//! Bytes of strangers in a line: whatever a client sends, it stays one line, and its fields can be told apart.

/// A byte that haproxy escapes in a request line.
fn is_odd(byte: u8) -> bool {
    !(0x20..0x7f).contains(&byte) || matches!(byte, b'"' | b'#')
}

/// A byte that haproxy escapes in a captured header.
fn is_odd_in_capture(byte: u8) -> bool {
    is_odd(byte) || matches!(byte, b'{' | b'|' | b'}')
}

/// Appends a request line: odd bytes as `#XX`.
pub(super) fn request(out: &mut Vec<u8>, bytes: &[u8]) {
    hashed(out, bytes, is_odd);
}

/// Appends a captured header's value.
pub(super) fn capture(out: &mut Vec<u8>, bytes: &[u8]) {
    hashed(out, bytes, is_odd_in_capture);
}

fn hashed(out: &mut Vec<u8>, bytes: &[u8], is_odd: impl Fn(u8) -> bool) {
    let mut rest = bytes;
    if !has_odd(bytes, &is_odd) {
        return out.extend_from_slice(bytes);
    }
    while let Some(at) = rest.iter().position(|byte| is_odd(*byte)) {
        let (plain, odd) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((odd, after)) = odd.split_first() else {
            return;
        };
        out.push(b'#');
        hex(out, *odd, b"0123456789ABCDEF");
        rest = after;
    }
    out.extend_from_slice(rest);
}

/// Hardly a line has an odd byte: sixteen at a time, without a way out of the loop, so that the compiler looks at all of them
/// at once; the last ones with some of those before.
fn has_odd(bytes: &[u8], is_odd: impl Fn(u8) -> bool) -> bool {
    let any = |some: &[u8]| some.iter().fold(false, |any, byte| any | is_odd(*byte));
    let Some(last) = bytes.last_chunk::<16>() else {
        return any(bytes);
    };
    let (chunks, _) = bytes.as_chunks::<16>();
    chunks.iter().fold(any(last), |found, chunk| found | any(chunk))
}

fn hex(out: &mut Vec<u8>, byte: u8, digits: &[u8; 16]) {
    let digit = |nibble: u8| digits.get(usize::from(nibble)).copied().unwrap_or(b'0');
    out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
}

/// Appends `bytes` as the inside of a JSON string. Reversible: a backslash stands as two, a byte that is not UTF-8 as
/// `\xhh`, both escaped once more for JSON.
pub(super) fn json(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        json_text(out, chunk.valid().as_bytes());
        for byte in chunk.invalid() {
            out.extend_from_slice(b"\\\\x");
            hex(out, *byte, b"0123456789abcdef");
        }
    }
}

fn json_text(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some(at) =
        rest.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\' | 0x7f))
    {
        let (plain, odd) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((odd, after)) = odd.split_first() else {
            return;
        };
        match odd {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\\\\\"),
            control => {
                out.extend_from_slice(b"\\u00");
                hex(out, *control, b"0123456789abcdef");
            }
        }
        rest = after;
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(escape: impl Fn(&mut Vec<u8>, &[u8]), bytes: &[u8]) -> String {
        let mut out = Vec::new();
        escape(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    /// Undoes [`json`] on a parsed string.
    fn unescape(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let [first, after @ ..] = rest {
            rest = after;
            match (first, after) {
                (b'\\', [b'\\', ..]) => {
                    bytes.push(b'\\');
                    rest = &after[1..];
                }
                (b'\\', [b'x', high, low, ..]) => {
                    let digits = [*high, *low];
                    let digits = std::str::from_utf8(&digits).unwrap();
                    bytes.push(u8::from_str_radix(digits, 16).unwrap());
                    rest = &after[3..];
                }
                (byte, _) => bytes.push(*byte),
            }
        }
        bytes
    }

    #[test]
    fn captures_are_escaped_as_haproxy_2_6_does() {
        // Each pair was logged by haproxy 2.6.12 for a request with that header.
        for (sent, logged) in [
            (&b"<\">"[..], "<#22>"),
            (b"<#>", "<#23>"),
            (b"<{|}>", "<#7B#7C#7D>"),
            (b"<\\[]^`>", "<\\[]^`>"),
            (b"<\t>", "<#09>"),
            (b"<\xc3\xa9>", "<#C3#A9>"),
            (b"<\x80\xff>", "<#80#FF>"),
            (b"<\x7f>", "<#7F>"),
        ] {
            assert_eq!(with(capture, sent), logged);
        }
    }

    #[test]
    fn an_odd_byte_is_found_wherever_it_stands() {
        for len in 0..70 {
            let plain = vec![b'a'; len];
            assert_eq!(with(request, &plain).as_bytes(), plain);
            for at in 0..len {
                let mut bytes = plain.clone();
                bytes[at] = b'"';
                let expected = format!("{}#22{}", "a".repeat(at), "a".repeat(len - at - 1));
                assert_eq!(with(request, &bytes), expected);
            }
        }
    }

    #[test]
    fn request_lines_keep_braces() {
        for plain in ["GET /u{ HTTP/1.1", "GET /u| HTTP/1.1", "GET /u}[]^`~'(%"] {
            assert_eq!(with(request, plain.as_bytes()), plain);
        }
        assert_eq!(with(request, b"\"#\x00\xe9"), "#22#23#00#E9");
    }

    proptest! {
        #[test]
        fn a_line_stays_one_line_of_printable_ascii(bytes: Vec<u8>) {
            for text in [with(request, &bytes), with(capture, &bytes)] {
                prop_assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"'));
            }
            let has_mark = with(capture, &bytes).contains(['{', '|', '}']);
            prop_assert!(!has_mark);
        }

        #[test]
        fn json_strings_are_json_and_can_be_undone(bytes: Vec<u8>) {
            let text: String = serde_json::from_str(&format!("\"{}\"", with(json, &bytes))).unwrap();
            prop_assert_eq!(unescape(&text), bytes);
        }
    }
}
