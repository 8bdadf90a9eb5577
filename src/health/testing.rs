//! A probe that answers from a script, for tests on the paused clock.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::runner::CheckRunner;
use super::{BoxFuture, CheckSettings, Probe, ProbeError, ProbePass, ProbeSettings, SOCKET_ERROR};
use crate::dial::Address;

/// What a target answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Pass,
    Refuse,
    Hang,
    Panic,
    OurFault,
}

/// Answers per target (default: pass) and a record of who was asked when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    answers: HashMap<Address, Answer>,
    asked: Vec<(Address, Instant)>,
    under_way: usize,
    most_under_way: usize,
}

impl Script {
    pub(crate) fn answer(&self, target: impl Into<Address>, answer: Answer) {
        self.0.lock().unwrap().answers.insert(target.into(), answer);
    }

    /// When `target` was asked, since `start`.
    pub(crate) fn asked(&self, target: impl Into<Address>, start: Instant) -> Vec<Duration> {
        let target = target.into();
        let state = self.0.lock().unwrap();
        let mine = state.asked.iter().filter(|(who, _)| *who == target);
        mine.map(|(_, at)| at.duration_since(start)).collect()
    }

    pub(crate) fn most_under_way(&self) -> usize {
        self.0.lock().unwrap().most_under_way
    }

    pub(crate) fn runner(&self, limit: usize) -> CheckRunner {
        let script = self.clone();
        CheckRunner::with_probes(limit, Arc::new(move |_| Arc::new(script.clone())))
    }

    async fn play(&self, target: Address) -> Result<ProbePass, ProbeError> {
        let answer = {
            let mut state = self.0.lock().unwrap();
            state.asked.push((target.clone(), Instant::now()));
            state.under_way += 1;
            state.most_under_way = state.most_under_way.max(state.under_way);
            state.answers.get(&target).copied().unwrap_or(Answer::Pass)
        };
        let _over = Over(self);
        let failure = |code, detail: &str| {
            Err(ProbeError {
                code,
                status: None,
                detail: detail.to_owned(),
                info: detail.to_owned(),
            })
        };
        // A real probe takes a moment, in which others start.
        tokio::time::sleep(Duration::from_millis(1)).await;
        match answer {
            Answer::Pass => Ok(ProbePass { code: "L4OK", status: None }),
            Answer::Refuse => failure("L4CON", "connection refused"),
            Answer::OurFault => failure(SOCKET_ERROR, "too many open files"),
            Answer::Hang => std::future::pending().await,
            Answer::Panic => panic!("scripted panic"),
        }
    }
}

struct Over<'a>(&'a Script);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().under_way -= 1;
    }
}

impl Probe for Script {
    fn probe(&self, target: Address) -> BoxFuture<'_, Result<ProbePass, ProbeError>> {
        Box::pin(self.play(target))
    }
}

/// `check inter 1s fastinter 200ms downinter 600ms rise RISE fall FALL`.
pub(crate) fn settings(rise: u32, fall: u32) -> CheckSettings {
    CheckSettings {
        probe: ProbeSettings::Tcp,
        interval: Duration::from_secs(1),
        fast_interval: Some(Duration::from_millis(200)),
        down_interval: Some(Duration::from_millis(600)),
        rise: NonZeroU32::new(rise).unwrap(),
        fall: NonZeroU32::new(fall).unwrap(),
        timeout: None,
        connect_timeout: None,
        port: None,
        addr: None,
        spread_percent: 0,
        way: None,
    }
}
