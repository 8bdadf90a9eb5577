use std::collections::BTreeSet;

use super::*;

#[test]
fn origins_never_share_an_address() {
    let all: BTreeSet<SocketAddr> = [4, 1_000].into_iter().flat_map(origins).collect();
    assert_eq!(all.len(), 1_004);
}
