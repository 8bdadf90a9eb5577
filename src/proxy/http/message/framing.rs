//! Where a message ends: one decision per message, made from its head.

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// There is none.
    Empty,
    /// So many bytes, at least one.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Answers only: until the connection ends.
    UntilClose,
}

/// What the framing headers of a head say, line by line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Framing {
    /// `Content-Length`.
    pub(crate) length: Option<u64>,
    /// It stands there once, as plain decimal.
    pub(crate) is_length_plain: bool,
    /// `Transfer-Encoding: chunked`, once.
    pub(crate) chunked: bool,
}

/// Two readers could understand it differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ambiguous(pub(crate) &'static str);

impl Framing {
    /// A `Content-Length` line. Equal repetitions are one.
    pub(crate) fn add_length(&mut self, value: &[u8]) -> Result<(), Ambiguous> {
        let mut seen = self.length;
        let is_first = seen.is_none();
        for item in value.split(|b| *b == b',') {
            let number = decimal(item.trim_ascii()).ok_or(Ambiguous("content-length"))?;
            if seen.is_some_and(|other| other != number) {
                return Err(Ambiguous("content-lengths that differ"));
            }
            seen = Some(number);
        }
        self.length = seen;
        let is_zero_led = value.len() > 1 && value.starts_with(b"0");
        self.is_length_plain = is_first && !is_zero_led && value.iter().all(u8::is_ascii_digit);
        Ok(())
    }

    /// A `Transfer-Encoding` line. Anything but one `chunked` is refused: with `chunked, chunked` the next hop could see
    /// another end, and a `gzip` that we do not undo would lose its name.
    pub(crate) fn add_coding(&mut self, value: &[u8]) -> Result<(), Ambiguous> {
        let is_chunked = value.trim_ascii().eq_ignore_ascii_case(b"chunked");
        if !is_chunked || self.chunked {
            return Err(Ambiguous("transfer-encoding"));
        }
        self.chunked = true;
        Ok(())
    }
}

/// Digits only; `None` for anything else, and from 2^63 on: haproxy refuses that, and many a next hop counts with a sign.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let number = text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })?;
    i64::try_from(number).is_ok().then_some(number)
}

/// True when `value` is `trailers`, without even an empty element beside it.
pub(crate) fn is_only_trailers(value: &[u8]) -> bool {
    value.trim_ascii().eq_ignore_ascii_case(b"trailers")
}
