//! Frames told apart on their way to the `h2` crate. Those that it would take, or of which it would say something else than
//! RFC 9113 does, go no further.

use h2::Reason;

use super::gauge::Talk;

/// Bytes of the preface, which is no frame.
const PREFACE_BYTES: usize = 24;

/// Bytes of a frame's head: length (3), type, flags, stream (4).
const FRAME_HEAD: usize = 9;

/// Bytes of a setting: name (2), value (4).
const SETTING: usize = 6;

/// Tells frames apart.
#[derive(Debug)]
pub(super) struct Watch {
    /// Bytes to come of the frame (or preface) that has begun.
    left: usize,
    /// What is collected: a frame's head, or a setting.
    part: [u8; FRAME_HEAD],
    filled: usize,
    /// In a frame of settings.
    is_settings: bool,
    /// Nothing has come but the preface.
    is_first: bool,
}

impl Watch {
    /// Of a connection that begins.
    pub(super) fn new() -> Self {
        let part = [0; FRAME_HEAD];
        Self { left: PREFACE_BYTES, part, filled: 0, is_settings: false, is_first: true }
    }

    /// Takes note of what came; gives how much of it may be looked at, and why not the rest.
    pub(super) fn see(&mut self, talk: &Talk, mut bytes: &[u8]) -> Result<(), (usize, Reason)> {
        let all = bytes.len();
        while !bytes.is_empty() {
            if self.left > 0 && !self.is_settings {
                let over = self.left.min(bytes.len());
                self.left -= over;
                bytes = bytes.get(over..).unwrap_or_default();
                continue;
            }
            let before = all - bytes.len();
            let length = if self.left > 0 { SETTING } else { FRAME_HEAD };
            let n = (length - self.filled).min(bytes.len());
            if let (Some(to), Some(from)) =
                (self.part.get_mut(self.filled..self.filled + n), bytes.get(..n))
            {
                to.copy_from_slice(from);
            }
            self.filled += n;
            bytes = bytes.get(n..).unwrap_or_default();
            if self.filled == length {
                self.filled = 0;
                let judged = if self.left > 0 { self.set() } else { self.begin(talk) };
                judged.map_err(|reason| (before, reason))?;
            }
        }
        Ok(())
    }

    /// A setting has come.
    fn set(&mut self) -> Result<(), Reason> {
        const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];
        self.left -= SETTING;
        let [a, b, value, ..] = self.part;
        // 2^31-1 is the most.
        let is_wrong = [a, b] == INITIAL_WINDOW_SIZE && value > 0x7f;
        if is_wrong { Err(Reason::FLOW_CONTROL_ERROR) } else { Ok(()) }
    }

    /// A frame's head has come.
    fn begin(&mut self, talk: &Talk) -> Result<(), Reason> {
        /// DATA, HEADERS and CONTINUATION.
        const CARRIERS: [u8; 3] = [0, 1, 9];
        const SETTINGS: u8 = 4;
        const ACK: u8 = 1;
        let [a, b, c, kind, flags, ..] = self.part;
        let is_ack = flags & ACK != 0;
        if std::mem::take(&mut self.is_first) && (kind != SETTINGS || is_ack) {
            // RFC 9113 3.4: what follows the preface is part of it.
            return Err(Reason::PROTOCOL_ERROR);
        }
        let length = u32::from_be_bytes([0, a, b, c]);
        if !may_have(kind, is_ack, length) {
            return Err(Reason::FRAME_SIZE_ERROR);
        }
        self.left = usize::try_from(length).unwrap_or(usize::MAX);
        self.is_settings = kind == SETTINGS;
        let bytes = u64::from(length) + FRAME_HEAD as u64;
        if length > 0 && CARRIERS.contains(&kind) {
            talk.add_useful(bytes);
        } else {
            talk.add_futile(bytes);
        }
        Ok(())
    }
}

/// True when a frame of this kind may have this length, as far as that is fixed (RFC 9113 6.3 to 6.9).
fn may_have(kind: u8, is_ack: bool, length: u32) -> bool {
    match kind {
        // PRIORITY
        2 => length == 5,
        // RST_STREAM, WINDOW_UPDATE
        3 | 8 => length == 4,
        // SETTINGS
        4 if is_ack => length == 0,
        4 => length.is_multiple_of(6),
        // PING
        6 => length == 8,
        // GOAWAY
        7 => length >= 8,
        // DATA, HEADERS, PUSH_PROMISE and CONTINUATION; what nobody knows.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, 0, 0, 0, 0, 1];
        // Whatever a setting has for a value.
        bytes.resize(FRAME_HEAD + payload, 7);
        bytes
    }

    /// Futile and useful bytes of these frames, read in pieces of `step`.
    fn seen(frames: &[(u8, usize)], step: usize) -> (u64, u64) {
        let talk = Talk::default();
        let mut watch = Watch::new();
        let mut all = PREFACE.to_vec();
        for (kind, payload) in frames {
            all.extend(frame(*kind, *payload));
        }
        for piece in all.chunks(step) {
            watch.see(&talk, piece).unwrap();
        }
        talk.counted()
    }

    #[test]
    fn frames_are_told_apart_however_they_come() {
        let frames = [(4, 0), (1, 20), (0, 100), (0, 0), (6, 8), (9, 5), (3, 4), (8, 4)];
        for step in [1, 2, 7, 9, 24, 1000] {
            let futile = 9 + 9 + 17 + 13 + 13;
            assert_eq!(seen(&frames, step), (futile, 29 + 109 + 14), "in pieces of {step}");
        }
    }

    /// Bytes that pass, and the reason, of what is said in pieces of `step`.
    fn faulty(said: &[u8], step: usize) -> (usize, Option<Reason>) {
        let (talk, mut watch, mut passed) = (Talk::default(), Watch::new(), 0);
        for piece in said.chunks(step) {
            match watch.see(&talk, piece) {
                Ok(()) => passed += piece.len(),
                Err((may, reason)) => return (passed + may, Some(reason)),
            }
        }
        (passed, None)
    }

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    #[test]
    fn a_frame_that_cannot_have_its_length_goes_no_further() {
        let good = [(4, 6), (6, 8), (8, 4), (2, 5), (3, 4), (7, 8), (7, 20), (99, 3), (4, 0)];
        let mut said = PREFACE.to_vec();
        said.extend(good.iter().flat_map(|(kind, payload)| frame(*kind, *payload)));
        for bad in [(6, 7), (6, 9), (4, 5), (8, 3), (2, 6), (3, 5), (7, 7)] {
            let all = [&said[..], &frame(bad.0, bad.1)].concat();
            for step in [1, 5, 1000] {
                let (passed, reason) = faulty(&all, step);
                assert_eq!(reason, Some(Reason::FRAME_SIZE_ERROR), "{bad:?} in pieces of {step}");
                // No more than a part of its head.
                assert!((said.len()..said.len() + FRAME_HEAD).contains(&passed), "{passed}");
            }
        }
    }

    #[test]
    fn settings_come_first_and_have_values_that_can_be() {
        let settings = |values: &[u32]| {
            let mut all = frame(4, 0);
            all[2] = u8::try_from(6 * values.len()).unwrap();
            for value in values {
                all.extend([0, 4].into_iter().chain(value.to_be_bytes()));
            }
            all
        };
        for (said, want) in [
            (settings(&[0, 0x7fff_ffff]), None),
            (settings(&[0, 0x8000_0000]), Some(Reason::FLOW_CONTROL_ERROR)),
            (settings(&[u32::MAX, 0]), Some(Reason::FLOW_CONTROL_ERROR)),
            (frame(6, 8), Some(Reason::PROTOCOL_ERROR)),
            (frame(1, 8), Some(Reason::PROTOCOL_ERROR)),
        ] {
            let all = [PREFACE, &said, &frame(6, 8)].concat();
            for step in [1, 5, 1000] {
                assert_eq!(faulty(&all, step).1, want, "{said:?} in pieces of {step}");
            }
        }
    }
}
