//! Where we take on purpose what a strict reader refuses. What goes on is in the one strict form all the same, which the
//! comparison checks; a refusal of the oracle that nothing here explains is a finding.
//!
//! The cases are those of `tests/it/wire/cases.rs`.

/// A message as it came and as it goes on.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// As it came.
    pub head: &'a [u8],
    /// What of the body came.
    pub body: &'a [u8],
    /// The same as it goes on.
    pub sent_body: &'a [u8],
}

/// One thing that we take.
#[derive(Clone, Copy, Debug)]
pub struct Leniency {
    /// What, and why that does no harm.
    pub what: &'static str,
    /// True when a message has it.
    pub is_in: fn(&Seen<'_>) -> bool,
}

/// In requests.
pub const REQUESTS: &[Leniency] = &[
    BARE_LF,
    Leniency {
        what: "A18: several blanks between the words of a request line, as haproxy; goes on with one",
        is_in: |seen| first_line(seen.head).windows(2).any(|pair| pair == b"  "),
    },
    Leniency {
        what: "A09: an authority in the target with other bytes than the oracle wants; goes on as a path",
        is_in: |seen| {
            let mut words = first_line(seen.head).split(|b| *b == b' ').filter(|w| !w.is_empty());
            words.nth(1).is_some_and(|target| !target.starts_with(b"/") && target != b"*")
        },
    },
    EQUAL_LENGTHS,
    TABS,
    CHUNK_LINES,
];

/// In answers.
pub const ANSWERS: &[Leniency] = &[
    BARE_LF,
    EQUAL_LENGTHS,
    TABS,
    CHUNK_LINES,
    Leniency {
        what: "F-tecl: chunks and a length, as haproxy; the length goes, and the connection after the answer",
        is_in: |seen| {
            lines(seen.head, "content-length").next().is_some()
                && lines(seen.head, "transfer-encoding").next().is_some()
        },
    },
];

const BARE_LF: Leniency = Leniency {
    what: "B11: LF without CR ends a line of a head, as haproxy; goes on as CRLF",
    is_in: |seen| {
        let ends = seen.head.iter().filter(|b| **b == b'\n').count();
        ends > seen.head.windows(2).filter(|pair| pair == b"\r\n").count()
    },
};

const EQUAL_LENGTHS: Leniency = Leniency {
    what: "C03, F-dupclsame: one content-length several times, as haproxy; goes on once",
    is_in: |seen| {
        let mut values = lines(seen.head, "content-length");
        values.next().is_some_and(|first| first.contains(&b',')) || values.next().is_some()
    },
};

/// See [`Leniency::what`]. An answer's `chunked` with a tab behind it is taken by the oracle, for something else.
pub const TABS: Leniency = Leniency {
    what: "RFC 9110 5.5: tabs around the value of a framing line, as haproxy; goes on with one blank before it",
    is_in: |seen| {
        let lengths = lines(seen.head, "content-length");
        lengths.chain(lines(seen.head, "transfer-encoding")).any(|value| value.contains(&b'\t'))
    },
};

const CHUNK_LINES: Leniency = Leniency {
    what: "D02: blanks and any printable extension behind a chunk's size, as haproxy; neither goes on",
    is_in: |seen| seen.body != seen.sent_body,
};

/// The first line that is not empty.
fn first_line(head: &[u8]) -> &[u8] {
    head.trim_ascii_start().split(|b| *b == b'\n').next().unwrap_or_default()
}

/// The values of the lines called `name`.
fn lines<'a>(head: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    head.split(|b| *b == b'\n').filter_map(move |line| {
        let at = line.iter().position(|b| *b == b':')?;
        line[..at].eq_ignore_ascii_case(name.as_bytes()).then(|| &line[at + 1..])
    })
}
