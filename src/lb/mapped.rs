//! `hash-type map-based`: a key's number modulo a table of one place per unit of weight.
//!
//! The table is that of `balance static-rr`. A number of which the request has none is drawn in turn from the same table.
//! When a backend comes or goes, nearly all keys move: `hash-type consistent` is for those who mind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::PickContext;
use super::balancer::Balancer;
use super::round_robin::Table;
use super::snapshot::{Member, Picker};
use super::static_rr::static_order;

/// `balance static-rr`, and the lookup of keys; owns the turn of its service.
#[derive(Debug, Default)]
pub struct Mapped {
    turn: Arc<AtomicUsize>,
    /// Keys are looked up; else it is `static-rr`, whatever is known of a request.
    is_keyed: bool,
}

impl Mapped {
    /// With its turn at `position`; `is_keyed`: it looks up keys.
    pub(super) fn at(position: usize, is_keyed: bool) -> Self {
        Self { turn: Arc::new(AtomicUsize::new(position)), is_keyed }
    }
}

impl Balancer for Mapped {
    fn position(&self) -> usize {
        self.turn.load(Ordering::Relaxed)
    }

    fn build(&self, members: &[Member]) -> Box<dyn Picker> {
        let weights: Vec<u64> = members.iter().map(|m| u64::from(m.weight.get())).collect();
        let table = Table { slots: static_order(&weights), cursor: Arc::clone(&self.turn) };
        if self.is_keyed { Box::new(Map(table)) } else { Box::new(table) }
    }
}

#[derive(Debug)]
struct Map(Table);

impl Map {
    fn place(&self, hash: u32) -> Option<usize> {
        usize::try_from(hash).ok()?.checked_rem(self.0.slots.len())
    }
}

impl Map {
    /// Who a request with this number belongs to.
    fn owner(&self, hash: u32) -> Option<usize> {
        usize::try_from(*self.0.slots.get(self.place(hash)?)?).ok()
    }
}

impl Picker for Map {
    fn pick(&self, members: &[Member], cx: PickContext<'_>) -> Option<usize> {
        let Some(hash) = cx.hash else {
            return self.0.pick(members, cx);
        };
        let owner = self.owner(hash)?;
        let member = members.get(owner)?;
        if cx.avoid.contains(&member.backend.id) {
            // The one after it in the table stands in for it.
            let place = self.place(hash)?;
            return self.0.search(members, cx, |step| place + step);
        }
        (!member.is_full_for(cx)).then_some(owner)
    }

    fn wait_for(&self, members: &[Member], cx: PickContext<'_>) -> Option<usize> {
        let owner = self.owner(cx.hash?)?;
        let member = members.get(owner)?;
        (!cx.avoid.contains(&member.backend.id)).then_some(owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lb::balancer::testing::{member, members};

    fn picked(weights: &[u64], hash: u32) -> Option<usize> {
        let set = members(weights);
        Mapped::at(0, true)
            .build(&set)
            .pick(&set, PickContext { hash: Some(hash), avoid: &[], busy: None })
    }

    #[test]
    fn a_number_modulo_the_weights_is_a_place_in_the_static_order() {
        // ACBCBC.
        let order: Vec<_> = (0..12).map(|hash| picked(&[1, 2, 3], hash).unwrap()).collect();
        assert_eq!(order, [0, 2, 1, 2, 1, 2, 0, 2, 1, 2, 1, 2]);
        assert_eq!(picked(&[1, 1, 1], u32::MAX), Some(0));
        assert_eq!(picked(&[], 7), None);
    }

    #[test]
    fn without_a_number_it_is_static_rr() {
        let set = members(&[1, 2, 3]);
        let picker = Mapped::at(0, true).build(&set);
        let order: Vec<_> =
            (0..6).map(|_| picker.pick(&set, PickContext::default()).unwrap()).collect();
        assert_eq!(order, [0, 2, 1, 2, 1, 2]);
    }

    #[test]
    fn a_failed_one_is_stood_in_for_and_a_full_one_is_waited_for() {
        let mut set = members(&[1, 1, 1]);
        set[2] = member(1, Some(1));
        let picker = Mapped::at(0, true).build(&set);
        let failed = [set[1].backend.id];
        let cx = PickContext { hash: Some(1), avoid: &failed, busy: None };
        assert_eq!((picker.pick(&set, cx), picker.wait_for(&set, cx)), (Some(2), None));
        assert!(set[2].backend.in_flight.try_enter(None));
        assert_eq!(picker.pick(&set, cx), Some(0));
        let cx = PickContext { hash: Some(2), avoid: &[], busy: None };
        assert_eq!((picker.pick(&set, cx), picker.wait_for(&set, cx)), (None, Some(2)));
    }
}
