use std::collections::BTreeSet;

use super::*;

#[test]
fn a_free_port_is_found_while_half_of_them_are_used_in_blocks() {
    for count in 1..2_000 {
        for start in [0, count / 3, count - 1] {
            let seen: Vec<u32> = places(count, start).collect();
            let all: BTreeSet<u32> = seen.iter().copied().collect();
            assert_eq!(all.len(), seen.len(), "{count}: each once");
            assert!(seen.iter().all(|it| *it < count), "{count}");
            assert!(count > PORTS_TRIED || seen.len() == count as usize, "{count}: all");
            let half = count / 2;
            for free in [0..count - half, half..count] {
                assert!(seen.iter().any(|it| free.contains(it)), "{count} {free:?}");
            }
        }
    }
    assert!(places(65_535, 65_534).all(|it| it < 65_535));
}
