//! Who goes on with what a service of the former configuration has registered. Pure.
//!
//! The registration decides before the name: services that swap their names keep their nodes, and a service that gets the
//! name of one that is removed keeps its own.

use super::running::passes_on;
use crate::config::nerve::NerveService;

/// For each of `wanted` its predecessor in `former`, by index; none is named twice. Those that are not named are removed.
pub(super) fn predecessors(
    former: &[&NerveService],
    wanted: &[&NerveService],
) -> Vec<Option<usize>> {
    let rules: [fn(&NerveService, &NerveService) -> bool; 6] = [
        |old, new| old == new,
        |old, new| old.name == new.name && says_the_same(old, new),
        says_the_same,
        |old, new| old.name == new.name && passes_on(old, new),
        passes_on,
        // Another registration of the same service: it stands before the former one goes.
        |old, new| old.name == new.name,
    ];
    let mut free: Vec<_> = former.iter().enumerate().collect();
    let mut found = vec![None; wanted.len()];
    for rule in rules {
        for (new, heir) in wanted.iter().zip(&mut found).filter(|(_, heir)| heir.is_none()) {
            let at = free.iter().position(|(_, old)| rule(old, new));
            *heir = at.map(|at| free.remove(at).0);
        }
    }
    found
}

/// In the same place.
fn says_the_same(old: &NerveService, new: &NerveService) -> bool {
    let (old, new) = (&old.registration, &new.registration);
    (&old.place, &old.record) == (&new.place, &new.record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::nerve::{ServiceDefaults, service};
    use serde_json::json;

    /// `name:port:weight`, all under one path.
    fn services(all: &str) -> Vec<NerveService> {
        let one = |text: &str| {
            let mut parts = text.split(':');
            let name = parts.next().unwrap();
            let mut numbers = parts.map(|part| part.parse::<u16>().unwrap());
            let definition = json!({
                "host": "10.0.0.1", "port": numbers.next(), "weight": numbers.next().unwrap_or(1),
                "zk_hosts": ["zk:2181"], "zk_path": "/p", "checks": []
            });
            let defaults = ServiceDefaults::default();
            let mut found = service(name, &definition, "i", &defaults, false).unwrap();
            found.remove(0)
        };
        all.split_whitespace().map(one).collect()
    }

    fn heirs(former: &str, wanted: &str) -> Vec<Option<usize>> {
        let (former, wanted) = (services(former), services(wanted));
        let found =
            predecessors(&former.iter().collect::<Vec<_>>(), &wanted.iter().collect::<Vec<_>>());
        let mut named: Vec<_> = found.iter().flatten().collect();
        named.sort();
        named.dedup();
        assert_eq!(named.len(), found.iter().flatten().count(), "one heir each");
        found
    }

    #[test]
    fn the_registration_decides_before_the_name() {
        let table: [(&str, &str, &[Option<usize>]); 11] = [
            ("a:80 b:81", "a:80 b:81", &[Some(0), Some(1)]),
            ("a:80", "a:80:5 c:90", &[Some(0), None]),
            ("a:80", "b:80:5", &[Some(0)]),
            // Another port is another registration.
            ("a:80", "a:81", &[Some(0)]),
            ("a:80", "b:81", &[None]),
            // Swapped, rotated, and the name of one that is removed.
            ("a:80 b:81", "a:81 b:80", &[Some(1), Some(0)]),
            ("a:80 b:81 c:82", "b:80 c:81 a:82", &[Some(0), Some(1), Some(2)]),
            ("a:80 b:81", "a:81", &[Some(1)]),
            // Twins: who is the same stays the same.
            ("a:80 b:80", "c:80 b:80", &[Some(0), Some(1)]),
            ("a:80:1 b:80:2", "a:80:2 b:80:1", &[Some(1), Some(0)]),
            ("a:80:1 b:80:2", "b:80:3 c:80:2", &[Some(0), Some(1)]),
        ];
        for (former, wanted, expected) in table {
            assert_eq!(heirs(former, wanted), expected, "{former} -> {wanted}");
        }
    }
}
