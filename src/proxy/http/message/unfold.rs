//! Folded lines of answers: a line that begins with a blank goes on with the one before (RFC 9112 5.2). Nobody may write
//! that any more; old backends do, and behind haproxy they work. In requests it is refused.

/// The beginning of an answer, with blanks in place of the line ends before lines that go on. `None`: there are none.
///
/// As long as `input`. The first field cannot be one that goes on, and nothing changes behind the head.
#[cold]
pub(crate) fn unfold(input: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(input.len());
    let (mut lines, mut is_over, mut is_folded) = (0, false, false);
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        let is_blank = matches!(line, b"\n" | b"\r\n");
        is_over |= is_blank && lines > 0;
        if !is_over && lines > 1 && line.starts_with(b" ") | line.starts_with(b"\t") {
            let end = if text.ends_with(b"\r\n") { 2 } else { 1 };
            text.truncate(text.len().saturating_sub(end));
            text.resize(text.len() + end, b' ');
            is_folded = true;
        }
        text.extend_from_slice(line);
        lines += usize::from(!is_blank);
    }
    is_folded.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unfolded(input: &str) -> Option<String> {
        unfold(input.as_bytes()).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn a_line_that_begins_with_a_blank_goes_on() {
        let text = "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\td\r\nB: e\n f\r\n \r\n\r\n";
        let plain = "HTTP/1.1 200 OK\r\nA: b   c  \td\r\nB: e  f   \r\n\r\n";
        assert_eq!(unfolded(text).as_deref(), Some(plain));
        assert_eq!(unfolded(plain), None);
        // The blank may come with the next packet.
        assert_eq!(unfolded("HTTP/1.1 200 OK\r\nA: b\r\n"), None);
        assert_eq!(unfolded("\r\nHTTP/1.1 200 OK\r\nA: b\r\n ").unwrap().len(), 26);
    }

    #[test]
    fn neither_the_first_field_nor_the_body_is_touched() {
        assert_eq!(unfolded("HTTP/1.1 200 OK\r\n A: b\r\n\r\n"), None);
        assert_eq!(unfolded("HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody\r\n goes on"), None);
        let text = "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\nbody\r\n goes on";
        assert!(unfolded(text).unwrap().ends_with("A: b   c\r\n\r\nbody\r\n goes on"));
    }

    #[test]
    fn what_is_no_line_end_stays() {
        let text = "HTTP/1.1 200 OK\r\nA: b\r\r\n c\r\n\r\n";
        assert_eq!(unfolded(text).unwrap(), "HTTP/1.1 200 OK\r\nA: b\r   c\r\n\r\n");
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_left_to_be_unfolded(lines in proptest::collection::vec("[ \ta:\r]{0,3}", 0..9)) {
            let text = lines.join("\n");
            if let Some(plain) = unfold(text.as_bytes()) {
                proptest::prop_assert_eq!(plain.len(), text.len());
                proptest::prop_assert_eq!(unfold(&plain), None);
            }
        }
    }
}
