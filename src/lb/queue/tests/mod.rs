//! Who waits in line, without sockets.

mod limits;
mod threads;
mod turns;

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::lb::backend::SlotArena;
use crate::lb::balancer::testing::member_in;
use crate::lb::fixed::{FixedPool, fixed};
use crate::lb::lease::Lease;
use crate::lb::snapshot::{Member, Picker};
use crate::lb::{PickContext, PickError};

fn pool(servers: u16, max: u32) -> FixedPool {
    let addrs: Vec<_> = (1..=servers).map(|port| ([127, 0, 0, 1], port).into()).collect();
    fixed("test", &addrs, NonZeroU32::new(max), 1)
}

fn acquire(pool: &FixedPool) -> Result<Lease, PickError> {
    pool.handle.acquire(PickContext::default())
}

fn line_up(pool: &FixedPool) -> Place {
    pool.handle.line_up(PickContext::default()).unwrap()
}

/// What has come of a place.
fn look(place: &mut Place) -> Option<(Lease, Ahead)> {
    match Pin::new(place).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(served) => Some(served),
        Poll::Pending => None,
    }
}

/// Sends everybody to wait for the first member.
#[derive(Debug)]
struct FirstOnly;

impl Picker for FirstOnly {
    fn pick(&self, members: &[Member], cx: PickContext<'_>) -> Option<usize> {
        members.first().filter(|m| !m.is_full_for(cx)).map(|_| 0)
    }
    fn wait_for(&self, _members: &[Member], _cx: PickContext<'_>) -> Option<usize> {
        Some(0)
    }
}

/// A cell with a snapshot of `members` in which everybody waits for the first.
fn bound(arena: &SlotArena, members: &[Member]) -> Arc<ArcSwap<Snapshot>> {
    first(arena.queue(), snapshot(members, Box::new(FirstOnly)))
}

fn snapshot(members: &[Member], picker: Box<dyn Picker>) -> Snapshot {
    let (known, up) = (members.len(), members.len());
    Snapshot { revision: 1, known, up, members: members.into(), picker }
}
