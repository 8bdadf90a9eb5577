//! Policies: from a set of members to a picker.
//!
//! A [`Balancer`] runs when the set changes, in the pool task, and may be slow; the [`Picker`] it builds runs per request.
//! What must outlive a set (a cursor) is owned by the balancer and shared with its pickers.

use std::fmt::Debug;

use super::first::First;
use super::hash::Lookup;
use super::least_conn::LeastConn;
use super::mapped::Mapped;
use super::random::Random;
use super::ring::Consistent;
use super::round_robin::RoundRobin;
use super::snapshot::{Member, Picker};
use super::{PickContext, Strategy};

/// Policy: turns a set into a picker. One per service, kept as long as its strategy is.
pub trait Balancer: Debug + Send + Sync {
    /// A table for exactly these members, in this order.
    fn build(&self, members: &[Member]) -> Box<dyn Picker>;

    /// Where its turn stands; [`build_at`] goes on from there.
    fn position(&self) -> usize;
}

/// The balancer of a strategy, with its cursor at the start.
pub fn build(strategy: &Strategy) -> Box<dyn Balancer> {
    let position = if matches!(strategy, Strategy::Random { .. }) { Random::anywhere() } else { 0 };
    build_at(strategy, position)
}

/// The balancer of a strategy, going on from the [`Balancer::position`] of another one.
pub fn build_at(strategy: &Strategy, position: usize) -> Box<dyn Balancer> {
    match strategy {
        Strategy::RoundRobin => Box::new(RoundRobin::at(position)),
        Strategy::StaticRr => Box::new(Mapped::at(position, false)),
        Strategy::LeastConn => Box::new(LeastConn::at(position)),
        Strategy::First => Box::new(First),
        Strategy::Random { draws, factor } => Box::new(Random::at(position, draws.get(), *factor)),
        Strategy::Hash(hashing) => match hashing.lookup {
            Lookup::Map => Box::new(Mapped::at(position, true)),
            Lookup::Consistent => Box::new(Consistent::at(position, hashing.factor)),
        },
    }
}

/// True for a member that has room and has not failed this request.
pub(super) fn may_take(member: &Member, cx: PickContext<'_>) -> bool {
    !cx.avoid.contains(&member.backend.id) && !member.is_full_for(cx)
}

#[cfg(test)]
pub(crate) mod testing {
    use std::num::NonZeroU32;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use crate::endpoint::{Endpoint, Weight};
    use crate::lb::BackendId;
    use crate::lb::backend::{Backend, SlotArena};
    use crate::lb::ending::Mark;
    use crate::lb::limits::Limits;
    use crate::lb::snapshot::Member;
    use crate::telemetry::cells::PerWorker;

    static NEXT: AtomicU64 = AtomicU64::new(1);

    pub(crate) fn member_in(arena: &mut SlotArena, weight: u64, max: Option<u32>) -> Member {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let endpoint = Endpoint::new("127.0.0.1", 80);
        Member {
            backend: Arc::new(Backend {
                id: BackendId(id),
                server_name: endpoint.server_name().into(),
                endpoint,
                in_flight: arena.take(),
                crowd: Arc::default(),
                ended: Mark::default(),
                cells: PerWorker::new(1),
            }),
            number: u32::try_from(id).unwrap(),
            addr: std::net::SocketAddr::from(([127, 0, 0, 1], 80)).into(),
            way: None,
            weight: Weight::saturating(weight),
            max_connections: max.and_then(NonZeroU32::new),
            protocol: crate::lb::Protocol::default(),
            limits: Limits::default(),
        }
    }

    pub(crate) fn member(weight: u64, max: Option<u32>) -> Member {
        member_in(&mut SlotArena::default(), weight, max)
    }

    pub(crate) fn members(weights: &[u64]) -> Vec<Member> {
        let mut arena = SlotArena::default();
        weights.iter().map(|w| member_in(&mut arena, *w, None)).collect()
    }
}

/// Laws that every balancer keeps. A new one is added to `STRATEGIES` and must pass.
#[cfg(test)]
mod tests {
    use super::testing::{member_in, members};
    use super::*;
    use crate::lb::Strategy;
    use crate::lb::backend::SlotArena;
    use crate::lb::hash::{Factor, Function, Hashing, Key};
    use crate::lb::snapshot::Snapshot;
    use crate::lb::{BackendId, PickError};
    use proptest::prelude::*;
    use std::num::NonZeroU32;
    use std::sync::{Arc, LazyLock};

    const DRAWS: NonZeroU32 = NonZeroU32::new(2).unwrap();

    static STRATEGIES: LazyLock<Vec<Strategy>> = LazyLock::new(|| {
        let hash = |lookup, factor| {
            let (function, avalanche) = (Function::Sdbm, true);
            Strategy::Hash(Arc::new(Hashing {
                key: Key::Source,
                function,
                avalanche,
                lookup,
                factor,
            }))
        };
        vec![
            Strategy::RoundRobin,
            Strategy::StaticRr,
            Strategy::LeastConn,
            Strategy::First,
            Strategy::Random { draws: DRAWS, factor: None },
            Strategy::Random { draws: DRAWS, factor: Factor::new(150) },
            hash(Lookup::Map, None),
            hash(Lookup::Consistent, None),
            hash(Lookup::Consistent, Factor::new(150)),
        ]
    });

    /// Those that give everybody its share, and those of them that are exact.
    fn fair(exact: bool) -> impl Iterator<Item = &'static Strategy> {
        STRATEGIES.iter().filter(move |strategy| match strategy {
            Strategy::RoundRobin | Strategy::StaticRr | Strategy::LeastConn => true,
            Strategy::Random { .. } => !exact,
            // By number, not by weight; the ring's shares in turn come with its turns (96 points and more).
            Strategy::First => false,
            Strategy::Hash(hashing) => hashing.lookup == Lookup::Map,
        })
    }

    fn snapshot(strategy: &Strategy, members: Vec<Member>) -> Snapshot {
        Snapshot {
            revision: 1,
            known: members.len(),
            up: members.len(),
            picker: build(strategy).build(&members),
            members: members.into(),
        }
    }

    #[test]
    fn an_empty_set_gives_nobody() {
        for strategy in STRATEGIES.iter() {
            assert_eq!(build(strategy).build(&[]).pick(&[], PickContext::default()), None);
            let error = snapshot(strategy, vec![]).acquire(PickContext::default()).unwrap_err();
            assert_eq!(error, PickError::NoneEligible { known: 0, up: 0 });
        }
    }

    #[test]
    fn a_failed_one_is_taken_again_when_nobody_else_is_left() {
        for strategy in STRATEGIES.iter() {
            let snapshot = snapshot(strategy, members(&[1]));
            let only = snapshot.members[0].backend.id;
            let lease =
                snapshot.acquire(PickContext { avoid: &[only], ..PickContext::default() }).unwrap();
            assert_eq!(lease.backend().id, only);
        }
    }

    #[test]
    fn when_all_are_full_the_error_says_so() {
        for strategy in STRATEGIES.iter() {
            let mut arena = SlotArena::default();
            let set = vec![member_in(&mut arena, 1, Some(1)), member_in(&mut arena, 3, Some(2))];
            let snapshot = snapshot(strategy, set);
            let leases: Vec<_> =
                (0..3).map(|_| snapshot.acquire(PickContext::default()).unwrap()).collect();
            let error = snapshot.acquire(PickContext::default()).unwrap_err();
            assert_eq!(error, PickError::AllFull { eligible: 2 });
            drop(leases);
            assert!(snapshot.acquire(PickContext::default()).is_ok());
        }
    }

    #[test]
    fn held_requests_follow_the_weights() {
        for strategy in fair(true) {
            let snapshot = snapshot(strategy, members(&[1, 2, 3]));
            let _held: Vec<_> =
                (0..6).map(|_| snapshot.acquire(PickContext::default()).unwrap()).collect();
            let counts: Vec<_> =
                snapshot.members.iter().map(|m| m.backend.in_flight.get()).collect();
            assert_eq!(counts, [1, 2, 3], "{strategy:?}");
        }
    }

    proptest! {
        #[test]
        fn only_those_with_room_that_did_not_fail_are_picked(
            set in prop::collection::vec((1_u64..=256, 0_u32..4, 0_u32..4, any::<bool>()), 0..150),
            picks in 1_usize..60,
            hash in any::<Option<u32>>(),
        ) {
            // One set for all: picks alone change nothing.
            let mut arena = SlotArena::default();
            let members: Vec<_> = set.iter().map(|(w, max, _, _)| member_in(&mut arena, *w, Some(*max))).collect();
            for (member, (_, _, load, _)) in members.iter().zip(&set) {
                for _ in 0..*load {
                    assert!(member.backend.in_flight.try_enter(None));
                }
            }
            let avoid: Vec<BackendId> = members.iter().zip(&set).filter(|(_, s)| s.3).map(|(m, _)| m.backend.id).collect();
            let cx = PickContext { avoid: &avoid, hash, busy: None };
            let anybody = members.iter().any(|m| may_take(m, cx));
            for strategy in STRATEGIES.iter() {
                let picker = build(strategy).build(&members);
                for _ in 0..picks {
                    match picker.pick(&members, cx) {
                        Some(index) => prop_assert!(may_take(&members[index], cx)),
                        // What belongs to somebody waits for it.
                        None if strategy.hashing().is_some() && hash.is_some() => {}
                        None => prop_assert!(!anybody, "{:?} found nobody", strategy),
                    }
                }
            }
        }

        #[test]
        fn shares_of_held_requests_are_within_bounds(weights in prop::collection::vec(1_u64..=20, 1..20)) {
            for strategy in fair(false) {
                let snapshot = snapshot(strategy, members(&weights));
                let total: u64 = weights.iter().sum();
                let cycles = 50;
                let _held: Vec<_> = (0..total * cycles).map(|_| snapshot.acquire(PickContext::default()).unwrap()).collect();
                for (member, weight) in snapshot.members.iter().zip(&weights) {
                    let held = u64::from(member.backend.in_flight.get());
                    let wanted = weight * cycles;
                    prop_assert!(held.abs_diff(wanted) <= wanted / 10 + 2, "{:?}: {} instead of {}", strategy, held, wanted);
                }
            }
        }
    }
}
