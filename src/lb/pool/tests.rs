//! The pool task on the paused clock, with scripted discovery, checks and names.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Mutex;

use super::*;
use crate::dial::Address;
use crate::discovery::names::NameSettings;
use crate::discovery::{Membership, MembershipPolicy};
use crate::endpoint::{Endpoint, EndpointSet, Weight};
use crate::health::Health;
use crate::health::testing::{Answer, Script, settings as check};
use crate::lb::ending::{OnRemove, Reason, Removal};
use crate::lb::handle::BackendView;
use crate::lb::lease::Lease;
use crate::lb::snapshot::Member;
use crate::lb::{
    BackendOrder, OutcomeKind, PickContext, PickError, ServerRules, ServerSettings, ShuffleSeed,
    Strategy,
};

/// The server line is written in the registration's options: `weight=2 backup disabled maxconn=3 check`.
#[derive(Debug)]
struct Words;

impl ServerRules for Words {
    fn server(&self, endpoint: &Endpoint) -> ServerSettings {
        let mut line = ServerSettings::default();
        for word in endpoint.server_options.as_deref().unwrap_or("").split_whitespace() {
            match word.split_once('=').unwrap_or((word, "")) {
                ("weight", n) => line.weight = Weight::saturating(n.parse().unwrap()),
                ("maxconn", n) => line.max_connections = NonZeroU32::new(n.parse().unwrap()),
                ("fall", n) => line.check = Some(check(2, n.parse().unwrap())),
                ("slowstart", n) => {
                    line.slow_start = Some(Duration::from_secs(n.parse().unwrap()));
                }
                ("check", _) => line.check = Some(check(2, 3)),
                ("kill", _) => line.shutdown_sessions = true,
                ("backup", _) => line.backup = true,
                ("disabled", _) => line.disabled = true,
                other => panic!("unknown word {other:?}"),
            }
        }
        line
    }
}

/// Answers of DNS as a test says.
type Zone = Arc<Mutex<HashMap<String, IpAddr>>>;

fn resolver(zone: &Zone) -> NameCache {
    let zone = Arc::clone(zone);
    NameCache::with_lookup(
        NameSettings::default(),
        Arc::new(move |name| {
            let found = zone.lock().unwrap().get(&*name).copied();
            Box::pin(async move {
                found.map(|ip| vec![ip]).ok_or_else(|| std::io::Error::other("no such name"))
            })
        }),
    )
}

/// A running pool and everything around it.
struct Bench {
    handle: PoolHandle,
    word: watch::Sender<Discovered>,
    commands: mpsc::Sender<PoolCommand>,
    zone: Zone,
    script: Script,
    stop: CancellationToken,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn settings(strategy: Strategy) -> PoolSettings {
    PoolSettings {
        strategy,
        order: BackendOrder::AsDiscovered,
        membership: MembershipPolicy { use_previous_backends: true, ..MembershipPolicy::default() },
        servers: Arc::new(Words),
        removal: Removal::default(),
        all_backups: false,
    }
}

fn start(settings: PoolSettings) -> Bench {
    let (word, discovered) = watch::channel(Discovered::default());
    let (commands, inbox) = mpsc::channel(8);
    let (script, stop) = (Script::default(), CancellationToken::new());
    let zone = Zone::default();
    let names = resolver(&zone);
    tokio::spawn(names.clone().run(stop.clone()));
    let inputs =
        PoolInputs { discovered, names, commands: inbox, checks: script.runner(16), initial: None };
    let (handle, pool) = Pool::new(ServiceName::new("search"), settings, 2, inputs);
    tokio::spawn(pool.run(stop.clone()));
    Bench { handle, word, commands, zone, script, stop }
}

/// `host` is `127.0.0.N` for `N`, else a name.
fn endpoint(host: &str, options: &str) -> Endpoint {
    let host = host.parse::<u8>().map_or_else(|_| host.to_owned(), |n| format!("127.0.0.{n}"));
    Endpoint { server_options: Some(options.into()), ..Endpoint::new(host, 80) }
}

fn addr(n: u8) -> Address {
    SocketAddr::from(([127, 0, 0, n], 80)).into()
}

fn hosts(handle: &PoolHandle) -> Vec<String> {
    handle.snapshot().members.iter().map(|m| m.addr.inet().unwrap().ip().to_string()).collect()
}

impl Bench {
    fn say(&self, endpoints: &[(&str, &str)]) {
        let set: EndpointSet = endpoints.iter().map(|(h, o)| endpoint(h, o)).collect();
        self.word.send_replace(Discovered {
            membership: Membership::Known(set),
            ..Discovered::default()
        });
    }

    /// Says it and waits until the pool has taken it.
    async fn with(&self, endpoints: &[(&str, &str)]) {
        self.say(endpoints);
        let wanted: Vec<_> = endpoints.iter().map(|(h, o)| endpoint(h, o)).collect();
        let seen = |view: &PoolView| match &view.discovered.membership {
            Membership::Known(set) => set.as_slice() == wanted,
            Membership::Pending | Membership::Missing => false,
        };
        assert!(self.handle.until(seen).await);
    }

    fn view(&self, n: u8) -> BackendView {
        let view = self.handle.view();
        view.backends
            .iter()
            .find(|b| b.addr == Some(addr(n)))
            .map(|b| BackendView::clone(b))
            .unwrap()
    }

    async fn until_health(&self, n: u8, health: Health) {
        let is = |b: &Arc<BackendView>| b.addr == Some(addr(n)) && b.health == health;
        assert!(self.handle.until(|view| view.backends.iter().any(is)).await);
    }

    fn acquire(&self) -> Result<Lease, PickError> {
        self.handle.acquire(PickContext::default())
    }

    fn refuse(&self, n: u8) {
        let backend = self.view(n).backend.id;
        self.handle.report(Outcome { backend, addr: addr(n), kind: OutcomeKind::Refused });
    }

    async fn command(&self, settings: PoolSettings) {
        let mut views = self.handle.views.clone();
        views.mark_unchanged();
        self.commands.send(PoolCommand::Settings(Box::new(settings))).await.unwrap();
        views.changed().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_neither_the_set_nor_counters_nor_verdicts_nor_the_next_word() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.script.answer(addr(2), Answer::Refuse);
    bench.with(&[("1", ""), ("2", "fall=1"), ("3", "")]).await;
    bench.until_health(2, Health::Down).await;
    let held = bench.acquire().unwrap();
    let before = bench.handle.view();
    for round in ["5", "6", "7"] {
        // The rules of these tests panic at words they do not know.
        bench.say(&[("1", "boom")]);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(hosts(&bench.handle), ["127.0.0.1", "127.0.0.3"], "{round}");
        let more = [("1", ""), ("2", "fall=1"), ("3", ""), (round, "weight=0")];
        bench.with(&more).await;
        assert_eq!(hosts(&bench.handle), ["127.0.0.1", "127.0.0.3"], "{round}");
        tokio::time::sleep(Duration::from_secs(100)).await;
    }
    let after = bench.handle.view();
    for (a, b) in before.backends.iter().zip(&after.backends) {
        assert!(Arc::ptr_eq(&a.backend, &b.backend));
    }
    assert_eq!(after.backends[0].backend.in_flight.get(), 1);
    drop(held);
    bench.with(&[("1", ""), ("4", "")]).await;
    assert_eq!(hosts(&bench.handle), ["127.0.0.1", "127.0.0.4"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_does_not_forget_whom_to_keep() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.with(&[("1", "")]).await;
    bench.say(&[("1", "boom")]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.say(&[]);
    let kept = |view: &PoolView| view.origin == SetOrigin::Previous;
    assert!(!kept(&bench.handle.view()));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(hosts(&bench.handle), ["127.0.0.1"]);
}

#[tokio::test(start_paused = true)]
async fn the_view_says_why_the_set_is_not_what_discovery_says() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.with(&[("1", "")]).await;
    assert!(bench.handle.view().notes.is_empty());
    bench.with(&[]).await;
    assert_eq!(
        bench.handle.view().notes,
        ["discovery knows nobody: the last 1 are kept (use_previous_backends)"]
    );
}

#[tokio::test(start_paused = true)]
async fn ready_means_that_discovery_was_heard() {
    let bench = start(settings(Strategy::RoundRobin));
    assert!(bench.handle.until(|view| !view.is_ready()).await);
    assert_eq!(bench.acquire().unwrap_err(), PickError::NoneEligible { known: 0, up: 0 });
    bench.say(&[("1", ""), ("2", "")]);
    assert!(bench.handle.wait_ready().await);
    assert_eq!(hosts(&bench.handle), ["127.0.0.1", "127.0.0.2"]);
    bench.stop.cancel();
    assert!(!bench.handle.until(|_| false).await, "the pool has ended");
}

#[tokio::test(start_paused = true)]
async fn sequential_requests_come_in_haproxys_order_from_the_start() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.with(&[("1", "weight=1 check"), ("2", "weight=2 check"), ("3", "weight=3 check")]).await;
    let order: String = (0..24)
        .map(|_| bench.acquire().unwrap().addr().clone())
        .map(|a| {
            if a == addr(1) {
                'A'
            } else if a == addr(2) {
                'B'
            } else {
                'C'
            }
        })
        .collect();
    assert_eq!(order, "CBCACB".repeat(4));
}

#[tokio::test(start_paused = true)]
async fn a_backend_keeps_its_identity_when_its_line_changes() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.with(&[("1", "weight=1"), ("2", "")]).await;
    let lease = bench.acquire().unwrap();
    let before = bench.view(1).backend;
    bench.with(&[("3", ""), ("1", "weight=5 maxconn=9")]).await;
    let after = bench.view(1);
    assert!(Arc::ptr_eq(&before, &after.backend));
    assert_eq!(after.settings.weight.get(), 5);
    assert_eq!(after.backend.in_flight.get(), 1, "the lease is still counted");
    drop(lease);
    assert_eq!(after.backend.in_flight.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_back_under_its_leases_is_the_same() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.with(&[("1", ""), ("2", "")]).await;
    let lease = bench.acquire().unwrap();
    assert_eq!(*lease.addr(), addr(1));
    bench.with(&[("2", "")]).await;
    bench.with(&[("1", ""), ("2", "")]).await;
    assert!(Arc::ptr_eq(lease.backend(), &bench.view(1).backend));
    drop(lease);
    let id = bench.view(1).backend.id;
    bench.with(&[("2", "")]).await;
    bench.with(&[("1", ""), ("2", "")]).await;
    assert_ne!(bench.view(1).backend.id, id, "nobody held it: a new one");
}

#[tokio::test(start_paused = true)]
async fn disabled_weightless_and_unresolved_ones_are_shown_with_the_reason() {
    let bench = start(settings(Strategy::RoundRobin));
    bench
        .with(&[
            ("1", "disabled check"),
            ("2", "weight=0"),
            ("db.example", ""),
            ("bad.example", ""),
            ("3", ""),
        ])
        .await;
    let failed = |v: &PoolView| v.backends[3].reason.contains("no such name");
    assert!(bench.handle.until(failed).await);
    let view = bench.handle.view();
    let reasons: Vec<_> = view.backends.iter().map(|b| (b.eligible, b.reason.as_str())).collect();
    assert_eq!(
        reasons,
        [
            (false, "disabled"),
            (false, "weight 0"),
            (false, "its name does not resolve: no such name"),
            (false, "its name does not resolve: no such name"),
            (true, "no check"),
        ]
    );
    assert_eq!(hosts(&bench.handle), ["127.0.0.3"]);
    bench.zone.lock().unwrap().insert("db.example".to_owned(), [127, 0, 0, 9].into());
    assert!(bench.handle.until(|v| v.backends[2].eligible).await);
    assert_eq!(hosts(&bench.handle), ["127.0.0.9", "127.0.0.3"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_check_takes_a_new_backend_out_and_rise_brings_it_back() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.script.answer(addr(1), Answer::Refuse);
    bench.with(&[("1", "check"), ("2", "check")]).await;
    assert_eq!(hosts(&bench.handle).len(), 2, "up until checked");
    assert_eq!(bench.view(1).reason, "up, not checked yet");
    bench.until_health(1, Health::Down).await;
    assert_eq!(hosts(&bench.handle), ["127.0.0.2"]);
    assert_eq!(bench.view(1).reason, "down: L4CON: connection refused");
    assert_eq!(bench.handle.view().health_changes, 1);
    bench.script.answer(addr(1), Answer::Pass);
    bench.until_health(1, Health::Up).await;
    assert_eq!(hosts(&bench.handle).len(), 2);
    assert_eq!(bench.view(1).last_check.unwrap().streak, 2);
}

#[tokio::test(start_paused = true)]
async fn backups_serve_only_when_no_active_is_usable() {
    let mut config = settings(Strategy::RoundRobin);
    let bench = start(config.clone());
    bench.script.answer(addr(1), Answer::Refuse);
    bench.with(&[("3", "backup"), ("4", "backup"), ("1", "check")]).await;
    assert_eq!(hosts(&bench.handle), ["127.0.0.1"]);
    assert_eq!(bench.view(3).reason, "backup, actives are up");
    bench.until_health(1, Health::Down).await;
    assert_eq!(hosts(&bench.handle), ["127.0.0.3"]);
    assert_eq!(bench.view(4).reason, "backup, an earlier backup is in use");
    config.all_backups = true;
    bench.command(config).await;
    assert_eq!(hosts(&bench.handle), ["127.0.0.3", "127.0.0.4"]);
}

#[tokio::test(start_paused = true)]
async fn refused_traffic_takes_a_backend_out_within_fall_refusals() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.with(&[("1", "check"), ("2", "check")]).await;
    let checked = |v: &PoolView| v.backends.iter().all(|b| b.last_check.is_some());
    assert!(bench.handle.until(checked).await);
    bench.script.answer(addr(1), Answer::Refuse);
    let start = Instant::now();
    for _ in 0..3 {
        bench.refuse(1);
    }
    bench.until_health(1, Health::Down).await;
    assert!(start.elapsed() < Duration::from_millis(10), "{:?}", start.elapsed());
    assert_eq!(hosts(&bench.handle), ["127.0.0.2"]);
}

#[tokio::test(start_paused = true)]
async fn refused_traffic_does_not_touch_an_unchecked_backend_or_another_address() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.with(&[("1", ""), ("2", "fall=1")]).await;
    for _ in 0..2_000 {
        bench.refuse(1);
    }
    let backend = bench.view(2).backend.id;
    bench.handle.report(Outcome { backend, addr: addr(7), kind: OutcomeKind::Refused });
    bench.with(&[("1", ""), ("2", "fall=1"), ("3", "")]).await;
    assert_eq!(hosts(&bench.handle).len(), 3);
    assert!(bench.handle.outcomes_dropped() > 0, "the queue is bounded");
    assert_eq!(bench.handle.view().health_changes, 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_published_when_a_worker_could_not_tell() {
    let bench = start(settings(Strategy::LeastConn));
    bench.with(&[("1", "check"), ("2", "")]).await;
    let before = bench.handle.snapshot();
    tokio::time::sleep(Duration::from_secs(30)).await; // thirty passed checks
    bench.command(settings(Strategy::LeastConn)).await;
    bench.word.send_modify(|d| d.trouble = Some("connecting".into()));
    assert!(bench.handle.until(|v| v.discovered.trouble.is_some()).await);
    assert!(Arc::ptr_eq(&before, &bench.handle.snapshot()));
    assert_eq!(bench.handle.view().membership_changes, 1);
    assert_eq!(bench.view(1).last_check.unwrap().code, "L4OK");
}

/// Share in sixteenths and limit of the first backend.
fn warmth(bench: &Bench) -> (u64, Option<u32>) {
    let snapshot = bench.handle.snapshot();
    let member = snapshot.members.iter().find(|m| m.addr == addr(1)).unwrap();
    (member.share(), member.limit())
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_back_takes_its_share_step_by_step() {
    let line = "weight=2 maxconn=10 slowstart=20 check";
    let bench = start(settings(Strategy::RoundRobin));
    bench.with(&[("1", line), ("2", "weight=2")]).await;
    assert_eq!(warmth(&bench), (32, Some(10)), "not at the start");
    bench.script.answer(addr(1), Answer::Refuse);
    bench.until_health(1, Health::Down).await;
    bench.script.answer(addr(1), Answer::Pass);
    bench.until_health(1, Health::Up).await;
    let start = Instant::now();
    assert_eq!((warmth(&bench), bench.view(1).ramp.percent()), ((2, Some(1)), 7));
    assert!(bench.view(1).reason.contains("slow start, 7 %"), "{}", bench.view(1).reason);
    let picked: Vec<_> = (0..17).map(|_| bench.acquire().unwrap().addr().clone()).collect();
    assert_eq!(picked.iter().filter(|a| **a == addr(1)).count(), 1, "a sixteenth of the other's");
    for (second, wanted) in [(5, (10, Some(2))), (10, (18, Some(5))), (19, (32, Some(9)))] {
        let view = |v: &PoolView| v.revision > 0 && start.elapsed().as_secs() >= second;
        assert!(bench.handle.until(view).await);
        assert_eq!(warmth(&bench), wanted, "after {second} s");
    }
    assert!(bench.handle.until(|_| start.elapsed().as_secs() >= 20).await);
    assert_eq!((warmth(&bench), bench.view(1).ramp.percent()), ((32, Some(10)), 100));
    assert_eq!(bench.view(1).reason, "up");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_leaves_maintenance_starts_slowly_and_going_down_ends_that() {
    let bench = start(settings(Strategy::LeastConn));
    bench.with(&[("1", "slowstart=60 disabled check"), ("2", "")]).await;
    bench.with(&[("1", "slowstart=60 check"), ("2", "")]).await;
    assert_eq!(warmth(&bench).0, 1);
    bench.script.answer(addr(1), Answer::Refuse);
    bench.until_health(1, Health::Down).await;
    assert!(bench.view(1).reason.starts_with("down"), "{}", bench.view(1).reason);
    bench.with(&[("1", "check"), ("2", "")]).await;
    bench.script.answer(addr(1), Answer::Pass);
    bench.until_health(1, Health::Up).await;
    assert_eq!(warmth(&bench).0, 16, "no slow start any more");
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_by_a_server_that_comes_and_by_a_raised_maxconn() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.with(&[("1", "maxconn=1")]).await;
    let held = bench.acquire().unwrap();
    let line_up = || bench.handle.line_up(PickContext::default()).unwrap();
    let (first, second, third) = (line_up(), line_up(), line_up());
    assert_eq!(bench.acquire().unwrap_err(), PickError::AllFull { eligible: 1 });
    bench.with(&[("1", "maxconn=1"), ("2", "maxconn=1")]).await;
    let (first, ahead) = first.await;
    assert_eq!((first.addr().clone(), ahead.backend), (addr(2), 1));
    bench.with(&[("1", "maxconn=2"), ("2", "maxconn=1")]).await;
    let (second, _) = second.await;
    assert_eq!(*second.addr(), addr(1));
    bench.with(&[("2", "maxconn=1")]).await;
    drop((held, second));
    assert_eq!(bench.handle.queue().length, 1, "a slot of one that has left is not given out");
    drop(first);
    assert_eq!(*third.await.0.addr(), addr(2));
}

#[tokio::test(start_paused = true)]
async fn another_strategy_is_published_even_for_the_same_members() {
    let bench = start(settings(Strategy::LeastConn));
    bench.with(&[("1", "weight=1"), ("2", "weight=3")]).await;
    bench.command(settings(Strategy::RoundRobin)).await;
    let picked: Vec<_> = (0..4).map(|_| bench.acquire().unwrap().addr().clone()).collect();
    assert_eq!(picked.iter().filter(|a| **a == addr(2)).count(), 3);
}

#[tokio::test(start_paused = true)]
async fn new_settings_keep_verdicts_and_leases() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.script.answer(addr(1), Answer::Refuse);
    bench.with(&[("1", "check"), ("2", "check")]).await;
    bench.until_health(1, Health::Down).await;
    let lease = bench.acquire().unwrap();
    bench
        .command(PoolSettings { order: BackendOrder::Descending, ..settings(Strategy::LeastConn) })
        .await;
    assert_eq!(bench.view(1).health, Health::Down);
    assert_eq!(lease.backend().in_flight.get(), 1);
    assert_eq!(hosts(&bench.handle), ["127.0.0.2"]);
}

#[tokio::test(start_paused = true)]
async fn the_set_is_kept_when_discovery_goes_empty_and_when_its_source_ends() {
    let mut bench = start(settings(Strategy::RoundRobin));
    bench.with(&[("1", ""), ("2", "")]).await;
    bench.with(&[]).await;
    assert_eq!(hosts(&bench.handle).len(), 2);
    assert_eq!(bench.handle.view().origin, SetOrigin::Previous);
    bench.word = watch::channel(Discovered::default()).0;
    bench.commands = mpsc::channel(1).0;
    bench.command_free_second().await;
    assert_eq!(hosts(&bench.handle).len(), 2);
}

impl Bench {
    /// A second in which the pool has no source left; it must neither end nor spin.
    async fn command_free_second(&self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn servers_of_the_same_name_are_told_apart() {
    let bench = start(settings(Strategy::RoundRobin));
    let named =
        |name: &str, host: &str| Endpoint { name: Some(name.into()), ..Endpoint::new(host, 80) };
    bench.word.send_replace(Discovered {
        membership: Membership::Known([named("a", "b_c"), named("a_b", "c")].into_iter().collect()),
        ..Discovered::default()
    });
    assert!(bench.handle.wait_ready().await);
    let view = bench.handle.view();
    let names: Vec<_> = view.backends.iter().map(|b| &*b.backend.server_name).collect();
    assert_eq!(names, ["a_b_c:80", "a_b_c:80#2"]);
}

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

#[tokio::test(start_paused = true)]
async fn a_backend_that_goes_down_ends_its_sessions_where_its_line_says_so() {
    let bench = start(settings(Strategy::RoundRobin));
    bench.with(&[("1", "fall=1 kill"), ("2", "fall=1")]).await;
    bench.until_health(1, Health::Up).await;
    let (one, two) = (bench.acquire().unwrap(), bench.acquire().unwrap());
    assert_eq!((one.addr(), two.addr()), (&addr(1), &addr(2)));
    let mut ends = bench.handle.ends();
    bench.script.answer(addr(1), Answer::Refuse);
    bench.script.answer(addr(2), Answer::Refuse);
    bench.until_health(1, Health::Down).await;
    bench.until_health(2, Health::Down).await;
    assert_eq!((one.ended(), two.ended()), (Some(Reason::Down), None));
    assert!(ends.has_changed().unwrap());
    ends.mark_unchanged();
    // Those that begin when it is back live.
    bench.script.answer(addr(1), Answer::Pass);
    bench.until_health(1, Health::Up).await;
    assert_eq!(bench.acquire().unwrap().ended(), None);
    assert!(!ends.has_changed().unwrap());
}

async fn removed(then: OnRemove, back: Option<u64>) -> Vec<bool> {
    let removal = Removal { then, drain_time: Duration::from_secs(10) };
    let bench = start(PoolSettings { removal, ..settings(Strategy::RoundRobin) });
    bench.with(&[("1", ""), ("2", "")]).await;
    let lease = bench.acquire().unwrap();
    assert_eq!(*lease.addr(), addr(1));
    bench.with(&[("2", "")]).await;
    let mut ended = Vec::new();
    for second in [0, 9, 11, 100] {
        if back == Some(second) {
            bench.with(&[("1", ""), ("2", "")]).await;
        }
        tokio::time::sleep(Duration::from_secs(second)).await;
        ended.push(lease.ended() == Some(Reason::Removed));
    }
    ended
}

#[tokio::test(start_paused = true)]
async fn sessions_of_a_removed_backend_end_as_the_service_says() {
    // After 0, 9, 20 and 120 s.
    assert_eq!(removed(OnRemove::Keep, None).await, [false; 4]);
    assert_eq!(removed(OnRemove::Drain, None).await, [false, false, true, true]);
    assert_eq!(removed(OnRemove::Drain, Some(11)).await, [false; 4]);
    assert_eq!(removed(OnRemove::Kill, None).await, [true; 4]);
}
