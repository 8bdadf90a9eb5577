//! A random walk through all that can happen to a pool.

use super::*;
use crate::lb::ShuffleSeed;
use crate::lb::snapshot::Member;

/// A replay needs only the seed that a failure prints: `POOL_WALK_SEED=N cargo test pool_walk`.
#[tokio::test(start_paused = true)]
async fn pool_walk_keeps_its_invariants() {
    let replay = std::env::var("POOL_WALK_SEED").ok().map(|s| s.parse().unwrap());
    let seeds = replay.map_or_else(|| (0..12).map(|_| fastrand::u64(..)).collect(), |s| vec![s]);
    for seed in seeds {
        println!("POOL_WALK_SEED={seed}");
        for strategy in [Strategy::RoundRobin, Strategy::LeastConn] {
            fastrand::seed(seed); // phases of the checks
            Walk::new(seed, strategy).run(150).await;
        }
    }
}

/// Random joins, leaves, edits, flips and leases, checked after every step against what the test knows itself.
struct Walk {
    random: fastrand::Rng,
    bench: Bench,
    order: BackendOrder,
    said: Vec<(u8, String)>,
    leases: Vec<Lease>,
}

const LINES: [&str; 8] = [
    "",
    "check",
    "fall=1",
    "weight=3 check",
    "weight=0",
    "disabled check",
    "backup check",
    "maxconn=1",
];

impl Walk {
    fn new(seed: u64, strategy: Strategy) -> Self {
        let order = BackendOrder::Shuffled(ShuffleSeed(u128::from(seed)));
        let bench = start(PoolSettings { order, ..settings(strategy) });
        Self {
            random: fastrand::Rng::with_seed(seed),
            bench,
            order,
            said: Vec::new(),
            leases: Vec::new(),
        }
    }

    async fn run(mut self, steps: usize) {
        for _ in 0..steps {
            self.step().await;
            self.check();
        }
        self.leases.clear();
        let view = self.bench.handle.view();
        assert!(view.backends.iter().all(|b| b.backend.in_flight.get() == 0));
    }

    async fn step(&mut self) {
        let n = self.random.u8(1..=12);
        match self.random.u8(0..9) {
            0 | 1 => {
                let line = LINES[self.random.usize(..LINES.len())].to_owned();
                self.said.retain(|(host, _)| *host != n);
                self.said.push((n, line));
                self.tell().await;
            }
            2 => {
                self.said.retain(|(host, _)| *host != n);
                if !self.said.is_empty() {
                    self.tell().await;
                }
            }
            3 => {
                let answers = [Answer::Pass, Answer::Refuse, Answer::Hang, Answer::Panic];
                self.bench.script.answer(addr(n), answers[self.random.usize(..answers.len())]);
            }
            4 => {
                let wait = Duration::from_millis(self.random.u64(1..3_000));
                tokio::time::sleep(wait).await;
            }
            5 if self.bench.handle.view().backends.iter().any(|b| b.addr == Some(addr(n))) => {
                self.bench.refuse(n);
                tokio::task::yield_now().await;
            }
            6 if !self.leases.is_empty() => {
                let at = self.random.usize(..self.leases.len());
                self.leases.swap_remove(at);
            }
            _ => self.pick(),
        }
    }

    async fn tell(&self) {
        let hosts: Vec<_> =
            self.said.iter().map(|(n, line)| (n.to_string(), line.clone())).collect();
        let said: Vec<_> = hosts.iter().map(|(h, l)| (h.as_str(), l.as_str())).collect();
        self.bench.with(&said).await;
    }

    fn pick(&mut self) {
        let avoid: Vec<_> = self.leases.iter().take(2).map(|l| l.backend().id).collect();
        let snapshot = self.bench.handle.snapshot();
        let full = snapshot.members.iter().all(Member::is_full);
        match snapshot.acquire(PickContext { avoid: &avoid, hash: None, busy: None }) {
            Ok(lease) => {
                let eligible =
                    |m: &Member| m.backend.id == lease.backend().id && m.addr == *lease.addr();
                assert!(snapshot.members.iter().any(eligible));
                self.leases.push(lease);
            }
            Err(_) => assert!(full, "somebody had room"),
        }
    }

    fn check(&self) {
        let (snapshot, view) = (self.bench.handle.snapshot(), self.bench.handle.view());
        assert_eq!(snapshot.revision, view.revision);
        for shown in &view.backends {
            let held = self.leases.iter().filter(|l| l.backend().id == shown.backend.id).count();
            assert_eq!(shown.backend.in_flight.get() as usize, held, "{shown:?}");
            let usable = !shown.settings.disabled
                && !shown.settings.weight.is_zero()
                && shown.health != Health::Down;
            assert!(usable || !shown.eligible, "{shown:?}");
            let active_up = view.backends.iter().any(|b| b.eligible && !b.settings.backup);
            assert!(!(shown.eligible && shown.settings.backup && active_up), "{shown:?}");
        }
        let eligible: Vec<_> =
            view.backends.iter().filter(|b| b.eligible).map(|b| b.backend.id).collect();
        let members: Vec<_> = snapshot.members.iter().map(|m| m.backend.id).collect();
        assert_eq!(eligible, members);
        assert_eq!(
            self.known_order(),
            view.backends.iter().map(|b| b.addr.clone().unwrap()).collect::<Vec<_>>()
        );
    }

    /// Equal inputs give an equal snapshot: the order depends on what was said last and nothing else.
    fn known_order(&self) -> Vec<Address> {
        let mut addrs: Vec<_> = self.said.iter().map(|(n, _)| (n.to_string(), addr(*n))).collect();
        if addrs.is_empty() {
            return self
                .bench
                .handle
                .view()
                .backends
                .iter()
                .map(|b| b.addr.clone().unwrap())
                .collect();
        }
        crate::lb::order::arrange(self.order, &mut addrs, |(name, _)| name);
        addrs.into_iter().map(|(_, addr)| addr).collect()
    }
}
