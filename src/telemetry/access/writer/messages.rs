//! Messages on their way to one target, one after the other in a buffer: those of one length that follow each other leave
//! as one piece.

/// Messages, each with its line end.
#[derive(Debug, Default)]
pub(super) struct Messages {
    pub(super) bytes: Vec<u8>,
    /// Where each ends.
    pub(super) ends: Vec<usize>,
}

impl Messages {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Whole messages from the byte `begin` on, in one piece: as many as fit into `room` bytes; the first one, or what is left
    /// of it, whether it fits or not.
    pub(super) fn piece(&self, begin: usize, room: usize) -> &[u8] {
        let first = self.ends.partition_point(|end| *end <= begin);
        let fitting = self.ends.partition_point(|end| *end <= begin.saturating_add(room));
        let end = self.ends.get(fitting.saturating_sub(1).max(first));
        end.and_then(|end| self.bytes.get(begin..*end)).unwrap_or_default()
    }

    /// All of them.
    pub(super) fn all(&self) -> Rest<'_> {
        Rest { bytes: &self.bytes, ends: &self.ends, begin: 0 }
    }
}

/// The last of some messages: what has not been sent yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest<'a> {
    /// Of all messages, so that `ends` hold.
    bytes: &'a [u8],
    /// Of those that are left.
    ends: &'a [usize],
    /// Where the first that is left begins.
    begin: usize,
}

impl<'a> Rest<'a> {
    pub(super) fn len(self) -> usize {
        self.ends.len()
    }

    pub(super) fn is_empty(self) -> bool {
        self.ends.is_empty()
    }

    /// Each one.
    pub(super) fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        let mut begin = self.begin;
        self.ends.iter().map(move |end| {
            let text = self.bytes.get(begin..*end).unwrap_or_default();
            begin = *end;
            text
        })
    }

    /// How many of this length come first.
    pub(super) fn alike(self, length: usize) -> usize {
        let mut begin = self.begin;
        let is_alike = |end: &&usize| {
            let own = **end - begin;
            begin = **end;
            own == length
        };
        self.ends.iter().take_while(is_alike).count()
    }

    /// The first `count` in one piece.
    pub(super) fn first(self, count: usize) -> &'a [u8] {
        let last = count.checked_sub(1).and_then(|last| self.ends.get(last));
        last.and_then(|end| self.bytes.get(self.begin..*end)).unwrap_or_default()
    }

    /// Those behind the first `count`.
    pub(super) fn after(self, count: usize) -> Self {
        let (sent, ends) = self.ends.split_at_checked(count).unwrap_or((self.ends, &[]));
        Self { ends, begin: sent.last().copied().unwrap_or(self.begin), ..self }
    }
}

#[cfg(test)]
impl<T: AsRef<[u8]>> FromIterator<T> for Messages {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut messages = Self::default();
        for text in texts {
            messages.bytes.extend_from_slice(text.as_ref());
            messages.ends.push(messages.bytes.len());
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_has_whole_messages_or_the_rest_of_one() {
        let messages = Messages::from_iter(["one", "two", "three", "", "six"]);
        let piece = |begin, room| messages.piece(begin, room);
        assert_eq!([piece(0, 2), piece(0, 3), piece(0, 5)], [b"one"; 3]);
        assert_eq!((piece(0, 6), piece(3, 8)), (&b"onetwo"[..], &b"twothree"[..]));
        assert_eq!(
            (piece(7, 2), piece(7, 4), piece(7, 7)),
            (&b"hree"[..], &b"hree"[..], &b"hreesix"[..])
        );
        assert_eq!((piece(0, usize::MAX), piece(14, 9)), (&messages.bytes[..], &b""[..]));
        assert_eq!(Messages::default().piece(0, 9), b"");
    }

    #[test]
    fn what_is_left_is_told_one_by_one_and_in_one_piece() {
        let messages = Messages::from_iter(["one", "", "three"]);
        let all = messages.all();
        assert_eq!((all.len(), all.first(0), all.first(3)), (3, &b""[..], &b"onethree"[..]));
        assert_eq!(all.iter().collect::<Vec<_>>(), [&b"one"[..], b"", b"three"]);
        let rest = all.after(1);
        assert_eq!((rest.len(), rest.first(1), rest.first(2)), (2, &b""[..], &b"three"[..]));
        assert_eq!(rest.after(1).iter().collect::<Vec<_>>(), [b"three"]);
        assert_eq!(rest.after(0).len(), 2);
        assert!(rest.after(2).is_empty() && rest.after(3).is_empty());
        assert_eq!(rest.after(2).first(1), b"");
        let alike = Messages::from_iter(["one", "two", "three", "six"]);
        let counts = |at: usize| alike.all().after(at).alike(3);
        assert_eq!([0, 1, 2, 3, 4].map(counts), [2, 1, 0, 1, 0]);
    }
}
