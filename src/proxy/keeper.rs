//! What a worker has of a scarce thing of the system, such as pipes: lent, kept for the next, and never more than a bound.
//!
//! Making one costs system calls, and the system may have none. So what comes back is kept, a few of them, and after a
//! refusal the system is left alone for a while ([`ASK_AGAIN`]); whatever is kept or comes back meanwhile is lent as ever.
//!
//! Each thing has a [`Place`] within itself, so whoever drops one has given its place back: nothing that is lost on its
//! way counts for ever. The bound holds for what is alive, lent or kept. Not for what costs nothing to make
//! ([`super::http`] has spare buffers), nor for what is shared by several threads.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

/// The system is asked again so long after it had none: five system calls in vain for each read (a pipe) cost more than
/// doing without.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Lends things of one kind.
#[derive(Debug)]
pub(super) struct Keeper<T> {
    idle: Vec<T>,
    /// Alive, lent or idle.
    alive: Rc<Cell<u32>>,
    most: u32,
    /// Idle ones at most; more are dropped.
    spares: usize,
    /// The system had none; it is asked again then.
    again: Option<Instant>,
}

impl<T> Keeper<T> {
    /// At most `most` at once, 0: none; `spares` of them while nobody has them.
    pub(super) fn new(most: u32, spares: usize) -> Self {
        Self { idle: Vec::new(), alive: Rc::default(), most, spares, again: None }
    }

    /// One that was given back, or else what `make` makes. `None` when all are lent, or the system has or lately had none.
    pub(super) fn take(&mut self, make: impl FnOnce(Place) -> io::Result<T>) -> Option<T> {
        if let Some(idle) = self.idle.pop() {
            return Some(idle);
        }
        let is_early = self.again.is_some_and(|again| Instant::now() < again);
        if self.alive.get() >= self.most || is_early {
            return None;
        }
        match make(Place::new(&self.alive)) {
            Ok(made) => {
                self.again = None;
                Some(made)
            }
            Err(error) => {
                self.refused(&error);
                None
            }
        }
    }

    /// The system had none, or none that is of use.
    pub(super) fn refused(&mut self, error: &io::Error) {
        tracing::debug!(%error, kind = std::any::type_name::<T>(), "the system has none");
        self.again = Some(Instant::now() + ASK_AGAIN);
    }

    /// Takes back what can be lent again.
    pub(super) fn give(&mut self, thing: T) {
        if self.idle.len() < self.spares && self.most > 0 {
            self.idle.push(thing);
        }
    }

    /// Lends none any more.
    pub(super) fn close(&mut self) {
        self.most = 0;
        self.idle.clear();
    }

    /// How many there are, lent or not.
    #[cfg(test)]
    pub(super) fn alive(&self) -> u32 {
        self.alive.get()
    }

    /// How many are lent.
    #[cfg(test)]
    pub(super) fn lent(&self) -> u32 {
        self.alive.get() - u32::try_from(self.idle.len()).unwrap()
    }
}

/// A place among those alive, as long as it lives.
#[derive(Debug)]
pub(super) struct Place(Rc<Cell<u32>>);

impl Place {
    fn new(alive: &Rc<Cell<u32>>) -> Self {
        alive.set(alive.get() + 1);
        Self(Rc::clone(alive))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many makes one, and how often the system was asked.
    #[derive(Default)]
    struct System {
        is_out: bool,
        asked: usize,
    }

    impl System {
        fn take(&mut self, keeper: &mut Keeper<Place>) -> Option<Place> {
            keeper.take(|place| {
                self.asked += 1;
                if self.is_out { Err(io::ErrorKind::OutOfMemory.into()) } else { Ok(place) }
            })
        }
    }

    #[test]
    fn no_more_than_allowed_are_alive_and_what_is_dropped_makes_room() {
        let (mut keeper, mut system) = (Keeper::new(2, 2), System::default());
        let first = system.take(&mut keeper).unwrap();
        let second = system.take(&mut keeper).unwrap();
        assert!(system.take(&mut keeper).is_none());
        drop(first);
        assert_eq!((keeper.alive(), keeper.lent()), (1, 1));
        let third = system.take(&mut keeper).unwrap();
        assert_eq!((keeper.alive(), system.asked), (2, 3));
        drop((second, third, keeper));
        assert!(system.take(&mut Keeper::new(0, 2)).is_none());
        assert_eq!(system.asked, 3);
    }

    #[test]
    fn what_comes_back_is_lent_again_and_few_are_kept() {
        let (mut keeper, mut system) = (Keeper::new(3, 2), System::default());
        let lent: Vec<_> = (0..3).map(|_| system.take(&mut keeper).unwrap()).collect();
        for place in lent {
            keeper.give(place);
        }
        assert_eq!((keeper.alive(), keeper.lent()), (2, 0));
        let again = [system.take(&mut keeper), system.take(&mut keeper)];
        assert!(again.iter().all(Option::is_some));
        assert_eq!((keeper.lent(), system.asked), (2, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_system_that_had_none_is_asked_again_a_second_later() {
        let (mut keeper, mut system) = (Keeper::new(8, 8), System::default());
        let early = system.take(&mut keeper).unwrap();
        system.is_out = true;
        for _ in 0..5 {
            assert!(system.take(&mut keeper).is_none());
        }
        // What failed has no place.
        assert_eq!((system.asked, keeper.alive()), (2, 1));
        // What there is can be had meanwhile.
        keeper.give(early);
        let early = system.take(&mut keeper).unwrap();
        tokio::time::advance(ASK_AGAIN - Duration::from_millis(1)).await;
        assert!(system.take(&mut keeper).is_none());
        assert_eq!(system.asked, 2);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(system.take(&mut keeper).is_none());
        assert_eq!(system.asked, 3);
        system.is_out = false;
        tokio::time::advance(ASK_AGAIN).await;
        let more = [system.take(&mut keeper), system.take(&mut keeper)];
        assert!(more.iter().all(Option::is_some));
        drop(early);
    }

    #[test]
    fn a_closed_one_lends_and_keeps_none() {
        let (mut keeper, mut system) = (Keeper::new(3, 3), System::default());
        let (lent, other) = (system.take(&mut keeper).unwrap(), system.take(&mut keeper).unwrap());
        keeper.give(other);
        keeper.close();
        assert_eq!((keeper.alive(), keeper.lent()), (1, 1));
        keeper.give(lent);
        assert_eq!(keeper.alive(), 0);
        assert!(system.take(&mut keeper).is_none());
    }
}
