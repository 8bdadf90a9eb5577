//! Signs of life: every thread shows one each second, and the others look.
//!
//! The admin server lives on the control thread, so a control thread that hangs cannot say so. The workers can: each looks
//! on its own tick, and the first that finds it silent logs an error, for all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::shared::Shared;
use super::worker::TICK;

/// A control thread that is silent for longer is stuck: its tasks never block for more than some milliseconds.
pub const CONTROL_SILENCE: Duration = Duration::from_secs(5);

/// Time between two lines about the same silence.
const REMIND_AFTER: Duration = Duration::from_secs(30);

/// A worker that was itself away for longer (a stopped or swapped out process) does not judge others.
const OWN_LATENESS: Duration = Duration::from_secs(2);

/// The control thread's sign of life, and what the workers made of it. Times are milliseconds since `started`.
#[derive(Debug)]
pub(crate) struct ControlLife {
    started: Instant,
    beat: AtomicU64,
    stalls: AtomicU64,
    /// When a silence was last logged; 0: the control thread has lived since.
    told: AtomicU64,
}

/// What a worker finds on its tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    /// Nothing to say.
    Quiet,
    /// A silence begins or goes on.
    Silent(Duration),
    /// It has ended.
    Back,
}

impl ControlLife {
    pub(crate) fn new(started: Instant) -> Self {
        Self {
            started,
            beat: AtomicU64::new(0),
            stalls: AtomicU64::new(0),
            told: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn silent_for(&self) -> Duration {
        let beat = self.beat.load(Ordering::Relaxed);
        Duration::from_millis(self.now().saturating_sub(beat))
    }

    /// A worker's look; `since_last` is the time since its own last one.
    pub(crate) fn look(&self, since_last: Duration) {
        match self.find(since_last) {
            Finding::Quiet => {}
            Finding::Silent(silent) => {
                tracing::error!(
                    ?silent,
                    "control thread is stuck: traffic goes on, changes are not seen"
                );
            }
            Finding::Back => tracing::warn!("control thread is back"),
        }
    }

    fn find(&self, since_last: Duration) -> Finding {
        if since_last > TICK + OWN_LATENESS {
            return Finding::Quiet;
        }
        let (silent, told) = (self.silent_for(), self.told.load(Ordering::Relaxed));
        let settle = |told, now| {
            let (ok, seen) = (Ordering::AcqRel, Ordering::Relaxed);
            // Whoever wins speaks for all workers.
            self.told.compare_exchange(told, now, ok, seen).is_ok()
        };
        if silent <= CONTROL_SILENCE {
            return if told != 0 && settle(told, 0) { Finding::Back } else { Finding::Quiet };
        }
        let now = self.now();
        let is_first = told == 0;
        let due = is_first || now.saturating_sub(told) >= millis(REMIND_AFTER);
        if !due || !settle(told, now) {
            return Finding::Quiet;
        }
        if is_first {
            self.stalls.fetch_add(1, Ordering::Relaxed);
        }
        Finding::Silent(silent)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The signs of life of all threads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pulse(pub(super) Arc<Shared>);

impl Pulse {
    /// The control thread lives. Call every [`TICK`] on it.
    pub fn control_beat(&self) {
        let life = &self.0.control;
        life.beat.store(life.now(), Ordering::Relaxed);
    }

    /// Time since the control thread's last sign of life.
    pub fn control_silent_for(&self) -> Duration {
        self.0.control.silent_for()
    }

    /// Connection tasks that panicked; each ended its own connection only.
    pub fn panics(&self) -> u64 {
        self.0.panics()
    }

    /// How often accepting paused because the process or the host had no descriptor left.
    pub fn accept_pauses(&self) -> u64 {
        self.0.accept_pauses()
    }

    /// How often the workers found the control thread silent for more than [`CONTROL_SILENCE`].
    pub fn control_stalls(&self) -> u64 {
        self.0.control.stalls.load(Ordering::Relaxed)
    }

    /// Time since each worker's last tick; more than a few [`TICK`]s means that its thread is stuck.
    pub fn workers_silent_for(&self) -> Vec<Duration> {
        self.0.silent_for()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pass(time: Duration) {
        tokio::time::advance(time).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_silence_is_told_once_reminded_of_and_ends() {
        let life = ControlLife::new(Instant::now());
        pass(CONTROL_SILENCE).await;
        assert_eq!(life.find(TICK), Finding::Quiet);
        pass(TICK).await;
        assert_eq!(life.find(TICK), Finding::Silent(CONTROL_SILENCE + TICK));
        // Another worker, the next tick.
        assert_eq!(life.find(TICK), Finding::Quiet);
        pass(REMIND_AFTER).await;
        assert!(matches!(life.find(TICK), Finding::Silent(_)));
        assert_eq!(life.stalls.load(Ordering::Relaxed), 1);
        life.beat.store(life.now(), Ordering::Relaxed);
        assert_eq!(life.find(TICK), Finding::Back);
        assert_eq!(life.find(TICK), Finding::Quiet);
    }

    #[tokio::test]
    async fn workers_notice_a_silent_control_thread_by_themselves() {
        let settings = super::super::worker::WorkerSettings::default();
        let workers = super::super::worker::Workers::start(2, settings).unwrap();
        let pulse = workers.pulse();
        // The state to wait for is a time: nobody beats, so it is only a matter of when.
        while pulse.control_stalls() == 0 {
            assert!(pulse.control_silent_for() < 3 * CONTROL_SILENCE);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(pulse.control_silent_for() > CONTROL_SILENCE);
        assert!(pulse.workers_silent_for().iter().all(|s| *s < 3 * TICK));
        pulse.control_beat();
        assert!(pulse.control_silent_for() < CONTROL_SILENCE);
        assert_eq!(pulse.control_stalls(), 1, "one for all workers");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_was_away_itself_does_not_judge() {
        let life = ControlLife::new(Instant::now());
        pass(Duration::from_secs(60)).await;
        assert_eq!(life.find(Duration::from_secs(60)), Finding::Quiet);
        assert!(matches!(life.find(TICK), Finding::Silent(_)));
    }
}
