//! The reporter on the in-memory registry: the shared contract, single edges, and a random walk through all faults.

use crate::registration::claims::Claims;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::super::contract::{Rig, Running, check};
use super::super::{Phase, Reporter};
use super::*;
use crate::registry::memory::{MemoryRegistry, WriteFault};
use crate::registry::writer::NodeKind;
use crate::telemetry::statsd::testing::Agent;

const PATH: &str = "/services/web";
const KINDS: [NodeKind; 4] = [
    NodeKind::EphemeralSequential,
    NodeKind::Ephemeral,
    NodeKind::PersistentSequential,
    NodeKind::Persistent,
];

/// A `state_dir` in memory.
#[derive(Debug, Default)]
struct Family {
    relations: Mutex<HashMap<i64, Relation>>,
    nodes: Mutex<HashMap<String, String>>,
    claims: Claims,
    younger: Mutex<Option<String>>,
}

impl Family {
    fn tell(&self, session: i64, relation: Relation) {
        self.relations.lock().unwrap().insert(session, relation);
    }
}

impl Kin for Family {
    fn claims(&self) -> &Claims {
        &self.claims
    }

    fn relation(&self, session: i64) -> Relation {
        self.relations.lock().unwrap().get(&session).copied().unwrap_or(Relation::Foreign)
    }

    fn remembered_node(&self, service: &ServiceName, parent: &str) -> Option<String> {
        self.nodes.lock().unwrap().get(&format!("{service} {parent}")).cloned()
    }

    fn remember_node(&self, service: &ServiceName, parent: &str, node: Option<&str>) {
        let key = format!("{service} {parent}");
        let mut nodes = self.nodes.lock().unwrap();
        match node {
            Some(node) => nodes.insert(key, node.to_owned()),
            None => nodes.remove(&key),
        };
    }

    fn is_of_younger(&self, node: &str) -> bool {
        self.younger.lock().unwrap().as_deref() == Some(node)
    }
}

#[derive(Clone)]
struct Home {
    registry: MemoryRegistry,
    kin: Arc<Family>,
    record: NerveRecord,
    place: ZooKeeperPlace,
}

impl Home {
    fn new(kind: NodeKind) -> Self {
        Self {
            registry: MemoryRegistry::default(),
            kin: Arc::default(),
            record: NerveRecord {
                host: "10.0.0.1".into(),
                port: json!(8080),
                name: "i-1".into(),
                weight: None,
                haproxy_server_options: None,
                labels: None,
            },
            place: ZooKeeperPlace {
                ensemble: "memory".into(),
                path: PATH.into(),
                kind,
                is_path_encoded: false,
                ttl: None,
            },
        }
    }

    fn reporter(&self) -> Box<dyn Reporter> {
        let registry: Arc<dyn RegistryWriter> = Arc::new(self.registry.clone());
        let kin: Arc<dyn Kin> = self.kin.clone();
        let service = ServiceName::new("web");
        Box::new(ZooKeeperReporter::new(registry, kin, service, &self.record, &self.place))
    }

    fn start(&self, wish: Wanted) -> Running {
        Running::start(self.reporter(), wish)
    }

    async fn registered(&self) -> Running {
        let mut running = self.start(Wanted::Present);
        running.phase(Phase::Registered).await;
        running
    }

    fn bytes(&self) -> Vec<u8> {
        self.record.encode()
    }

    /// Children with our bytes.
    fn ours(&self) -> Vec<String> {
        let names = self.registry.peek_children(PATH).into_iter();
        let is_ours = |name: &String| {
            self.registry.peek(&format!("{PATH}/{name}")).unwrap().data == self.bytes()
        };
        names.filter(is_ours).collect()
    }

    fn the_one(&self) -> (String, i64) {
        let ours = self.ours();
        assert_eq!(ours.len(), 1, "{ours:?}");
        let path = format!("{PATH}/{}", ours[0]);
        let owner = self.registry.peek(&path).unwrap().ephemeral_owner;
        (path, owner)
    }

    fn fixed(&self) -> String {
        format!("{PATH}/i-1_")
    }
}

struct InMemory {
    home: Home,
    others: Vec<(String, crate::registry::Node)>,
}

impl InMemory {
    fn new(kind: NodeKind, is_path_encoded: bool) -> Self {
        let mut home = Home::new(kind);
        home.place.is_path_encoded = is_path_encoded;
        let others = populate(&home);
        Self { home, others }
    }
}

/// Nodes of others, some of them with names like ours.
fn populate(home: &Home) -> Vec<(String, crate::registry::Node)> {
    let registry = &home.registry;
    let other_port = r#"{"host":"10.0.0.1","port":8081,"name":"i-1"}"#;
    let names = [
        registry.put_sequential(&format!("{PATH}/i-1_"), other_port, 900),
        registry.put_sequential(&format!("{PATH}/i-1_"), home.bytes(), 901),
        registry.put_sequential(&format!("{PATH}/i-12_"), "", 902),
        registry.put_sequential(&format!("{PATH}/i-1_2_"), "junk", 0),
        registry.put_sequential(&format!("{PATH}/base64_4_abc"), "junk", 0),
    ];
    names.map(|path| (path.clone(), registry.peek(&path).unwrap())).into()
}

impl InMemory {
    fn is_of_others(&self, name: &str) -> bool {
        self.others.iter().any(|(other, _)| other == &format!("{PATH}/{name}"))
    }

    fn our_paths(&self) -> Vec<String> {
        let ours = self.home.ours().into_iter().filter(|name| !self.is_of_others(name));
        ours.map(|name| format!("{PATH}/{name}")).collect()
    }

    /// An operator writes into ours.
    fn scribble(&self) {
        // A node without owner and with an open outcome is known by its bytes only: not in that moment.
        if self.home.place.kind != NodeKind::PersistentSequential {
            for path in self.our_paths() {
                self.home.registry.set_data(&path, "scribble");
            }
        }
    }
}

impl Rig for InMemory {
    fn reporter(&self) -> Box<dyn Reporter> {
        self.home.reporter()
    }

    fn count(&self) -> usize {
        self.our_paths().len()
    }

    fn is_others_untouched(&self) -> bool {
        self.others.iter().all(|(path, node)| self.home.registry.peek(path).as_ref() == Some(node))
    }

    fn remove(&self) {
        for path in self.our_paths() {
            self.home.registry.delete(&path);
        }
    }

    fn lose(&self) {
        self.home.registry.cut();
    }

    fn recover(&self) {
        self.home.registry.heal();
    }
}

#[tokio::test(start_paused = true)]
async fn every_kind_keeps_the_contract() {
    for kind in KINDS {
        for is_path_encoded in [false, true] {
            println!("{kind:?}, path encoded: {is_path_encoded}");
            check(InMemory::new(kind, is_path_encoded)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_is_named_as_nerve_names_it_and_rest_is_silent() {
    for (kind, name) in [
        (NodeKind::EphemeralSequential, "i-1_0000000000"),
        (NodeKind::Ephemeral, "i-1_"),
        (NodeKind::PersistentSequential, "i-1_0000000000"),
        (NodeKind::Persistent, "i-1_"),
    ] {
        let home = Home::new(kind);
        let mut running = home.start(Wanted::Present);
        let state = running.phase(Phase::Registered).await;
        assert_eq!(state.node.as_deref(), Some(&*format!("{PATH}/{name}")));
        let owner = if kind.is_ephemeral() { home.registry.session_id() } else { 0 };
        assert_eq!(home.the_one().1, owner);
        assert_eq!(state.owner, kind.is_ephemeral().then_some(owner));
        let before = home.registry.reads();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(home.registry.reads(), before);
        assert_eq!(running.state.borrow().writes, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_outcome_makes_no_second_node() {
    for kind in KINDS {
        for fault in [WriteFault::LostAnswer, WriteFault::LostRequest] {
            let home = Home::new(kind);
            home.registry.put(PATH, "");
            home.registry.fail_next_write(fault);
            let mut running = home.registered().await;
            home.the_one();
            home.registry.fail_next_write(fault);
            running.wanted.send_replace(Wanted::Absent);
            running.phase(Phase::Absent).await;
            assert!(home.ours().is_empty(), "{kind:?} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_persistent_node_made_by_a_killed_process_is_known_to_the_next() {
    let home = Home::new(NodeKind::PersistentSequential);
    home.registry.put(PATH, "");
    home.registry.fail_next_write(WriteFault::LostAnswer);
    let running = home.start(Wanted::Present);
    // Killed between the request and its answer.
    while home.ours().is_empty() {
        tokio::task::yield_now().await;
    }
    running.stop().await;
    let mut next = home.registered().await;
    home.the_one();
    next.wanted.send_replace(Wanted::Absent);
    next.phase(Phase::Absent).await;
    assert!(home.ours().is_empty());
    assert!(home.kin.nodes.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_new_session_registers_anew_and_removes_what_the_old_one_left() {
    for kind in [NodeKind::EphemeralSequential, NodeKind::Ephemeral] {
        let home = Home::new(kind);
        let mut running = home.registered().await;
        let former = home.registry.session_id();
        // The server does not know yet that we have given the session up.
        home.registry.give_up();
        running.phase(Phase::Unconfirmed).await;
        home.registry.heal();
        running.phase(Phase::Registered).await;
        let (_, owner) = home.the_one();
        assert_eq!(owner, home.registry.session_id());
        assert_ne!(owner, former);
    }
}

/// A call waits for a session, so a pass may begin in the name of one and write in the name of the next: then it must not
/// take what it made for a remnant.
#[tokio::test]
async fn a_pass_that_outlives_its_session_ends_before_it_writes_twice() {
    for kind in KINDS {
        let home = Home::new(kind);
        let former = home.registry.session_id();
        home.registry.expire();
        home.registry.heal();
        let shape = Shape::new(&home.record, &home.place);
        let memory = Memory::new(ServiceName::new("web"), home.kin.clone(), &shape);
        let (out, state) = watch::channel(Registration::default());
        let registry: Arc<dyn RegistryWriter> = Arc::new(home.registry.clone());
        let mut desk = Desk::new(registry, shape, memory, Publisher::new(out));
        desk.memory.enter(former);
        let end = desk.pass(Wanted::Present, former).await;
        assert_eq!(end.err(), Some(Setback::Outdated));
        assert!(home.ours().len() <= 1 && state.borrow().writes <= 1, "{:?}", home.ours());
    }
}

/// Cases 5 and 35.
#[tokio::test(start_paused = true)]
async fn a_fixed_name_is_taken_from_kin_that_gave_it_up_and_waited_for_otherwise() {
    for (relation, is_taken) in [
        (Relation::Former, true),
        (Relation::Elder, true),
        (Relation::Younger, false),
        (Relation::Foreign, false),
    ] {
        let home = Home::new(NodeKind::Ephemeral);
        home.kin.tell(900, relation);
        home.registry.put_ephemeral(&home.fixed(), home.bytes(), 900);
        let before = home.registry.peek(&home.fixed());
        let mut running = home.start(Wanted::Present);
        if is_taken {
            running.phase(Phase::Registered).await;
        } else {
            let state = running.phase(Phase::Blocked).await;
            assert!(state.trouble.unwrap().contains("session 0x384"));
            tokio::time::sleep(Duration::from_secs(600)).await;
            assert_eq!(running.state.borrow().writes, 0, "no war");
            assert_eq!(home.registry.peek(&home.fixed()), before);
            // Neither does a farewell touch it.
            running.wanted.send_replace(Wanted::Absent);
            running.phase(Phase::Absent).await;
            assert_eq!(home.registry.peek(&home.fixed()), before);
            running.wanted.send_replace(Wanted::Present);
            running.phase(Phase::Blocked).await;
            home.registry.end_session_of(900);
            let gone = Instant::now();
            running.phase(Phase::Registered).await;
            assert!(gone.elapsed() < Duration::from_millis(100));
        }
        assert_eq!(home.the_one().1, home.registry.session_id());
    }
}

#[tokio::test(start_paused = true)]
async fn a_younger_process_that_died_is_not_waited_for() {
    let home = Home::new(NodeKind::Ephemeral);
    home.kin.tell(900, Relation::Younger);
    home.registry.put_ephemeral(&home.fixed(), home.bytes(), 900);
    let mut running = home.start(Wanted::Present);
    running.phase(Phase::Blocked).await;
    home.kin.tell(900, Relation::Former);
    running.phase(Phase::Registered).await;
    assert_eq!(home.the_one().1, home.registry.session_id());
}

/// Two processes of one host: the elder yields while the younger lives, and is there when that goes.
#[tokio::test(start_paused = true)]
async fn an_elder_gives_way_and_comes_back() {
    let elder = Home::new(NodeKind::Ephemeral);
    let younger = Home { registry: elder.registry.another(), kin: Arc::default(), ..elder.clone() };
    elder.kin.tell(younger.registry.session_id(), Relation::Younger);
    younger.kin.tell(elder.registry.session_id(), Relation::Elder);
    let mut first = elder.registered().await;
    let mut second = younger.registered().await;
    first.phase(Phase::Blocked).await;
    assert_eq!(elder.the_one().1, younger.registry.session_id());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((first.state.borrow().writes, second.state.borrow().writes), (1, 1));
    second.wanted.send_replace(Wanted::Absent);
    second.phase(Phase::Absent).await;
    first.phase(Phase::Registered).await;
    assert_eq!(elder.the_one().1, elder.registry.session_id());
}

/// Case 6: a ghost of a killed process beside the new node.
#[tokio::test(start_paused = true)]
async fn a_numbered_node_of_a_former_session_goes_when_ours_stands() {
    let home = Home::new(NodeKind::EphemeralSequential);
    for (session, relation) in [(900, Relation::Former), (901, Relation::Elder)] {
        home.kin.tell(session, relation);
        home.registry.put_sequential(&format!("{PATH}/i-1_"), home.bytes(), session);
    }
    home.registered().await;
    assert_eq!(home.ours(), ["i-1_0000000001", "i-1_0000000002"], "the elder's is its own");
}

#[tokio::test(start_paused = true)]
async fn a_changed_record_stands_before_the_former_one_goes() {
    let mut home = Home::new(NodeKind::EphemeralSequential);
    home.registered().await.stop().await;
    let (former, _) = home.the_one();
    home.record.weight = Some(7);
    home.registry.fail_next_write(WriteFault::LostRequest);
    let mut running = home.start(Wanted::Present);
    running.until("held up", |state| state.trouble.is_some()).await;
    assert!(home.registry.peek(&former).is_some(), "not before the new one stands");
    running.phase(Phase::Registered).await;
    home.the_one();
    assert_eq!(home.registry.peek_children(PATH).len(), 1);
    // A fixed name has one node: it is told the new bytes.
    let mut home = Home::new(NodeKind::Ephemeral);
    home.registered().await.stop().await;
    let created = home.registry.peek(&home.fixed()).unwrap().created_zxid;
    home.record.port = json!(9090);
    home.registered().await;
    assert_eq!(home.registry.peek(&home.fixed()).unwrap().created_zxid, created);
    home.the_one();
}

#[tokio::test(start_paused = true)]
async fn another_kind_or_encoding_leaves_nothing_behind() {
    for from in KINDS {
        for to in KINDS {
            let mut home = Home::new(from);
            home.registered().await.stop().await;
            home.place.kind = to;
            home.place.is_path_encoded = true;
            home.registered().await.stop().await;
            home.the_one();
            home.place.is_path_encoded = false;
            home.record.name = "i-2".into();
            home.registered().await;
            let left = home.registry.peek_children(PATH);
            // Another instance id is another registration; only what has no owner is remembered beyond that.
            assert_eq!(
                left.len(),
                if to.is_ephemeral() { 2 } else { 1 },
                "{from:?} {to:?} {left:?}"
            );
        }
    }
}

/// Cases 36 and 37, and whoever does not stop.
#[tokio::test(start_paused = true)]
async fn what_an_operator_does_to_our_node_is_undone_at_once_but_not_for_ever() {
    for kind in KINDS {
        let home = Home::new(kind);
        let running = home.registered().await;
        for round in 0..5 {
            let (path, _) = home.the_one();
            if round % 2 == 0 {
                home.registry.delete(&path)
            } else {
                home.registry.set_data(&path, "x")
            };
            let touched = Instant::now();
            while home.ours().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert!(touched.elapsed() < Duration::from_secs(1), "{kind:?} {:?}", touched.elapsed());
        }
        let before = running.state.borrow().writes;
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(600) {
            for name in home.ours() {
                home.registry.delete(&format!("{PATH}/{name}"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let writes = running.state.borrow().writes - before;
        assert!(writes < 60, "{writes} writes in ten minutes");
    }
}

/// What a restart waits for: that there was no session is no excuse once there is one.
#[test]
fn the_trouble_of_having_no_session_ends_with_it() {
    let (out, state) = watch::channel(Registration::default());
    let mut publisher = Publisher::new(out);
    let trouble = || state.borrow().trouble.clone();
    publisher.unreached(Wanted::Present, "no session yet");
    assert_eq!(trouble().as_deref(), Some("no session yet"));
    publisher.reached();
    assert_eq!((state.borrow().phase, trouble()), (Phase::Changing, None));
    publisher.held_up(Wanted::Present, "not authorised");
    publisher.reached();
    assert_eq!(trouble().as_deref(), Some("not authorised"), "a session is no answer to that");
}

/// A restart that starts the new nerve first: both have the one node that nobody's session owns.
#[tokio::test(start_paused = true)]
async fn a_persistent_node_that_a_younger_nerve_has_too_is_left_to_it() {
    let home = Home::new(NodeKind::Persistent);
    let mut running = home.registered().await;
    *home.kin.younger.lock().unwrap() = Some(home.fixed());
    running.wanted.send_replace(Wanted::Absent);
    running.phase(Phase::Absent).await;
    assert_eq!(home.the_one().0, home.fixed());
    // The younger one has ended without a word.
    *home.kin.younger.lock().unwrap() = None;
    running.wanted.send_replace(Wanted::Present);
    running.phase(Phase::Registered).await;
    running.wanted.send_replace(Wanted::Absent);
    running.phase(Phase::Absent).await;
    assert!(home.ours().is_empty());
}

/// Case 46, and the path of a wiped ensemble (39).
#[tokio::test(start_paused = true)]
async fn a_missing_parent_is_made() {
    let home = Home::new(NodeKind::EphemeralSequential);
    let mut running = home.registered().await;
    home.registry.delete("/services");
    running.until("again", |state| state.writes == 2).await;
    running.phase(Phase::Registered).await;
    home.the_one();
}

/// Case 29.
#[tokio::test(start_paused = true)]
async fn a_lack_of_rights_is_told_and_tried_again_rarely() {
    let home = Home::new(NodeKind::EphemeralSequential);
    home.registry.put(PATH, "");
    home.registry.forbid(PATH);
    let mut running = home.start(Wanted::Present);
    let state = running.until("told", |state| state.trouble.is_some()).await;
    assert!(state.trouble.unwrap().contains("not authorised"));
    let before = home.registry.reads().lists;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(home.registry.reads().lists - before <= 10);
    home.registry.permit(PATH);
    running.phase(Phase::Registered).await;
}

/// Case 17.
#[tokio::test(start_paused = true)]
async fn a_record_that_no_server_takes_is_told_and_not_tried_again() {
    let mut home = Home::new(NodeKind::EphemeralSequential);
    home.record.labels = Some(json!({"big": "x".repeat(2_000_000)}));
    let mut running = home.start(Wanted::Present);
    let state = running.until("told", |state| state.trouble.is_some()).await;
    assert!(state.trouble.unwrap().contains("bytes of data, at most 1000000"),);
    let before = home.registry.reads();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(home.registry.reads(), before);
    running.wanted.send_replace(Wanted::Absent);
    running.phase(Phase::Absent).await;
}

#[tokio::test(start_paused = true)]
async fn a_persistent_node_is_written_again_every_ttl() {
    for kind in KINDS {
        let mut home = Home::new(kind);
        home.place.ttl = Some(Duration::from_secs(10));
        let mut running = home.registered().await;
        let (path, _) = home.the_one();
        tokio::time::sleep(Duration::from_secs(100)).await;
        let writes = home.registry.peek(&path).unwrap().version;
        let expected = if kind.is_ephemeral() { 0..=0 } else { 10..=11 };
        assert!(expected.contains(&writes), "{kind:?}: {writes}");
        running.wanted.send_replace(Wanted::Absent);
        running.phase(Phase::Absent).await;
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert!(home.ours().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn statsd_hears_of_each_renewal() {
    let mut home = Home::new(NodeKind::PersistentSequential);
    home.place.ttl = Some(Duration::from_secs(10));
    let agent = Agent::install(&[]);
    let _running = home.registered().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let renewed = agent.next();
    assert!(renewed.starts_with("nerve.reporter.zk.ttl.renew:1|c|#zk_cluster:"), "{renewed}");
    assert!(renewed.ends_with(",result:success"), "{renewed}");
}

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
