//! Syslog servers: a datagram for each line.

mod socket;

use std::io::{self, ErrorKind, IoSlice};

use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

use self::socket::{Meaning, Socket, Standing, connect, connect_to};
use super::alike::{self, Departure};
use super::lookup::Lookup;
use super::messages::Rest;
use super::sink::{Again, Sent};
use crate::telemetry::access::target::Place;

/// Datagrams per system call.
const AT_ONCE: usize = 64;

/// A socket, connected with the first line.
#[derive(Debug)]
pub(super) struct Datagrams {
    place: Place,
    socket: Option<Socket>,
    lookup: Lookup,
    /// What stood at the path when it was last looked at.
    seen: Option<Standing>,
    /// Datagrams in the last send: refused together, if they were.
    former: usize,
    /// The last send was of the present batch.
    is_own: bool,
}

/// A send, or several in one system call.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    tried: usize,
    /// The kernel took so many.
    sent: usize,
    /// As one: all or none.
    is_train: bool,
}

impl Datagrams {
    pub(super) fn new(place: Place) -> Self {
        Self {
            place,
            socket: None,
            lookup: Lookup::default(),
            seen: None,
            former: 0,
            is_own: false,
        }
    }

    /// Another socket, if there is one and it is not connected to where it should be. With an error the old one stays; when a
    /// name takes long, until it is known.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if self.socket.is_none() {
            return Ok(());
        }
        self.lookup = Lookup::default();
        let new = connect(&self.place, &mut self.lookup)?;
        self.replace(new);
        Ok(())
    }

    fn replace(&mut self, new: Socket) {
        if !self.socket.as_ref().is_some_and(|old| old.has_peer_of(&new)) {
            self.socket = Some(new);
            self.former = 0;
        }
    }

    /// The name that a reload has not waited for.
    fn follow_name(&mut self) {
        if self.socket.is_some()
            && let Some(Ok(addr)) = self.lookup.finished()
            && let Ok(new) = connect_to(addr)
        {
            self.replace(new);
        }
    }

    /// True when something else stands at the path than in the last batch: worth a try, whatever has failed.
    pub(super) fn is_replaced(&self) -> bool {
        let now = Standing::at(&self.place);
        now.is_some() && now != self.seen
    }

    /// Goes over to what stands at the path now; true if that is another socket than before. The old one may be open still,
    /// and would take lines that its owner has no use for. It stays if the new one cannot be connected to.
    fn follow_path(&mut self) -> bool {
        self.seen = Standing::at(&self.place);
        let Some(Socket::Unix { at, .. }) = &self.socket else {
            return false;
        };
        if self.seen.is_none() || self.seen == *at {
            return false;
        }
        let Ok(new) = connect(&self.place, &mut self.lookup) else {
            return false;
        };
        self.socket = Some(new);
        true
    }

    /// Sends each message. Those of one length that follow each other cost a UDP server's sender little.
    pub(super) fn send(&mut self, all: Rest<'_>) -> Sent {
        let mut rest = all;
        let mut sent = Sent::default();
        self.is_own = false;
        self.ask_about_former(&mut sent);
        self.follow_name();
        self.follow_path();
        let mut is_fresh = false;
        let mut was_short = false;
        while !rest.is_empty() {
            let socket = match &mut self.socket {
                Some(socket) => socket,
                None => match connect(&self.place, &mut self.lookup) {
                    Ok(socket) => {
                        is_fresh = true;
                        self.socket.insert(socket)
                    }
                    Err(error) => return give_up(sent, rest.len(), error),
                },
            };
            let error = match send_some(socket, rest) {
                Ok(attempt) => {
                    // Of several datagrams the kernel gives the number alone, not the error that stopped it. One that is
                    // gone now was about the datagram before.
                    if was_short && matches!(socket, Socket::Udp { .. }) {
                        sent.lose(1, ErrorKind::ConnectionRefused.into());
                    }
                    was_short = attempt.sent < attempt.tried;
                    self.former = if attempt.is_train { attempt.sent } else { 1 };
                    self.is_own = true;
                    rest = rest.after(attempt.sent.max(1));
                    continue;
                }
                Err(error) => error,
            };
            was_short = false;
            match socket.meaning(&error) {
                Meaning::Nothing => {}
                Meaning::Former => self.lose_former(&mut sent, error),
                Meaning::This => {
                    sent.lose(1, error);
                    rest = rest.after(1);
                }
                // Its successor stands there since the batch began.
                Meaning::Full if self.follow_path() => {}
                Meaning::Full => return give_up(sent, rest.len(), error),
                Meaning::Gone if is_fresh => {
                    self.socket = None;
                    return give_up(sent, rest.len(), error);
                }
                Meaning::Gone => self.socket = None,
            }
        }
        self.ask_about_former(&mut sent);
        sent.lost = sent.lost.min(all.len());
        sent
    }

    /// Hears what became of the last send. A server on this host that is missing has refused it already; of others, and of
    /// a path that is too narrow, the next batch hears, and must not take it for its own failure.
    fn ask_about_former(&mut self, sent: &mut Sent) {
        if let Some(Socket::Udp { socket, .. }) = &self.socket
            && let Ok(Some(error)) = socket.take_error()
        {
            self.lose_former(sent, error);
        }
    }

    fn lose_former(&mut self, sent: &mut Sent, error: io::Error) {
        let former = std::mem::take(&mut self.former);
        if self.is_own {
            sent.lose(former, error);
        } else {
            sent.lost_before += former;
            sent.note_failure(error);
        }
    }
}

impl Sent {
    /// So many are lost, the others are worth a try.
    fn lose(&mut self, count: usize, error: io::Error) {
        self.lost += count;
        self.note_failure(error);
    }

    /// Why some are lost, now or before. What comes next is worth a try.
    fn note_failure(&mut self, error: io::Error) {
        self.failed = Some((error, Again::Soon));
    }
}

fn give_up(sent: Sent, rest: usize, error: io::Error) -> Sent {
    Sent { lost: sent.lost + rest, failed: Some((error, Again::Later)), ..sent }
}

/// Sends some of `messages`.
fn send_some(socket: &mut Socket, messages: Rest<'_>) -> io::Result<Attempt> {
    let mut tried = messages.len().min(AT_ONCE);
    if let Socket::Udp { socket: udp, limits } = socket {
        let count = alike::train(messages, *limits);
        if count > 0 {
            match alike::send(udp, (messages.first(count), count), *limits)? {
                Departure::Gone => {
                    return Ok(Attempt { tried: count, sent: count, is_train: true });
                }
                Departure::Refused(narrower) => {
                    *limits = narrower;
                    return send_some(socket, messages);
                }
            }
        }
        tried = alike::before_train(messages, *limits).min(tried);
    }
    let slices: Vec<[IoSlice<'_>; 1]> =
        messages.iter().take(tried).map(|text| [IoSlice::new(text)]).collect();
    let mut controls: Vec<_> = slices.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let mut headers: Vec<_> = slices
        .iter()
        .zip(&mut controls)
        .map(|(slice, control)| MMsgHdr::new(slice, control))
        .collect();
    let sent = sendmmsg(socket, &mut headers, SendFlags::NOSIGNAL)?;
    Ok(Attempt { tried, sent, is_train: false })
}

#[cfg(test)]
mod tests;
