//! After any changes and faults the published set is the tree.

use super::*;
use crate::endpoint::EndpointSet;

/// What the tree says, by the rules of the documentation rather than of the code under test.
fn expected(registry: &MemoryRegistry) -> Option<EndpointSet> {
    registry.peek(PATH)?;
    let mut nodes: Vec<_> = registry
        .peek_children(PATH)
        .into_iter()
        .map(|name| (registry.peek(&child(&name)).unwrap(), name))
        .collect();
    nodes.sort_by_key(|(node, _)| std::cmp::Reverse(node.created_zxid));
    let endpoints = nodes.into_iter().filter_map(|(node, name)| {
        let endpoint = crate::registry::record::decode(
            &node.data,
            crate::registry::record::RecordFormat::Nerve,
        );
        Some(crate::endpoint::Endpoint { id: path::sequence(&name), ..endpoint.ok()? })
    });
    Some(endpoints.collect())
}

fn agrees(discovered: &Discovered, registry: &MemoryRegistry) -> bool {
    match (&discovered.membership, expected(registry)) {
        (Membership::Known(set), Some(expected)) => set.same_members(&expected),
        (Membership::Missing, None) => true,
        _ => false,
    }
}

async fn churn(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let registry = MemoryRegistry::default();
    let mut running = start(&registry);
    for _ in 0..400 {
        let host = format!("h{}", random.u8(0..12));
        match random.u8(0..100) {
            0..35 => drop(registry.put_sequential(&child("i_"), record(&host), 1)),
            35..65 => {
                if let Some(name) = random.choice(registry.peek_children(PATH)) {
                    registry.delete(&child(&name));
                }
            }
            65..75 => registry.put(&child(&host), record(&host)),
            75..80 => drop(registry.set_data(&child(&host), record(&format!("x{host}")))),
            80..84 => registry.put(&child(&format!("bad{host}")), "{"),
            84..88 => registry.cut(),
            88..96 => registry.heal(),
            96..98 => registry.expire(),
            _ => drop(registry.delete(PATH)),
        }
        if random.bool() {
            tokio::time::sleep(Duration::from_millis(random.u64(0..60))).await;
        }
    }
    registry.heal();
    let registry = running.registry.clone();
    running.until(|d| agrees(d, &registry) && d.trouble.is_none()).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(agrees(&running.seen.borrow(), &registry), "and it stays so");
}

#[tokio::test(start_paused = true)]
async fn after_any_churn_the_published_set_is_the_tree() {
    let base = fastrand::u64(..);
    for round in 0..40 {
        let seed = base.wrapping_add(round);
        println!("churn seed {seed}");
        churn(seed).await;
    }
}
