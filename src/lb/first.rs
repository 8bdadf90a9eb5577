//! `balance first`: the lowest number with a free slot, so that as few backends as possible are busy.
//!
//! Weights do not count. Without `maxconn` the first gets everything, as with haproxy.

use super::PickContext;
use super::balancer::{Balancer, may_take};
use super::snapshot::{Member, Picker};

/// The policy; nothing outlives a set.
#[derive(Debug)]
pub struct First;

impl Balancer for First {
    fn build(&self, members: &[Member]) -> Box<dyn Picker> {
        let mut order: Vec<usize> = (0..members.len()).collect();
        // Stable: equal numbers, which a pool never gives, stand in balancing order.
        order.sort_by_key(|index| members.get(*index).map(|m| m.number));
        Box::new(InOrder(order.into()))
    }

    fn position(&self) -> usize {
        0
    }
}

/// Indices by number.
#[derive(Debug)]
struct InOrder(Box<[usize]>);

impl Picker for InOrder {
    fn pick(&self, members: &[Member], cx: PickContext<'_>) -> Option<usize> {
        let free = |index: &&usize| members.get(**index).is_some_and(|m| may_take(m, cx));
        self.0.iter().find(free).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lb::balancer::testing::member;

    #[test]
    fn the_lowest_number_with_a_free_slot_gets_it() {
        let mut set = [member(1, Some(1)), member(9, Some(2)), member(1, Some(1))];
        for (member, number) in set.iter_mut().zip([20, 10, 30]) {
            member.number = number;
        }
        let picker = First.build(&set);
        let mut order = Vec::new();
        while let Some(index) = picker.pick(&set, PickContext::default()) {
            assert!(set[index].backend.in_flight.try_enter(None));
            order.push(set[index].number);
        }
        assert_eq!(order, [10, 10, 20, 30]);
        set[0].backend.in_flight.leave();
        set[1].backend.in_flight.leave();
        let again = picker.pick(&set, PickContext::default()).map(|index| set[index].number);
        assert_eq!(again, Some(10));
    }
}
