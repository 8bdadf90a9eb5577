//! Random faults, one after the other, against one nerve and an ensemble of three.
//!
//! The seed is printed; `SMARTSTACK_SEED` repeats a run, `SMARTSTACK_FAULTS` sets the number of faults.
//!
//! **How long a fault lasts** decides what may be asked of nerve, so it is judged from outside:
//!
//! * connections reset (`ss -K`, all members or one), a node deleted by an operator: a moment;
//! * a member or all of them stopped, a member killed: from the signal until every member says that it leads or follows,
//!   and exactly one leads. An election is ZooKeeper's business, not nerve's;
//! * nerve stopped: until SIGCONT;
//! * nerve killed, or left with SIGUSR2: from the signal until the next nerve's admin server answers, with the pause that
//!   the test makes before it starts that one.
//!
//! A look by a healthy member at which a service has no node of ours must fall into a fault that concerns it (a deletion
//! concerns one service) or into the second after it. Two thirds of the pauses are longer than that second, so faults do
//! not excuse each other. Besides, a fault that takes neither a session nor a node away (connections, a single member, a
//! restart of nerve that is shorter than half its session) must not begin any absence.
//!
//! Beside ours stand the nodes of strangers: of another instance in every place, of a session with our own instance id, and
//! one that says byte for byte what ours says. None of them may ever be missed.

mod fault;
mod nodes;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

use self::fault::{ALL, Fault, Kind, WEIGHTED};
use self::nodes::{services, strangers};
use super::PATIENCE;
use super::witness::{Absence, Place, Report, Sight, Witness, connect, look, ours};
use crate::support::lab::Lab;
use crate::support::nerve::Nerve;
use crate::support::wait::eventually;
use crate::support::zookeeper::Zk;

/// Faults of a normal run: each kind twice.
const FEW: usize = 2 * ALL.len();
/// What the issue asks for.
const MANY: usize = 500;
/// nerve's session.
const SESSION: Duration = Duration::from_secs(4);

/// The world.
struct Storm {
    zk: Zk,
    nerve: Nerve,
    witness: Witness,
    places: Vec<Place>,
    foreign: Vec<Sight>,
    rng: fastrand::Rng,
    faults: Vec<Fault>,
    /// What all nerves have logged.
    log: PathBuf,
}

impl Storm {
    async fn strike(&mut self, kind: Kind) {
        let from = Instant::now();
        let mut place = None;
        match kind {
            Kind::Connections if self.rng.bool() => self.zk.cut_sockets(),
            Kind::Connections => self.zk.member(self.rng.usize(..3)).cut_sockets(),
            Kind::MemberStopped => self.member(false).await,
            Kind::MemberKilled => self.member(true).await,
            Kind::AllStopped => {
                (0..3).for_each(|member| self.witness.set_healthy(member, false));
                self.zk.stop();
                self.last(100..2_500).await;
                self.zk.cont();
                self.healed().await;
            }
            Kind::NodeDeleted => place = self.delete().await,
            Kind::NerveStopped => {
                self.nerve.signal(Signal::STOP);
                self.last_sometimes_longer(50..2_000).await;
                self.nerve.signal(Signal::CONT);
            }
            Kind::NerveKilled => {
                self.nerve.kill9().await;
                self.restart().await;
            }
            Kind::NerveLeft => {
                self.nerve.signal(Signal::USR2);
                self.nerve.ended().await;
                self.restart().await;
            }
        }
        self.faults.push(Fault { kind, place, from, to: Instant::now() });
    }

    /// One member stopped, or killed.
    async fn member(&mut self, is_killed: bool) {
        let index = self.rng.usize(..3);
        self.witness.set_healthy(index, false);
        if is_killed {
            self.zk.member(index).kill9();
            self.last(0..1_000).await;
            block_in_place(|| self.zk.member(index).restart());
        } else {
            self.zk.member(index).stop();
            self.last(100..3_000).await;
            self.zk.member(index).cont();
        }
        self.healed().await;
    }

    async fn restart(&mut self) {
        self.last_sometimes_longer(0..1_000).await;
        self.keep_log();
        self.nerve = self.nerve.again().until_listening().await;
    }

    /// For whoever has to find out what happened: the lab is kept when the test fails.
    fn keep_log(&self) {
        let log = std::fs::File::options().create(true).append(true).open(&self.log);
        log.expect("a log").write_all(self.nerve.log().as_bytes()).expect("a log");
    }

    /// The node of a service chosen by chance, if there is one.
    async fn delete(&mut self) -> Option<usize> {
        let chosen = self.rng.usize(..self.places.len());
        let place = &self.places[chosen];
        let client = connect(&self.zk.member(self.rng.usize(..3)).connect_string()).await.ok()?;
        let seen = look(&client, std::slice::from_ref(&place.path)).await.ok()?;
        for node in ours(&seen, place, &self.foreign) {
            // nerve may have been faster, for example with a ghost.
            client.delete(&node.path, None).await.ok();
        }
        Some(chosen)
    }

    /// A fault, or the pause behind it: what the story is made of.
    async fn last(&mut self, milliseconds: std::ops::Range<u64>) {
        sleep(Duration::from_millis(self.rng.u64(milliseconds))).await;
    }

    /// Every eighth time for longer than the session.
    async fn last_sometimes_longer(&mut self, milliseconds: std::ops::Range<u64>) {
        if self.rng.u8(..8) == 0 {
            sleep(SESSION + Duration::from_secs(1)).await;
        } else {
            self.last(milliseconds).await;
        }
    }

    /// Waits until all members serve under one leader.
    async fn healed(&self) {
        eventually("one leads and all serve", 2 * PATIENCE, || async {
            let modes: Vec<_> = block_in_place(|| {
                self.zk.members().iter().map(|member| member.mode().unwrap_or_default()).collect()
            });
            let count = |mode: &str| modes.iter().filter(|is| *is == mode).count();
            if (count("leader"), count("follower")) == (1, 2) { Ok(()) } else { Err(modes) }
        })
        .await;
        (0..3).for_each(|member| self.witness.set_healthy(member, true));
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |n| n.parse().expect("a number"))
}

async fn storm(count: usize) {
    let seed = number("SMARTSTACK_SEED", fastrand::u64(..1_000_000));
    println!("SMARTSTACK_SEED={seed} SMARTSTACK_FAULTS={count}");
    let lab = Lab::alone().await;
    let zk = block_in_place(|| Zk::ensemble(3));
    let stranger = zk.client().await;
    let (services, places) = services(&lab, &zk.connect_string()).await;
    let foreign = strangers(&stranger, &places).await;
    let config = json!({"zk_session_timeout": SESSION.as_secs(), "services": services});
    let nerve = Nerve::start(&lab, config).await;
    nerve.until_ready().await;
    let servers = zk.members().iter().map(|member| member.connect_string()).collect();
    let witness = Witness::start(servers, places.clone(), foreign.clone());
    witness.all_present().await;
    let rng = fastrand::Rng::with_seed(seed);
    let begun = Instant::now();
    let (faults, log) = (Vec::new(), lab.dir().join("nerve.log"));
    let mut storm = Storm { zk, nerve, witness, places, foreign, rng, faults, log };
    let mut first = Vec::from(ALL);
    storm.rng.shuffle(&mut first);
    for round in 0..count {
        let kind = match first.get(round) {
            Some(kind) => *kind,
            None => WEIGHTED[storm.rng.usize(..WEIGHTED.len())],
        };
        storm.strike(kind).await;
        let is_calm = storm.rng.u8(..3) > 0;
        let pause = if is_calm { 1_050..1_200 } else { 0..300 };
        storm.last(pause).await;
    }
    let last = Instant::now();
    storm.zk.outlast_a_session(SESSION).await;
    storm.keep_log();
    exactly_one_each(&storm).await;
    let Storm { witness, faults, .. } = storm;
    let report = witness.end();
    // Nothing was struck after this; the looks at the end belong to nobody's fault.
    println!("{count} faults in {:?}, seed {seed}", last - begun);
    judge(&report, &faults);
}

/// When every session is over that ended with the last fault.
async fn exactly_one_each(storm: &Storm) {
    let client = connect(&storm.zk.leader().connect_string()).await.expect("all members serve");
    for (place, name) in storm.places.iter().zip(names()) {
        let seen = look(&client, std::slice::from_ref(&place.path)).await.expect("healthy");
        let ours = ours(&seen, place, &storm.foreign);
        let [node] = &ours[..] else {
            panic!("{name}: {ours:?}");
        };
        let session = storm.nerve.service(name).await["session"]["id"].clone();
        let is_live = session == json!(format!("{:#x}", node.owner));
        let is_persistent = name == "persistent" || name == "numbered";
        assert!(if is_persistent { node.owner == 0 } else { is_live }, "{node:?}, not {session}");
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    super::KINDS.into_iter().map(|(name, ..)| name).chain(["second", "checked"])
}

/// Prints, for each kind of fault, what there was of it, and holds nerve to its promise.
fn judge(report: &Report, faults: &[Fault]) {
    let mut worst = Duration::ZERO;
    let mut wrong = Vec::new();
    for &Absence { place, look, first } in &report.absent {
        let before: Vec<_> = faults.iter().filter(|fault| fault.concerns(place, look)).collect();
        let late = before.iter().map(|f| look.from.saturating_duration_since(f.to)).min();
        // A fault that spares what is there may still hold up its return.
        let is_taken = faults.iter().any(|f| f.explains(place, first) && !f.spares());
        if is_taken && before.iter().any(|fault| fault.explains(place, look)) {
            worst = worst.max(late.unwrap_or_default());
        } else {
            let (name, at) = (names().nth(place), look.from);
            let story: Vec<_> = before.iter().rev().take(3).map(|f| f.until(at)).collect();
            wrong.push(format!("{name:?} at {}: {}", clock(at), story.join(", ")));
        }
    }
    for kind in ALL {
        let of_kind: Vec<_> = faults.iter().filter(|fault| fault.kind == kind).collect();
        let longest = of_kind.iter().map(|fault| fault.to - fault.from).max().unwrap_or_default();
        println!("  {kind:?}: {} times, the longest {longest:?}", of_kind.len());
    }
    println!(
        "  {} looks, longest gap {:?}; absent in {}, at most {worst:?} beyond a fault; against the promise: {}; \
         foreign nodes lost: {}",
        report.samples,
        report.longest_gap,
        report.absent.len(),
        wrong.len(),
        report.lost.len(),
    );
    assert!(report.lost.is_empty(), "foreign nodes lost: {:?}", report.lost);
    assert!(wrong.is_empty(), "absent without a reason:\n{}", wrong.join("\n"));
}

/// The time of day, as nerve's log has it.
fn clock(at: Instant) -> String {
    let then = std::time::SystemTime::now() - at.elapsed();
    let since = then.duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let (seconds, milliseconds) = (since.as_secs() % 86_400, since.subsec_millis());
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{milliseconds:03}", seconds % 60)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_random_faults_leave_one_node_per_service_and_every_strangers() {
    storm(FEW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_five_hundred_random_faults_leave_one_node_per_service_and_every_strangers() {
    let default = MANY as u64;
    storm(usize::try_from(number("SMARTSTACK_FAULTS", default)).expect("a number")).await;
}
