//! What the relay does not let through to the client crate.
//!
//! The crate trusts lengths: it collects a frame of any size, and for a list of names it allocates as many entries as the
//! answer claims to hold. 2^31 claimed entries (51 GB) abort the whole process, which no task boundary contains. So the
//! relay follows the frames of both directions, without holding them, and ends a connection that lies about sizes. Other
//! nonsense costs an error or a panic in the task of that call.

use std::collections::HashSet;
use std::io;
use std::sync::{Mutex, PoisonError};

use super::dial::be_u32;

/// Largest answer. 50,000 names are 2 MB, 500 nodes of 100 kB are 50 MB; the server's own limit for one node is 1 MiB.
const ANSWER_MAX_BYTES: usize = 64 << 20;

/// Length, xid, opcode.
const REQUEST_HEAD_BYTES: usize = 12;

/// Length, xid, zxid, error, and the first four bytes of the body.
const ANSWER_HEAD_BYTES: usize = 24;

/// xid, zxid, error: no answer is shorter.
const ANSWER_MIN_BYTES: usize = 16;

/// `getChildren` and `getChildren2`, whose answers begin with a count.
const LISTS: [u32; 2] = [8, 12];

/// The requests under way whose answers are lists, by xid. Shared by the two directions of one connection.
#[derive(Debug, Default)]
pub(super) struct Lists(Mutex<HashSet<u32>>);

impl Lists {
    fn asked(&self, xid: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(xid);
    }

    fn answered(&self, xid: u32) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&xid)
    }
}

/// Checks one direction, chunk by chunk, before the chunk is passed on.
pub(super) trait Check {
    /// # Errors
    /// When the connection must end; the chunk must not be passed on then.
    fn check(&mut self, chunk: &[u8]) -> io::Result<()>;
}

/// Client to member: notes which requests ask for lists.
#[derive(Debug)]
pub(super) struct Requests<'a> {
    frames: Frames,
    lists: &'a Lists,
}

/// Member to client: refuses sizes that cannot be true.
#[derive(Debug)]
pub(super) struct Answers<'a> {
    frames: Frames,
    lists: &'a Lists,
}

impl<'a> Requests<'a> {
    pub(super) fn new(lists: &'a Lists) -> Self {
        Self { frames: Frames::new(REQUEST_HEAD_BYTES), lists }
    }
}

impl<'a> Answers<'a> {
    pub(super) fn new(lists: &'a Lists) -> Self {
        Self { frames: Frames::new(ANSWER_HEAD_BYTES), lists }
    }
}

impl Check for Requests<'_> {
    fn check(&mut self, chunk: &[u8]) -> io::Result<()> {
        let lists = self.lists;
        self.frames.follow(chunk, |_, head| {
            if LISTS.contains(&word(head, 2)) {
                lists.asked(word(head, 1));
            }
            Ok(())
        })
    }
}

impl Check for Answers<'_> {
    fn check(&mut self, chunk: &[u8]) -> io::Result<()> {
        let lists = self.lists;
        self.frames.follow(chunk, |length, head| {
            if !(ANSWER_MIN_BYTES..=ANSWER_MAX_BYTES).contains(&length) {
                return Err(lie(format!("announces an answer of {length} bytes")));
            }
            let is_list = lists.answered(word(head, 1)) && word(head, 4) == 0;
            let names = i32::from_be_bytes(word(head, 5).to_be_bytes());
            let names = usize::try_from(names).unwrap_or(0);
            // An empty name still has its length.
            if is_list && names > length / 4 {
                return Err(lie(format!("announces {names} names in an answer of {length} bytes")));
            }
            Ok(())
        })
    }
}

fn lie(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// The `index`th 32-bit word of a frame's head; 0 when the frame is shorter.
fn word(head: &[u8], index: usize) -> u32 {
    head.chunks_exact(4).nth(index).map_or(0, be_u32)
}

/// Length-prefixed frames in a stream that is cut anywhere. Holds the head of one frame at most.
#[derive(Debug)]
struct Frames {
    head_bytes: usize,
    head: Vec<u8>,
    rest_bytes: usize,
}

impl Frames {
    fn new(head_bytes: usize) -> Self {
        Self { head_bytes, head: Vec::with_capacity(head_bytes), rest_bytes: 0 }
    }

    /// Calls `on_head` with the length and the first bytes of each frame, as soon as they are known.
    fn follow(
        &mut self,
        mut chunk: &[u8],
        mut on_head: impl FnMut(usize, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        while !chunk.is_empty() {
            let skipped = self.rest_bytes.min(chunk.len());
            self.rest_bytes -= skipped;
            let (_, left) = chunk.split_at(skipped);
            let wanted = self.wanted().saturating_sub(self.head.len());
            let (taken, left) = left.split_at(wanted.min(left.len()));
            // Not before the former frame is through.
            if self.rest_bytes > 0 {
                return Ok(());
            }
            self.head.extend_from_slice(taken);
            chunk = left;
            if self.head.len() >= 4 && self.head.len() == self.wanted() {
                let length = self.length();
                on_head(length, &self.head)?;
                self.rest_bytes = length.saturating_add(4) - self.head.len();
                self.head.clear();
            }
        }
        Ok(())
    }

    /// Bytes of the head to collect: the length first, then as much of the frame as there is.
    fn wanted(&self) -> usize {
        if self.head.len() < 4 { 4 } else { self.length().saturating_add(4).min(self.head_bytes) }
    }

    fn length(&self) -> usize {
        usize::try_from(word(&self.head, 0)).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(words: &[u32], body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(words.len() * 4 + body.len()).unwrap();
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        bytes.extend(body);
        bytes
    }

    fn answer_to(opcode: u32, answer: &[u8]) -> io::Result<()> {
        let lists = Lists::default();
        Requests::new(&lists).check(&frame(&[7, opcode], b"path")).unwrap();
        Answers::new(&lists).check(answer)
    }

    #[test]
    fn a_list_that_claims_more_names_than_bytes_is_refused() {
        let lie = frame(&[7, 0, 1, 0, 0x7fff_ffff], b"");
        let text = answer_to(12, &lie).unwrap_err().to_string();
        assert_eq!(text, "announces 2147483647 names in an answer of 20 bytes");
        assert!(answer_to(8, &lie).is_err());
        // The same bytes are data in the answer to getData, and nothing at all beside an error.
        assert!(answer_to(4, &lie).is_ok());
        assert!(answer_to(12, &frame(&[7, 0, 1, 0xffff_ff9b, 0x7fff_ffff], b"")).is_ok());
    }

    #[test]
    fn honest_lists_pass() {
        assert!(answer_to(12, &frame(&[7, 0, 1, 0, 2, 0, 0], &[0; 68])).is_ok());
        assert!(answer_to(12, &frame(&[7, 0, 1, 0, 0xffff_ffff], &[0; 68])).is_ok());
    }

    #[test]
    fn frames_beyond_all_limits_are_refused() {
        assert!(answer_to(4, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 7]).is_ok());
        let head = [&[0x7f, 0xff, 0xff, 0xff][..], &[0; 20]].concat();
        assert!(answer_to(4, &head).is_err());
        assert!(answer_to(4, &frame(&[7], b"")).is_err());
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..20),
            cuts in prop::collection::vec(1_usize..30, 1..60),
        ) {
            let stream: Vec<u8> = bodies.iter().flat_map(|body| frame(&[], body)).collect();
            let mut frames = Frames::new(ANSWER_HEAD_BYTES);
            let mut seen = Vec::new();
            let mut rest = stream.as_slice();
            for cut in cuts.iter().cycle() {
                let (chunk, left) = rest.split_at((*cut).min(rest.len()));
                frames.follow(chunk, |length, head| {
                    seen.push((length, head.to_vec()));
                    Ok(())
                }).unwrap();
                rest = left;
                if rest.is_empty() {
                    break;
                }
            }
            let expected: Vec<_> = bodies.iter().map(|body| {
                let bytes = frame(&[], body);
                (body.len(), bytes[..bytes.len().min(ANSWER_HEAD_BYTES)].to_vec())
            }).collect();
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn any_bytes_are_followed_without_a_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..30)) {
            let lists = Lists::default();
            let mut answers = Answers::new(&lists);
            for chunk in chunks {
                if answers.check(&chunk).is_err() {
                    break;
                }
            }
        }
    }
}
