//! Networks that lose packets silently: cut behind a switch, in one direction, or under an address that has moved.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use super::{CONVERGENCE, PATH, PATIENCE, in_own_network, run};
use crate::support::child::{ip, sys};
use crate::support::oracle::need;
use crate::support::registry::Registrations;
use crate::support::scene::Scene;
use crate::support::synapse::Synapse;
use crate::support::wait::eventually;
use crate::support::zookeeper::{Setup, Zk};

/// Share of the session timeout after which silence is taken for a dead connection.
const NOTICED_AFTER: f64 = 0.4;

/// The server's network: one cable for synapse, one for everybody else. Ends with this value.
struct Far {
    process: Child,
}

impl Far {
    /// Synapse's way to the server.
    const CUT: &str = "10.99.7.1";
    /// Everybody else's.
    const REST: Ipv4Addr = Ipv4Addr::new(10, 99, 8, 1);

    async fn new() -> Self {
        ip("link set lo up");
        // Reads its input until we are gone.
        let process = Command::new("unshare")
            .args(["-n", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("unshare");
        let far = Self { process };
        let network = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        eventually("a network of its own", PATIENCE, || async {
            let (ours, theirs) = (network("self"), network(&far.pid()));
            if theirs.is_some() && ours != theirs { Ok(()) } else { Err(theirs) }
        })
        .await;
        for (cable, net) in [("cut", "10.99.7"), ("rest", "10.99.8")] {
            ip(&format!("link add {cable}0 type veth peer name {cable}1 netns {}", far.pid()));
            ip(&format!("addr add {net}.2/24 dev {cable}0"));
            ip(&format!("link set {cable}0 up"));
            far.ip(&format!("addr add {net}.1/24 dev {cable}1"));
            far.ip(&format!("link set {cable}1 up"));
        }
        far.ip("link set lo up");
        far
    }

    fn pid(&self) -> String {
        self.process.id().to_string()
    }

    /// `ip ARGUMENTS` over there.
    fn ip(&self, arguments: &str) {
        sys("nsenter", &format!("-t {} -n ip {arguments}", self.pid()));
    }

    fn zookeeper(&self) -> Zk {
        Zk::with(&Setup {
            config: "clientPortAddress=0.0.0.0",
            launcher: &["nsenter", "-t", &self.pid(), "-n"],
            host: Self::REST,
            ..Setup::default()
        })
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.process.kill().expect("our own child");
        self.process.wait().expect("our own child");
    }
}

#[test]
fn a_partition_shorter_than_the_session_costs_neither_backends_nor_session() {
    const NAME: &str =
        "network::a_partition_shorter_than_the_session_costs_neither_backends_nor_session";
    if in_own_network(NAME) {
        run(partition(5, Duration::from_millis(2_500)));
    }
}

#[test]
fn a_partition_of_three_sessions_costs_no_backend() {
    if in_own_network("network::a_partition_of_three_sessions_costs_no_backend") {
        run(partition(2, Duration::from_secs(6)));
    }
}

/// Only synapse is cut off, without a word: the server and everybody else go on.
async fn partition(session: u32, outage: Duration) {
    let far = Far::new().await;
    let mut scene = Scene::of(|| far.zookeeper()).await;
    scene.hosts = vec![format!("{}:{}", Far::CUT, scene.zk.member(0).addr().port())];
    scene.keep("A").await;
    scene.keep("B").await;
    let synapse = scene.synapse_for_session(session).await;
    scene.until_serves("AB").await;
    let changes = synapse.changes().await;

    far.ip("link set cut1 down");
    let cut = Instant::now();
    // Made while synapse cannot see it: being told of it proves that session and watches are back.
    scene.keep("C").await;
    scene.always_serves("AB", outage).await;
    let is_short = outage < Duration::from_secs(session.into());
    assert!(is_short || !synapse.is_connected().await, "that is shown");
    assert_eq!(synapse.changes().await, changes, "the set is what it was");
    far.ip("link set cut1 up");
    let healed = Instant::now();
    scene.until_serves("ABC").await;
    let back = healed.elapsed();
    println!("partition of {:?} at a session of {session} s: back after {back:?}", healed - cut);
    assert!(back < CONVERGENCE, "{back:?}");
    assert_eq!(synapse.sessions().await, if is_short { 1.0 } else { 2.0 });
}

#[test]
fn a_member_whose_answers_are_lost_is_left_for_another() {
    if in_own_network("network::a_member_whose_answers_are_lost_is_left_for_another") {
        run(answers_lost());
    }
}

/// Requests arrive, answers do not: to the server all is well.
async fn answers_lost() {
    need("nft", "nftables");
    let session = 5;
    ip("link set lo up");
    let scene = Scene::of(|| Zk::ensemble(3)).await;
    scene.keep("A").await;
    let synapse = scene.synapse_for_session(session).await;
    scene.until_serves("A").await;
    let lost = member_in_use(&synapse);
    let (_, port) = lost.rsplit_once(':').expect("address and port");
    filter(&[format!("tcp sport {port} drop")]);
    let cut = Instant::now();
    synapse.until_logged("disconnected").await;
    let noticed = cut.elapsed();
    // Those whom it still hears.
    let all = scene.zk.connect_string();
    let others: Vec<_> = all.split(',').filter(|member| *member != lost).collect();
    let registrations = Registrations::connect(&others.join(",")).await;
    registrations.keep(PATH, &scene.lab.origin("B").await).await;
    scene.until_serves("AB").await;
    let used = cut.elapsed();
    let now = member_in_use(&synapse);
    println!("{lost}: noticed after {noticed:?}; {now} used after {used:?}");
    assert_ne!(now, lost);
    let limit = Duration::from_secs(session.into()).mul_f64(NOTICED_AFTER);
    assert!(noticed < limit + Duration::from_millis(600), "{noticed:?}");
    assert!(used < limit + CONVERGENCE, "{used:?}");
    assert_eq!(synapse.sessions().await, 1.0, "the session is the same");
}

/// `HOST:PORT` of the member that it said it is connected to.
fn member_in_use(synapse: &Synapse) -> String {
    let log = synapse.log();
    let (_, after) = log
        .rsplit_once("connected to a member of the ensemble member=")
        .unwrap_or_else(|| panic!("no member:\n{log}"));
    after.split_whitespace().next().expect("its name").to_owned()
}

/// Packets that come in are judged by these rules from now on, and by no others.
fn filter(rules: &[String]) {
    sys("nft", "flush ruleset");
    sys("nft", "add table inet f");
    sys("nft", "add chain inet f in { type filter hook input priority 0 ; }");
    for rule in rules {
        sys("nft", &format!("add rule inet f in {rule}"));
    }
}

#[test]
fn an_ensemble_that_moves_in_dns_is_followed_past_dead_addresses() {
    if in_own_network("network::an_ensemble_that_moves_in_dns_is_followed_past_dead_addresses") {
        run(moves());
    }
}

/// A name with a dead address in front moves back and forth; whatever is sent to a former address vanishes.
async fn moves() {
    const DEAD: &str = "10.99.7.3";
    const ALIVE: [&str; 2] = ["10.99.7.1", "10.99.7.2"];
    need("nft", "nftables");
    let session = 2;
    ip("link set lo up");
    for address in [ALIVE[0], ALIVE[1], DEAD] {
        ip(&format!("addr add {address}/32 dev lo"));
    }
    let mut scene = Scene::of(|| Zk::standalone_with("clientPortAddress=0.0.0.0")).await;
    let names = scene.lab.write("hosts", "");
    sys("mount", &format!("--bind {} /etc/hosts", names.display()));
    let live_at = |address: &str| {
        let gone = [DEAD, ALIVE[0], ALIVE[1]].into_iter().filter(|other| *other != address);
        filter(&gone.map(|gone| format!("ip daddr {gone} drop")).collect::<Vec<_>>());
        let text = format!("127.0.0.1 localhost\n{DEAD} zk.test\n{address} zk.test\n");
        std::fs::write(&names, text).expect("our own hosts file");
    };
    live_at(ALIVE[0]);
    scene.hosts = vec![format!("zk.test:{}", scene.zk.member(0).addr().port())];
    scene.keep("A").await;
    let begun = Instant::now();
    let synapse = scene.synapse_for_session(session).await;
    scene.until_serves("A").await;
    println!("start beside a dead address: used after {:?}", begun.elapsed());
    let b = scene.lab.origin("B").await;
    for round in 0..6 {
        live_at(ALIVE[(round + 1) % 2]);
        let moved = Instant::now();
        if round % 2 == 0 {
            scene.registrations.keep(PATH, &b).await;
            scene.until_serves("AB").await;
        } else {
            scene.registrations.delete(&format!("{PATH}/B")).await;
            scene.until_serves("A").await;
        }
        let followed = moved.elapsed();
        println!("move {round}: followed after {followed:?}");
        let noticed = Duration::from_secs(session.into()).mul_f64(NOTICED_AFTER);
        assert!(followed < noticed + CONVERGENCE, "{followed:?}");
    }
    assert!(synapse.is_connected().await);
}
