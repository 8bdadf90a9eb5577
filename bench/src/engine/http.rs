//! As much of HTTP/1.1 as a load needs.

use std::sync::Arc;

/// The end of a head.
pub(crate) const HEAD_END: &[u8] = b"\r\n\r\n";

/// Nobody here sends a longer head.
pub(crate) const HEAD_LIMIT: usize = 16 * 1024;

/// One kind of request, and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// Bytes of the request's body; 0: a GET, else a POST.
    pub(crate) request: usize,
    /// Bytes of the answer's body.
    pub(crate) answer: usize,
}

/// Bytes of a small answer's body.
pub(crate) const SMALL_BODY: usize = 128;

impl Exchange {
    /// What most of a service's traffic looks like: a GET, 128 bytes back.
    pub(crate) const SMALL: Self = Self::get(SMALL_BODY);

    /// A GET with so long an answer.
    pub(crate) const fn get(answer: usize) -> Self {
        Self { request: 0, answer }
    }

    /// What a client sends; with `is_last` the proxy closes after the answer.
    pub(crate) fn ask(self, is_last: bool) -> Ask {
        let method = if self.request == 0 { "GET" } else { "POST" };
        let mut text = format!(
            "{method} /bench HTTP/1.1\r\nHost: bench.local\r\nUser-Agent: bench\r\nAccept: */*\r\n"
        );
        if is_last {
            text.push_str("Connection: close\r\n");
        }
        if self.request > 0 {
            text.push_str(&format!("Content-Length: {}\r\n", self.request));
        }
        Ask { bytes: message(&text, self.request), expects: self.answer }
    }

    /// What an origin answers.
    pub(crate) fn reply(self) -> Arc<[u8]> {
        let length = self.answer;
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n");
        message(&head, length)
    }
}

/// What a client sends, and what it expects of the answer.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// The whole message.
    pub(crate) bytes: Arc<[u8]>,
    /// Bytes of the answer's body, neither more nor less.
    pub(crate) expects: usize,
}

/// A head, its end, and a body of so many bytes.
fn message(head: &str, body: usize) -> Arc<[u8]> {
    let body = b"0123456789abcdef".iter().cycle().take(body);
    head.bytes().chain(*b"\r\n").chain(body.copied()).collect()
}

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
    /// Not a 200, no length or another than expected, or more than the answer: in words.
    pub(crate) fn feed(&mut self, read: &[u8], expects: usize) -> Result<bool, String> {
        let (left, more) = match self.left {
            Some(_) => return self.skip(read.len()),
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
        if left != expects {
            return Err(format!("answer of {left} bytes, not {expects}"));
        }
        self.left = Some(left);
        self.skip(more)
    }

    /// True while only the number of bytes that come matters.
    pub(crate) fn is_in_body(&self) -> bool {
        self.left.is_some()
    }

    /// Takes so many bytes of the body; true when the answer is complete.
    ///
    /// # Errors
    ///
    /// More than the answer: in words.
    pub(crate) fn skip(&mut self, more: usize) -> Result<bool, String> {
        let left = self.left.unwrap_or(0);
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
    let Some((head, more)) = split(bytes) else {
        return Ok(None);
    };
    if !head.starts_with(b"HTTP/1.1 200") {
        let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
        return Err(format!("answer: {}", String::from_utf8_lossy(line)));
    }
    let length = content_length(head).ok_or("no Content-Length")?;
    Ok(Some((length, more)))
}

/// The head, and the number of bytes after it; `None` while it has no end.
pub(crate) fn split(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = bytes.windows(HEAD_END.len()).position(|w| w == HEAD_END)?;
    Some((bytes.get(..end)?, bytes.len() - end - HEAD_END.len()))
}

/// What a head says about its body.
pub(crate) fn content_length(head: &[u8]) -> Option<usize> {
    head.split(|b| *b == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(b"content-length:".len())?;
        if !name.eq_ignore_ascii_case(b"content-length:") {
            return None;
        }
        std::str::from_utf8(value).ok()?.trim().parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_one_piece_or_byte_by_byte() {
        let whole = Exchange::SMALL.reply();
        let mut answer = Answer::default();
        assert_eq!(answer.feed(&whole, 128), Ok(true));
        let (last, rest) = whole.split_last().unwrap();
        for byte in rest {
            assert_eq!(answer.feed(&[*byte], 128), Ok(false));
        }
        assert!(answer.is_in_body());
        assert_eq!(answer.feed(&[*last], 128), Ok(true));
        assert_eq!(answer.feed(&whole, 128), Ok(true));
    }

    #[test]
    fn anything_but_a_200_with_the_expected_length_is_a_failure() {
        let feed = |bytes: &[u8]| Answer::default().feed(bytes, 128);
        assert!(feed(b"HTTP/1.1 503 no\r\n\r\n").is_err());
        assert!(feed(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(feed(&Exchange::get(127).reply()).is_err());
        let whole = Exchange::SMALL.reply();
        assert!(feed(&[&*whole, &*whole].concat()).is_err());
    }

    #[test]
    fn a_request_says_what_it_brings() {
        let post = Exchange { request: 20, answer: 3 }.ask(false);
        let (head, more) = split(&post.bytes).unwrap();
        assert!(head.starts_with(b"POST /bench HTTP/1.1\r\n"));
        assert_eq!((content_length(head), more, post.expects), (Some(20), 20, 3));
        let get = Exchange::SMALL.ask(true);
        let (head, more) = split(&get.bytes).unwrap();
        assert!(head.ends_with(b"\r\nConnection: close"));
        assert_eq!((content_length(head), more), (None, 0));
    }
}
