//! What every reporter must do, run against each of them: nothing undecided → registered → removed by somebody → registry
//! lost → recovered → handed over → deregistered.
//!
//! A new reporter implements [`Rig`] and adds one test that calls [`check`].

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Phase, Registration, Reporter, Wanted};

/// A reporter and the power over what it writes.
pub(super) trait Rig {
    /// Another one for the same registration.
    fn reporter(&self) -> Box<dyn Reporter>;
    /// How many registrations say what ours says.
    fn count(&self) -> usize;
    /// Whether what others have registered is as they left it.
    fn is_others_untouched(&self) -> bool;
    /// Somebody removes ours.
    fn remove(&self);
    /// The registry cannot be reached, or not be read.
    fn lose(&self);
    /// It can again, and says what it said before.
    fn recover(&self);
}

/// A reporter that runs.
pub(super) struct Running {
    pub(super) wanted: watch::Sender<Wanted>,
    pub(super) state: watch::Receiver<Registration>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(super) fn start(reporter: Box<dyn Reporter>, wish: Wanted) -> Self {
        let (wanted, wishes) = watch::channel(wish);
        let (out, state) = watch::channel(Registration::default());
        let stop = CancellationToken::new();
        let task = tokio::spawn(reporter.run(wishes, out, stop.clone()));
        Self { wanted, state, stop, task }
    }

    pub(super) async fn until(
        &mut self,
        what: &str,
        holds: impl FnMut(&Registration) -> bool,
    ) -> Registration {
        let found = tokio::time::timeout(Duration::from_secs(120), self.state.wait_for(holds))
            .await
            .map(|found| found.unwrap().clone());
        found.unwrap_or_else(|_elapsed| panic!("never {what}, but {:?}", self.state.borrow()))
    }

    pub(super) async fn phase(&mut self, phase: Phase) -> Registration {
        self.until(&format!("{phase:?}"), |state| state.phase == phase).await
    }

    /// The task ends at once.
    pub(super) async fn stop(self) {
        assert!(!self.task.is_finished(), "only a stop ends a reporter");
        self.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(1), self.task).await;
        ended.expect("at once").unwrap();
    }
}

pub(super) async fn check(rig: impl Rig) {
    let mut first = Running::start(rig.reporter(), Wanted::Undecided);
    registers(&rig, &mut first).await;
    restores(&rig, &mut first).await;
    first.stop().await;
    assert_eq!(rig.count(), 1, "a stop leaves it");
    let mut second = Running::start(rig.reporter(), Wanted::Undecided);
    adopts(&rig, &mut second).await;
    deregisters(&rig, &mut second).await;
    second.stop().await;

    let mut third = Running::start(rig.reporter(), Wanted::Absent);
    third.phase(Phase::Absent).await;
    third.wanted.send_replace(Wanted::Present);
    third.phase(Phase::Registered).await;
    third.wanted.send_replace(Wanted::Absent);
    third.phase(Phase::Absent).await;
    assert_eq!(rig.count(), 0);
    assert!(rig.is_others_untouched());
    third.stop().await;
}

async fn registers(rig: &impl Rig, running: &mut Running) {
    let state = running.until("looked", |state| state.phase != Phase::Unknown).await;
    assert_eq!((state.phase, rig.count()), (Phase::Absent, 0), "nothing is made undecided");
    running.wanted.send_replace(Wanted::Present);
    let state = running.phase(Phase::Registered).await;
    assert_eq!(rig.count(), 1);
    assert!(state.node.is_some() && state.writes == 1 && state.trouble.is_none(), "{state:?}");
}

async fn restores(rig: &impl Rig, running: &mut Running) {
    rig.remove();
    running.until("written again", |state| state.writes == 2).await;
    running.phase(Phase::Registered).await;
    assert_eq!(rig.count(), 1);

    rig.lose();
    let state = running.until("in trouble", |state| state.trouble.is_some()).await;
    assert!(matches!(state.phase, Phase::Unconfirmed | Phase::Changing), "{state:?}");
    assert_eq!(state.trouble.unwrap().lines().count(), 1);
    rig.recover();
    let state = running.phase(Phase::Registered).await;
    assert_eq!((rig.count(), state.trouble), (1, None));
}

async fn adopts(rig: &impl Rig, running: &mut Running) {
    let state = running.phase(Phase::Registered).await;
    assert_eq!((rig.count(), state.writes), (1, 0), "the next one finds it");
    running.wanted.send_replace(Wanted::Present);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let state = running.phase(Phase::Registered).await;
    assert_eq!((rig.count(), state.writes), (1, 0));
}

async fn deregisters(rig: &impl Rig, running: &mut Running) {
    rig.lose();
    running.until("in trouble", |state| state.trouble.is_some()).await;
    running.wanted.send_replace(Wanted::Absent);
    running.phase(Phase::Changing).await;
    rig.recover();
    let state = running.phase(Phase::Absent).await;
    assert_eq!((rig.count(), state.node, state.owner), (0, None, None));
}
