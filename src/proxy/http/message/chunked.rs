//! The chunked coding, read strictly: CRLF and nothing else ends a line, sizes are plain hexadecimal, extensions are
//! dropped, trailers are headers.
//!
//! Nothing is copied: the decoder says which ranges of its input go on. Chunks pass as they came, in most reads as one
//! range; only extensions, zeros before a size and trailers interrupt it. The last chunk goes on when all behind it is known
//! to be good: some take its line alone for the end.

use std::ops::Range;

use super::HEAD_BYTES;
use super::trailers::{LAST, judged};

/// Most bytes of a line with a chunk's size: extensions are dropped, so a long one is only work for nothing.
pub(crate) const LINE_BYTES: u16 = 4096;

/// Most hexadecimal digits of a size, zeros before it included.
const DIGITS: u8 = 16;

/// Bits that a size may have: no more than haproxy takes, and few enough that no next hop counts them wrong.
const SIZE_BITS: u32 = 52;

/// Not chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed chunks")]
pub(crate) struct Malformed;

/// Which ranges go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Chunks, without their extensions.
    Framed,
    /// Only what is in them.
    Data,
}

/// What a call has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fed {
    /// Bytes of input; the rest belongs to what follows the body.
    pub(crate) consumed: usize,
    /// Bytes of data among them.
    pub(crate) data: usize,
    /// The body has ended.
    pub(crate) done: bool,
}

/// Ranges of an input, in order, neighbours joined. Reused between calls.
#[derive(Debug, Default)]
pub(crate) struct Ranges(pub(crate) Vec<Range<usize>>);

impl Ranges {
    /// Adds a range.
    pub(crate) fn push(&mut self, range: Range<usize>) {
        match self.0.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ if range.is_empty() => {}
            _ => self.0.push(range),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Digits, at least one; counts them.
    Size(u8),
    /// Blanks behind the digits.
    Blank,
    Extension,
    Quoted,
    Escaped,
    /// The line of a size ends.
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// Behind the last chunk.
    Trailers,
    Done,
}

/// Decodes one body.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    /// Of the current chunk, still to come.
    left: u64,
    /// Of the current line.
    line: u16,
    keep: Keep,
    /// Collected until complete: they must be judged whole. Allocated only if there are any.
    trailers: Vec<u8>,
    /// The end was among the ranges.
    is_passed: bool,
}

/// The last chunk, and no trailers.
const END: &[u8] = b"0\r\n\r\n";

impl Decoder {
    /// At the start of a body.
    pub(crate) fn new(keep: Keep) -> Self {
        let (state, trailers) = (State::Size(0), Vec::new());
        Self { state, left: 0, line: 0, keep, trailers, is_passed: false }
    }

    /// True between calls when the body has ended.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes what belongs to the body from the start of `input`; adds what goes on to `ranges`. When done,
    /// [`Decoder::tail`] goes behind them.
    pub(crate) fn feed(&mut self, input: &[u8], ranges: &mut Ranges) -> Result<Fed, Malformed> {
        let mut fed = Fed::default();
        while let Some(&byte) = input.get(fed.consumed)
            && self.state != State::Done
        {
            let at = fed.consumed;
            match self.state {
                State::Data => {
                    let there = u64::try_from(input.len() - at).unwrap_or(u64::MAX);
                    let n = usize::try_from(self.left.min(there)).unwrap_or(usize::MAX);
                    self.left -= self.left.min(there);
                    fed.consumed += n;
                    fed.data += n;
                    ranges.push(at..fed.consumed);
                    if self.left == 0 {
                        self.state = State::DataCr;
                    }
                    continue;
                }
                State::Trailers => {
                    let rest = input.get(at..).unwrap_or_default();
                    if self.trailers.is_empty() && rest.starts_with(b"\r\n") {
                        // None, as usual.
                        fed.consumed += 2;
                        let all = at.saturating_sub(LAST.len())..fed.consumed;
                        self.is_passed = input.get(all.clone()) == Some(END);
                        if self.is_passed && self.keep == Keep::Framed {
                            ranges.push(all);
                        }
                        self.state = State::Done;
                    } else {
                        fed.consumed += self.trailer(rest)?;
                    }
                    continue;
                }
                State::Size(_)
                | State::Blank
                | State::Extension
                | State::Quoted
                | State::Escaped
                | State::SizeLf
                | State::DataCr
                | State::DataLf
                | State::Done => {}
            }
            fed.consumed += 1;
            if self.step(byte)? && self.keep == Keep::Framed {
                ranges.push(at..fed.consumed);
            }
        }
        fed.done = self.state == State::Done;
        Ok(fed)
    }

    /// A byte of framing; true when it goes on.
    fn step(&mut self, byte: u8) -> Result<bool, Malformed> {
        let digits = if let State::Size(digits) = self.state { digits } else { 0 };
        let (next, goes_on) = match (self.state, byte) {
            (State::Size(DIGITS), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                return Err(Malformed);
            }
            (State::Size(_), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).map(u64::from).ok_or(Malformed)?;
                self.left = (self.left << 4) | digit;
                if self.left >> SIZE_BITS != 0 {
                    return Err(Malformed);
                }
                (State::Size(digits + 1), self.left != 0)
            }
            (State::Size(0), _) => return Err(Malformed),
            (State::Size(_) | State::Blank, b' ' | b'\t') => (State::Blank, false),
            (State::Size(_) | State::Blank, b';') => (State::Extension, false),
            (State::Size(_) | State::Blank | State::Extension, b'\r') => {
                (State::SizeLf, self.left != 0)
            }
            (State::Extension, b'"') => (State::Quoted, false),
            (State::Quoted, b'"') | (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                (State::Extension, false)
            }
            (State::Quoted, b'\\') => (State::Escaped, false),
            (State::Quoted | State::Escaped, b'\t' | b' '..=b'~' | 0x80..) => {
                (State::Quoted, false)
            }
            (State::SizeLf, b'\n') => {
                self.line = 0;
                (if self.left == 0 { State::Trailers } else { State::Data }, self.left != 0)
            }
            (State::DataCr, b'\r') => (State::DataLf, true),
            (State::DataLf, b'\n') => (State::Size(0), true),
            _ => return Err(Malformed),
        };
        if matches!(next, State::Blank | State::Extension | State::Quoted | State::Escaped) {
            self.line += 1;
            if self.line > LINE_BYTES {
                return Err(Malformed);
            }
        }
        self.state = next;
        Ok(goes_on)
    }

    /// Takes one line of trailers, or the part of it that is there.
    fn trailer(&mut self, input: &[u8]) -> Result<usize, Malformed> {
        let end = input.iter().position(|b| *b == b'\n').map(|lf| lf + 1);
        let part = input.get(..end.unwrap_or(input.len())).unwrap_or_default();
        if self.trailers.len() + part.len() > HEAD_BYTES {
            return Err(Malformed);
        }
        let before = self.trailers.len().saturating_sub(1);
        self.trailers.extend_from_slice(part);
        let mut new = self.trailers.get(before..).unwrap_or_default().windows(2);
        if new.any(|pair| (pair.first() == Some(&b'\r')) != (pair.last() == Some(&b'\n'))) {
            return Err(Malformed);
        }
        if end.is_some() {
            if !self.trailers.ends_with(b"\r\n") {
                return Err(Malformed);
            }
            if self.trailers == b"\r\n" || self.trailers.ends_with(b"\r\n\r\n") {
                self.trailers = judged(&self.trailers)?;
                self.state = State::Done;
            }
        }
        Ok(part.len())
    }

    /// What ends the body, unless the ranges did: the last chunk, trailers and the empty line. Nothing for [`Keep::Data`].
    pub(crate) fn tail(&self) -> &[u8] {
        match self.keep {
            Keep::Framed if self.is_passed => b"",
            Keep::Framed if self.trailers.is_empty() => END,
            Keep::Framed => &self.trailers,
            Keep::Data => b"",
        }
    }
}

/// Writes `data` as one chunk; nothing for nothing, which would be the last chunk.
pub(crate) fn push_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    // 2^64 has 16 digits.
    let mut digits = [b'0'; 16];
    let mut used = 0;
    let mut number = data.len();
    for digit in digits.iter_mut().rev() {
        let nibble = u32::try_from(number % 16).unwrap_or_default();
        *digit = char::from_digit(nibble, 16).and_then(|c| u8::try_from(c).ok()).unwrap_or(b'0');
        number /= 16;
        used += 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}
