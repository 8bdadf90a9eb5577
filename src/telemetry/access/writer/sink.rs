//! One target, open or not, and its lines of a batch.

use std::time::Duration;

use super::datagram::Datagrams;
use super::file::AppendFile;
use super::head::Heads;
use super::messages::Messages;
use super::outage::Outage;
use crate::telemetry::access::batch::{Batch, Line};
use crate::telemetry::access::clock::Clock;
use crate::telemetry::access::counts::{self, Loss};
use crate::telemetry::access::format;
use crate::telemetry::access::target::{Framing, Place, Target};

/// Fewer lines keep their order: there is little to be saved. 64 in a batch are 640 a second.
pub(super) const SORTED_FROM: usize = 64;

/// What an IPv4 datagram carries less the line end: a longer one is not sent at all.
const MAX_UDP_LEN: usize = 65_535 - 20 - 8 - 1;

/// How long one send waits for room: a unix socket takes a few dozen lines (`net.unix.max_dgram_qlen`), fewer than a
/// batch has, and a receiver that is awake makes room within this time; so does the reader of a pipe.
pub(super) const SEND_WAIT: Duration = Duration::from_millis(20);

/// A target and what is open for it.
#[derive(Debug)]
pub(super) struct Sink {
    target: Target,
    way: Way,
    outage: Outage,
    clock: Clock,
    heads: Heads,
    messages: Messages,
    /// Nothing has failed since the last batch but one: of a datagram that is refused on another host only the next batch
    /// hears, so one that goes well says little.
    was_well: bool,
}

/// How messages leave.
#[derive(Debug)]
enum Way {
    File(AppendFile),
    Datagrams(Datagrams),
}

impl Way {
    /// True when what failed is no longer what stands at the target's path.
    fn is_replaced(&self) -> bool {
        match self {
            Self::File(_) => false,
            Self::Datagrams(socket) => socket.is_replaced(),
        }
    }
}

/// How a batch of messages fared.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) lost: usize,
    /// Of earlier batches, which were thought to be written.
    pub(super) lost_before: usize,
    /// A failure, and whether it is worth while to try again at once.
    pub(super) failed: Option<(std::io::Error, Again)>,
}

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// With the next batch.
    Soon,
    /// After a while.
    Later,
}

impl Sink {
    pub(super) fn new(target: Target) -> Self {
        let way = match &target.place {
            Place::Stdout | Place::Stderr | Place::File(_) => {
                Way::File(AppendFile::new(target.place.clone()))
            }
            Place::Udp(_) | Place::Unix(_) => Way::Datagrams(Datagrams::new(target.place.clone())),
        };
        Self {
            target,
            way,
            outage: Outage::none(),
            clock: Clock::default(),
            heads: Heads::default(),
            messages: Messages::default(),
            was_well: false,
        }
    }

    /// Writes those lines of `batch` that are for this target. What cannot be written is lost and counted.
    pub(super) fn write(&mut self, batch: &Batch) {
        self.collect(batch);
        let count = self.messages.ends.len();
        if count == 0 {
            return;
        }
        if self.outage.is_waiting() {
            if !self.way.is_replaced() {
                self.lose(count);
                return;
            }
            self.outage.be_impatient();
        }
        let sent = match &mut self.way {
            Way::File(file) => file.write(&self.messages),
            Way::Datagrams(socket) => socket.send(self.messages.all()),
        };
        counts::add_written(count.saturating_sub(sent.lost));
        let is_well = sent.failed.is_none();
        match sent.failed {
            Some((error, Again::Later)) => self.outage.begin(&self.target.place, &error),
            Some((error, Again::Soon)) => self.outage.told(&self.target.place, &error),
            None if self.was_well || !self.hears_late() => self.outage.end(&self.target.place),
            None => {}
        }
        self.was_well = is_well;
        self.lose(sent.lost + sent.lost_before);
    }

    /// Opens what is open anew, and tries at once what has failed.
    pub(super) fn reopen(&mut self) {
        self.outage.be_impatient();
        let renewed = match &mut self.way {
            Way::File(file) => file.reopen(),
            Way::Datagrams(socket) => socket.reopen(),
        };
        if let Err(error) = renewed {
            let target = &self.target.place;
            tracing::warn!(%target, %error, "access log: cannot be opened anew, the old one goes on");
        }
    }

    fn hears_late(&self) -> bool {
        matches!(self.target.place, Place::Udp(_))
    }

    fn lose(&mut self, lines: usize) {
        let reason = match self.way {
            Way::File(_) => Loss::File,
            Way::Datagrams(_) => Loss::Receiver,
        };
        reason.add(lines);
        self.outage.lose(lines);
    }

    /// The messages of this target, cut to its length. To a UDP server many are sorted by length, because those of one
    /// length cost little; datagrams may overtake each other anyway, and each line has its time.
    fn collect(&mut self, batch: &Batch) {
        let Self { target, clock, heads, messages, .. } = self;
        messages.clear();
        let mine: Vec<bool> =
            batch.targets.iter().map(|targets| targets.list().contains(target)).collect();
        let is_mine = |line: &Line| mine.get(line.targets).is_some_and(|is_mine| *is_mine);
        let mut lines: Vec<(&Line, &[u8])> = batch
            .iter()
            .filter(|(line, _)| is_mine(line) && line.level <= target.max_level)
            .collect();
        if matches!(target.place, Place::Udp(_)) && lines.len() >= SORTED_FROM {
            // Of another level the head may be longer.
            lines.sort_by_key(|(line, text)| (text.len(), line.level));
        }
        let max_len = match target.place {
            Place::Udp(_) => target.max_len.min(MAX_UDP_LEN),
            Place::Stdout | Place::Stderr | Place::File(_) | Place::Unix(_) => target.max_len,
        };
        let Messages { bytes, ends } = messages;
        for (line, text) in lines {
            let begin = bytes.len();
            if target.framing != Framing::Raw {
                heads.push(bytes, (&*target, &mut *clock), line.level, line.at);
            }
            let start = bytes.len();
            bytes.extend_from_slice(text);
            // The line end comes on top, as with haproxy.
            if bytes.len() - begin > max_len + 1 {
                bytes.pop();
                match (begin + max_len).checked_sub(start) {
                    Some(room) => format::cut(bytes, start, room),
                    // The head alone is too long.
                    None => bytes.truncate(begin + max_len),
                }
                bytes.push(b'\n');
            }
            ends.push(bytes.len());
        }
    }
}
