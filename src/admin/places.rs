//! Places for connections: how many there are, and who makes room when all are taken.
//!
//! A probe of `/live` must not wait for clients that do not move, whether they hold their places by mistake or on purpose.
//! So whoever comes while all places are taken gets that of the client that has moved least recently: one that is
//! idle, does not finish its request or does not read its answer. Nobody has to go while its answer is made, nor at once
//! when it has come or was answered: many that come together and ask one thing each wait for each other. Where all are busy,
//! the one that has been there longest is asked to end after its present answer.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Connections at the same time. One more is accepted, and gets a place or waits; others wait in the listener's queue.
///
/// Monitoring needs a handful. The bound keeps a leaking client from eating the descriptors that traffic needs.
pub(super) const MAX_CONNECTIONS: usize = 64;

/// What a client gets to go on, once it has come or its answer is made, before its place is given to another; and the time
/// between two looks at the places by one who waits for one.
pub(super) const LEAST_WAIT: Duration = Duration::from_millis(100);

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    /// In the order in which they were taken.
    taken: Mutex<Vec<Weak<Seat>>>,
}

/// A place that is taken. Free again when the last handle is gone.
#[derive(Debug)]
pub(super) struct Seat {
    turn: Mutex<Turn>,
    /// Another one needs it.
    needed: CancellationToken,
    /// Another one waits for it.
    wanted: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// An answer is made.
    Ours,
    /// The client has to ask, or to take its answer.
    Theirs {
        /// When its turn began.
        since: Instant,
        /// When it last took something, or `since`.
        moved: Instant,
    },
}

impl Turn {
    fn theirs() -> Self {
        let now = Instant::now();
        Self::Theirs { since: now, moved: now }
    }
}

impl Places {
    pub(super) fn new() -> Self {
        Self { free: Arc::new(Semaphore::new(MAX_CONNECTIONS)), taken: Mutex::default() }
    }

    /// A place for one who has come. Who waits in vain for [`LEAST_WAIT`] looks again who could go.
    pub(super) async fn take(&self) -> io::Result<Arc<Seat>> {
        let mut permit = Arc::clone(&self.free).try_acquire_owned().ok();
        while permit.is_none() {
            self.make_room();
            let freed = Arc::clone(&self.free).acquire_owned();
            if let Ok(freed) = tokio::time::timeout(LEAST_WAIT, freed).await {
                permit = Some(freed.map_err(io::Error::other)?);
            }
        }
        let permit = permit.ok_or_else(|| io::Error::other("no place"))?;
        let seat = Arc::new(Seat {
            turn: Mutex::new(Turn::theirs()),
            needed: CancellationToken::new(),
            wanted: CancellationToken::new(),
            _permit: permit,
        });
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|seat| seat.strong_count() > 0);
        taken.push(Arc::downgrade(&seat));
        Ok(seat)
    }

    /// Sends somebody away; if there is nobody, asks somebody to go soon.
    fn make_room(&self) {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let seats = || taken.iter().filter_map(Weak::upgrade);
        let stuck = seats()
            .filter(|seat| !seat.needed.is_cancelled())
            .filter_map(|seat| Some((seat.stuck_since()?, seat)))
            .min_by_key(|(moved, _)| *moved);
        if let Some((_, seat)) = stuck {
            seat.needed.cancel();
        } else if !seats().any(|seat| seat.wanted.is_cancelled())
            && let Some(oldest) = seats().next()
        {
            // One at a time: who has been asked still finishes its answer.
            oldest.wanted.cancel();
        }
    }
}

impl Seat {
    /// Resolves when the connection is to be closed at once.
    pub(super) async fn needed(&self) {
        self.needed.cancelled().await;
    }

    /// Resolves when the connection is to end after its present answer.
    pub(super) async fn wanted(&self) {
        self.wanted.cancelled().await;
    }

    /// The client has taken some of its answer.
    pub(super) fn has_moved(&self) {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Turn::Theirs { moved, .. } = &mut *turn {
            *moved = Instant::now();
        }
    }

    /// An answer is made until this is dropped.
    pub(super) fn busy(&self) -> Busy<'_> {
        self.set(Turn::Ours);
        Busy(self)
    }

    fn set(&self, turn: Turn) {
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = turn;
    }

    /// When its client last moved, if that could make room.
    fn stuck_since(&self) -> Option<Instant> {
        match *self.turn.lock().unwrap_or_else(PoisonError::into_inner) {
            Turn::Theirs { since, moved } if since.elapsed() >= LEAST_WAIT => Some(moved),
            Turn::Theirs { .. } | Turn::Ours => None,
        }
    }
}

/// See [`Seat::busy`].
#[derive(Debug)]
pub(super) struct Busy<'s>(&'s Seat);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.set(Turn::theirs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all_taken(places: &Places) -> Vec<Arc<Seat>> {
        let mut seats = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            seats.push(places.take().await.unwrap());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        seats
    }

    /// Takes a place that the first of `seats` is told to leave, and how long that took.
    async fn first_to_go(places: &Places, seats: &[Arc<Seat>]) -> (usize, Duration) {
        let begun = Instant::now();
        let told = async {
            loop {
                if let Some(at) = seats.iter().position(|seat| seat.needed.is_cancelled()) {
                    return (at, begun.elapsed());
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            biased;
            _seat = places.take() => unreachable!("nobody has left"),
            told = told => told,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_has_moved_least_recently_makes_room() {
        let places = Places::new();
        let seats = all_taken(&places).await;
        let (at, after) = first_to_go(&places, &seats).await;
        assert_eq!(at, 0);
        assert!(after <= LEAST_WAIT + Duration::from_millis(1), "{after:?}");
        let seats = seats.get(1..).unwrap();
        tokio::time::advance(LEAST_WAIT).await;
        for seat in seats.iter().filter(|seat| !Arc::ptr_eq(seat, &seats[40])) {
            seat.has_moved();
        }
        assert_eq!(first_to_go(&places, seats).await, (40, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_just_come_or_is_served_stays() {
        let places = Places::new();
        let seats = all_taken(&places).await;
        tokio::time::advance(LEAST_WAIT).await;
        let busy: Vec<_> = seats.iter().map(|seat| seat.busy()).collect();
        tokio::time::advance(LEAST_WAIT).await;
        drop(busy);
        let (_, after) = first_to_go(&places, &seats).await;
        assert!(after >= LEAST_WAIT, "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_are_served_the_oldest_is_asked_to_end() {
        let places = Places::new();
        let mut seats = all_taken(&places).await;
        let busy: Vec<_> = seats.iter().map(|seat| seat.busy()).collect();
        let waiting = tokio::time::timeout(2 * LEAST_WAIT + LEAST_WAIT / 2, places.take());
        assert!(waiting.await.is_err());
        let wanted: Vec<bool> = seats.iter().map(|seat| seat.wanted.is_cancelled()).collect();
        assert_eq!(wanted.iter().filter(|wanted| **wanted).count(), 1);
        assert!(wanted[0] && seats.iter().all(|seat| !seat.needed.is_cancelled()));
        drop(busy);
        drop(seats.remove(0));
        places.take().await.unwrap();
    }
}
