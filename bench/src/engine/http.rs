//! As much of HTTP/1.1 as a load needs.

/// The end of a head.
pub(crate) const HEAD_END: &[u8] = b"\r\n\r\n";

/// Nobody here sends a longer head.
pub(crate) const HEAD_LIMIT: usize = 16 * 1024;

/// What every HTTP origin answers: 128 bytes of body.
pub(crate) const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 128\r\n\r\n\
0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A request whose connection is kept.
pub(crate) const KEEP: &[u8] =
    b"GET /bench HTTP/1.1\r\nHost: bench.local\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";

/// A request after which the proxy closes.
pub(crate) const CLOSE: &[u8] =
    b"GET /bench HTTP/1.1\r\nHost: bench.local\r\nUser-Agent: bench\r\nAccept: */*\r\n\
Connection: close\r\n\r\n";

/// Reads one answer that may come in pieces.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    head: Vec<u8>,
    /// Bytes of the body that are to come, once the head is there.
    left: Option<usize>,
}

impl Answer {
    /// Takes what was read; true when the answer is complete.
    ///
    /// # Errors
    ///
    /// Not a 200, no length, or more than the answer: in words.
    pub(crate) fn feed(&mut self, read: &[u8]) -> Result<bool, String> {
        let (left, more) = match self.left {
            Some(left) => (left, read.len()),
            None if self.head.is_empty() => match judge(read)? {
                Some(found) => found,
                None => return self.keep(read),
            },
            None => {
                self.head.extend_from_slice(read);
                match judge(&self.head)? {
                    Some(found) => found,
                    None => return self.keep(&[]),
                }
            }
        };
        if more > left {
            return Err("more than the answer".to_owned());
        }
        if more == left {
            self.head.clear();
            self.left = None;
            return Ok(true);
        }
        self.left = Some(left - more);
        Ok(false)
    }

    fn keep(&mut self, read: &[u8]) -> Result<bool, String> {
        self.head.extend_from_slice(read);
        if self.head.len() > HEAD_LIMIT {
            return Err("a head without end".to_owned());
        }
        Ok(false)
    }
}

/// Length of the body and how much of it is there already; `None` while the head has no end.
fn judge(bytes: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let Some(end) = bytes.windows(HEAD_END.len()).position(|w| w == HEAD_END) else {
        return Ok(None);
    };
    let head = bytes.get(..end).unwrap_or_default();
    if !head.starts_with(b"HTTP/1.1 200") {
        let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
        return Err(format!("answer: {}", String::from_utf8_lossy(line)));
    }
    let length = head.split(|b| *b == b'\n').find_map(content_length).ok_or("no Content-Length")?;
    Ok(Some((length, bytes.len() - end - HEAD_END.len())))
}

fn content_length(line: &[u8]) -> Option<usize> {
    let (name, value) = line.split_at_checked(b"content-length:".len())?;
    if !name.eq_ignore_ascii_case(b"content-length:") {
        return None;
    }
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_one_piece_or_byte_by_byte() {
        let mut answer = Answer::default();
        assert_eq!(answer.feed(ANSWER), Ok(true));
        let (last, rest) = ANSWER.split_last().unwrap();
        for byte in rest {
            assert_eq!(answer.feed(&[*byte]), Ok(false));
        }
        assert_eq!(answer.feed(&[*last]), Ok(true));
        assert_eq!(answer.feed(ANSWER), Ok(true));
    }

    #[test]
    fn anything_but_a_200_with_its_length_is_a_failure() {
        let mut answer = Answer::default();
        assert!(answer.feed(b"HTTP/1.1 503 no\r\n\r\n").is_err());
        assert!(Answer::default().feed(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        let two = [ANSWER, ANSWER].concat();
        assert!(Answer::default().feed(&two).is_err());
    }
}
