use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Mutex;

use super::*;
use crate::health::ProbePass;
use crate::health::local::{Exec, LocalProbe};

/// What a scripted check does.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Pass,
    Fail,
    Hang,
    Panic,
    OurFault,
}

/// Answers by the name of a check (default: pass), and who was asked.
#[derive(Clone, Debug, Default)]
struct Script(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    answers: HashMap<String, Answer>,
    asked: Vec<String>,
}

impl Script {
    fn set(&self, name: &str, answer: Answer) {
        self.0.lock().unwrap().answers.insert(name.to_owned(), answer);
    }

    fn asked(&self) -> String {
        std::mem::take(&mut self.0.lock().unwrap().asked).concat()
    }

    fn runner(&self, limit: usize) -> LocalRunner {
        let script = self.clone();
        let prober: Prober = Arc::new(move |check, _| {
            let answer = {
                let mut state = script.0.lock().unwrap();
                state.asked.push(check.name.to_string());
                state.answers.get(&*check.name).copied().unwrap_or(Answer::Pass)
            };
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                match answer {
                    Answer::Pass => Ok(ProbePass { code: "L7OK", status: None }),
                    Answer::Fail => Err(failure("L7STS", "scripted".to_owned())),
                    Answer::OurFault => Err(failure(SOCKET_ERROR, "no descriptors".to_owned())),
                    Answer::Hang => std::future::pending().await,
                    Answer::Panic => panic!("scripted panic"),
                }
            })
        });
        LocalRunner::with_prober(limit, prober)
    }
}

fn settings(names: &[&str], rise: u32, fall: u32) -> LocalCheckSettings {
    let check = |name: &&str| LocalCheck {
        name: (*name).into(),
        probe: LocalProbe::Noop,
        deadline: Duration::from_millis(100),
        rise: NonZeroU32::new(rise).unwrap(),
        fall: NonZeroU32::new(fall).unwrap(),
    };
    LocalCheckSettings {
        checks: names.iter().map(check).collect(),
        interval: Duration::from_millis(500),
        is_mocked: false,
    }
}

#[tokio::test(start_paused = true)]
async fn a_pass_stops_at_the_first_check_that_is_down_and_later_ones_freeze() {
    let script = Script::default();
    let mut checks = ServiceChecks::new(&settings(&["a", "b", "c"], 1, 2), &script.runner(8));
    assert_eq!(checks.pass().await.is_up, Some(true));
    assert_eq!(script.asked(), "abc");
    script.set("b", Answer::Fail);
    script.set("c", Answer::Fail);
    // One failure of two: b and c stay up.
    assert_eq!(checks.pass().await.is_up, Some(true));
    assert_eq!(script.asked(), "abc");
    let pass = checks.pass().await;
    assert_eq!((pass.is_up, pass.results.len()), (Some(false), 2));
    assert_eq!(script.asked(), "ab");
    let shown: Vec<_> =
        checks.checks().map(|(name, last)| (&**name, last.unwrap().is_up)).collect();
    assert_eq!(shown, [("a", Some(true)), ("b", Some(false)), ("c", Some(true))]);
    // c goes on where it was: its second failure takes it down.
    script.set("b", Answer::Pass);
    assert_eq!(checks.pass().await.is_up, Some(false));
    assert_eq!(script.asked(), "abc");
}

#[tokio::test(start_paused = true)]
async fn no_checks_and_mocked_checks_are_up_and_ask_nobody() {
    let script = Script::default();
    script.set("a", Answer::Fail);
    let mut none = ServiceChecks::new(&settings(&[], 1, 1), &script.runner(8));
    let up = Pass { is_up: Some(true), results: Vec::new() };
    assert_eq!(none.pass().await, up);
    let mocked = LocalCheckSettings { is_mocked: true, ..settings(&["a"], 1, 1) };
    assert_eq!(ServiceChecks::new(&mocked, &script.runner(8)).pass().await, up);
    assert_eq!(script.asked(), "");
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_fails_at_its_deadline() {
    let script = Script::default();
    script.set("a", Answer::Hang);
    let mut checks = ServiceChecks::new(&settings(&["a"], 1, 1), &script.runner(8));
    let start = Instant::now();
    let pass = checks.pass().await;
    assert_eq!(start.elapsed(), Duration::from_millis(100));
    let result = &pass.results[0];
    assert_eq!(result.result.as_ref().unwrap_err().to_string(), "L7TOUT: no result within 100ms");
    assert_eq!(result.took, Duration::from_millis(100));
    assert_eq!(pass.is_up, Some(false));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_like_any_other() {
    let script = Script::default();
    script.set("a", Answer::Panic);
    let mut checks = ServiceChecks::new(&settings(&["a"], 1, 1), &script.runner(8));
    let pass = checks.pass().await;
    assert_eq!(pass.is_up, Some(false));
    let error = pass.results[0].result.as_ref().unwrap_err();
    assert_eq!(error.to_string(), "PROCERR: the probe panicked");
    script.set("a", Answer::Pass);
    assert_eq!(checks.pass().await.is_up, Some(true));
}

#[tokio::test(start_paused = true)]
async fn our_own_lack_of_descriptors_changes_no_verdict() {
    let script = Script::default();
    script.set("a", Answer::OurFault);
    let mut checks = ServiceChecks::new(&settings(&["a", "b"], 1, 1), &script.runner(8));
    // Nothing is known yet, and nothing is claimed.
    assert_eq!(checks.pass().await.is_up, None);
    for (answer, verdict) in [(Answer::Pass, true), (Answer::Fail, false)] {
        script.set("a", answer);
        assert_eq!(checks.pass().await.is_up, Some(verdict));
        script.set("a", Answer::OurFault);
        let pass = checks.pass().await;
        assert_eq!(pass.is_up, Some(verdict));
        assert_eq!(pass.results[0].result.as_ref().unwrap_err().code, SOCKET_ERROR);
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_permit_is_not_counted() {
    let script = Script::default();
    script.set("slow", Answer::Hang);
    let runner = script.runner(1);
    let mut slow = ServiceChecks::new(&settings(&["slow"], 1, 1), &runner);
    let mut other = ServiceChecks::new(&settings(&["other"], 1, 1), &runner);
    let (first, second) = tokio::join!(slow.pass(), other.pass());
    assert_eq!((first.is_up, second.is_up), (Some(false), Some(true)));
    assert_eq!(second.results[0].took, Duration::from_millis(1));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_pass_keeps_what_was_counted_and_gives_its_permit_back() {
    let script = Script::default();
    script.set("b", Answer::Hang);
    let mut checks = ServiceChecks::new(&settings(&["a", "b"], 1, 1), &script.runner(1));
    tokio::select! {
        pass = checks.pass() => panic!("it ended: {pass:?}"),
        () = tokio::time::sleep(Duration::from_millis(50)) => {}
    }
    let ran: Vec<bool> = checks.checks().map(|(_, last)| last.is_some()).collect();
    assert_eq!(ran, [true, false]);
    script.set("b", Answer::Pass);
    assert_eq!(checks.pass().await.is_up, Some(true));
}

#[tokio::test]
async fn real_checks_run_one_after_the_other() {
    let mut settings = settings(&["noop", "exec"], 1, 1);
    settings.checks[1].deadline = Duration::from_secs(5);
    settings.checks[1].probe =
        LocalProbe::Exec(Exec { program: "false".into(), arguments: Vec::new() });
    let pass = ServiceChecks::new(&settings, &LocalRunner::default()).pass().await;
    let codes: Vec<_> = pass
        .results
        .iter()
        .map(|r| r.result.as_ref().map_or_else(|e| e.code, |p| p.code))
        .collect();
    assert_eq!(codes, ["L7OK", "PROCERR"]);
}
