//! A haproxy line into words: blanks separate, quotes and backslashes protect, `#` starts a comment.

/// Splits `text` as haproxy does.
///
/// Outside single quotes `\ `, `\#`, `\\`, `\"`, `\'` stand for the character, `\r`, `\n`, `\t` for the control
/// character and `\xHH` for an ASCII character; any other backslash stays, so regular expressions survive.
pub(super) fn split(text: &str) -> Result<Vec<String>, String> {
    if text.trim().contains(['\n', '\r']) {
        return Err("contains a line break; write one directive per line".to_owned());
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (Some('"') | None, '\\') => {
                unescape(&mut chars, word.get_or_insert_default())?;
            }
            (Some('"'), '$') => {
                return Err(
                    "environment variables are not expanded in haproxy lines; write <%= ENV['NAME'] %>, or \\$"
                        .to_owned(),
                );
            }
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') => break,
            (None, c) if c.is_ascii_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(quote) = quote {
        return Err(format!("the quote {quote} is not closed"));
    }
    words.extend(word);
    Ok(words)
}

fn unescape(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), String> {
    match chars.next() {
        Some('r') => word.push('\r'),
        Some('n') => word.push('\n'),
        Some('t') => word.push('\t'),
        Some(c @ (' ' | '#' | '\\' | '"' | '\'' | '$')) => word.push(c),
        Some('x') => word.push(hex(chars)?),
        Some(c) => word.extend(['\\', c]),
        None => return Err("ends in a backslash".to_owned()),
    }
    Ok(())
}

fn hex(chars: &mut std::str::Chars<'_>) -> Result<char, String> {
    let digits: String = chars.by_ref().take(2).collect();
    if digits.len() == 2
        && let Ok(byte @ 1..=0x7f) = u8::from_str_radix(&digits, 16)
    {
        Ok(char::from(byte))
    } else {
        Err(format!("\\x{digits} is not an ascii character"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(text: &str) -> Vec<String> {
        split(text).unwrap()
    }

    #[test]
    fn any_run_of_blanks_separates() {
        assert_eq!(ok(" \ttimeout  client\t 50s "), ["timeout", "client", "50s"]);
        assert_eq!(ok(""), Vec::<String>::new());
        assert_eq!(ok("  # only a comment"), Vec::<String>::new());
    }

    #[test]
    fn escapes_and_quotes_protect() {
        assert_eq!(ok(r"reqadd X-Mode:\ ro"), ["reqadd", "X-Mode: ro"]);
        assert_eq!(ok(r"a\#b # c"), ["a#b"]);
        assert_eq!(ok(r#"a "b c"'d # e' ''"#), ["a", "b cd # e", ""]);
        assert_eq!(ok(r"'a\r'"), [r"a\r"]);
        assert_eq!(ok(r#""\"x\"""#), ["\"x\""]);
        assert_eq!(
            ok(r"option httpchk GET / HTTP/1.1\r\nHost:\ x"),
            ["option", "httpchk", "GET", "/", "HTTP/1.1\r\nHost: x"]
        );
        assert_eq!(ok(r"^/a\.b\x41"), [r"^/a\.bA"]);
    }

    #[test]
    fn broken_lines_are_complaints() {
        for text in ["a \"b", "a 'b", "a\\", "a\\x4", "a\\xzz", "a\\xff", "a\nb", "\"$HOME\""] {
            assert!(split(text).is_err(), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC*") {
            drop(split(&text));
        }

        #[test]
        fn escaped_words_come_back(words in proptest::collection::vec("[a-z \"'#\\\\$]{1,8}", 0..5)) {
            let line: Vec<String> = words
                .iter()
                .map(|w| w.chars().flat_map(|c| if c.is_ascii_lowercase() { vec![c] } else { vec!['\\', c] }).collect())
                .collect();
            proptest::prop_assert_eq!(split(&line.join(" ")).unwrap(), words);
        }
    }
}
