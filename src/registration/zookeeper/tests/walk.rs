//! A random walk through all faults.

use std::time::Duration;

use super::*;
use crate::registry::memory::WriteFault;

/// Any order of faults, wishes and strangers' deeds: when they end, there is what is wanted and nothing else was touched.
#[tokio::test(start_paused = true)]
async fn a_random_walk_ends_as_wanted() {
    let seed = std::env::var("WALK_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    for round in 0..200 {
        let seed = seed.wrapping_add(round);
        println!("WALK_SEED={seed}");
        walk(fastrand::Rng::with_seed(seed)).await;
    }
}

/// A reporter among faults.
struct Walk {
    rng: fastrand::Rng,
    rig: InMemory,
    running: Running,
    wish: Wanted,
}

async fn walk(mut rng: fastrand::Rng) {
    let rig = InMemory::new(KINDS[rng.usize(..4)], rng.bool());
    let running = rig.home.start(Wanted::Undecided);
    let mut walk = Walk { rng, rig, running, wish: Wanted::Undecided };
    for _ in 0..walk.rng.usize(1..40) {
        walk = walk.step().await;
    }
    walk.arrive().await;
}

impl Walk {
    async fn step(mut self) -> Self {
        let deed = self.rng.usize(..13);
        println!("deed {deed}: {:?}", *self.running.state.borrow());
        let registry = &self.rig.home.registry;
        match deed {
            0 | 1 => registry.fail_next_write(WriteFault::LostAnswer),
            2 => registry.fail_next_write(WriteFault::LostRequest),
            3 => registry.cut(),
            4 => registry.expire(),
            5 => registry.give_up(),
            6 | 7 => registry.heal(),
            8 => self.rig.remove(),
            9 => {
                self.wish =
                    [Wanted::Present, Wanted::Absent, Wanted::Undecided][self.rng.usize(..3)];
                self.running.wanted.send_replace(self.wish);
            }
            // Killed and started again, with other labels now and then.
            10 => {
                self.running.stop().await;
                if self.rng.bool() {
                    self.rig.home.record.weight = Some(self.rng.i64(1..100));
                }
                self.running = self.rig.home.start(self.wish);
            }
            11 => self.rig.scribble(),
            _ => tokio::time::sleep(Duration::from_millis(self.rng.u64(..3_000))).await,
        }
        self.rig.home.kin.tell(self.rig.home.registry.session_id(), Relation::Former);
        for _ in 0..self.rng.usize(..20) {
            tokio::task::yield_now().await;
        }
        self
    }

    async fn arrive(mut self) {
        let registry = self.rig.home.registry.clone();
        registry.heal();
        let last = if self.rng.bool() { Wanted::Present } else { Wanted::Absent };
        self.running.wanted.send_replace(last);
        tokio::time::sleep(Duration::from_secs(120)).await;
        let is_present = last == Wanted::Present;
        self.running.phase(if is_present { Phase::Registered } else { Phase::Absent }).await;
        let left: Vec<_> = registry
            .peek_children(PATH)
            .into_iter()
            .filter(|name| !self.rig.is_of_others(name))
            .collect();
        let home = &self.rig.home;
        assert_eq!(left.len(), usize::from(is_present), "{left:?} {:?} {:?}", home.place, home.kin);
        for name in &left {
            let node = registry.peek(&format!("{PATH}/{name}")).unwrap();
            let owner = if home.place.kind.is_ephemeral() { registry.session_id() } else { 0 };
            assert_eq!((node.ephemeral_owner, node.data), (owner, home.bytes()));
        }
        assert!(self.rig.is_others_untouched());
    }
}
