//! What is handed over, there and back.

use super::super::wire::{MAX_AGE, ago};
use super::*;
use crate::discovery::policy;
use crate::health::rise_fall::Verdict;
use crate::lb::handle::CheckView;
use crate::lb::pool::state::BackendState;
use std::time::Duration;
use tokio::time::Instant;

fn endpoint() -> Endpoint {
    Endpoint {
        name: Some("i-1".into()),
        id: Some(7),
        weight: Some(3),
        server_options: Some("check".into()),
        labels: Labels::from([("az".to_owned(), serde_json::json!(["a", 1]))]).into(),
        server_id: Some(9),
        ..Endpoint::new("host", 80)
    }
}

pub(crate) fn example() -> State {
    let check = CheckView {
        code: "L7STS",
        status: Some(503),
        detail: "status 503".to_owned(),
        took: Duration::from_millis(3),
        at: Instant::now(),
        streak: 4,
    };
    let backend = BackendState {
        endpoint: endpoint(),
        addr: Some(([127, 0, 0, 1], 80).into()),
        verdict: Some(Verdict {
            is_up: false,
            counter: 1,
            streak: (false, 4),
            since: Instant::now(),
        }),
        last_check: Some(check),
    };
    State {
        services: vec![ServiceState {
            name: "web".to_owned(),
            source: "fixed".to_owned(),
            word: Some(Word::Known(vec![WireEndpoint::from(&endpoint())])),
            held: None,
            stale_ms: None,
            generator: Some("{}".to_owned()),
            in_force: vec![WireEndpoint::from(&endpoint())],
            named: Some(vec![WireEndpoint::from(&endpoint())]),
            named_has_ports: false,
            origin: origin_word(SetOrigin::Previous).to_owned(),
            position: 12,
            membership_changes: 3,
            health_changes: 5,
            backends: vec![WireBackend::from(backend)],
        }],
    }
}

pub(crate) fn use_all(state: &State) {
    for service in &state.services {
        drop((service.discovered(), service.pool()));
    }
}

#[test]
fn a_state_survives_the_journey() {
    let sent = serde_json::to_string(&example()).unwrap();
    let state: State = serde_json::from_str(&sent).unwrap();
    let known = state.of("web", &SourceSettings::Fixed).unwrap();
    let pool = known.pool();
    assert_eq!(pool.in_force.as_slice(), [endpoint()]);
    assert_eq!((pool.named.set.as_slice(), pool.named.has_ports), ([endpoint()].as_slice(), false));
    assert_eq!((pool.origin, pool.position), (SetOrigin::Previous, 12));
    assert_eq!((pool.membership_changes, pool.health_changes), (3, 5));
    let backend = &pool.backends[0];
    assert_eq!(backend.endpoint, endpoint());
    let verdict = backend.verdict.unwrap();
    assert_eq!((verdict.is_up, verdict.counter, verdict.streak), (false, 1, (false, 4)));
    assert_eq!(backend.last_check.as_ref().unwrap().code, "L7STS");
    let word = known.discovered();
    assert!(matches!(word.membership, Membership::Known(set) if set.len() == 1));
    assert_eq!(word.generator.as_deref(), Some("{}"));
}

#[test]
fn a_set_that_waits_for_its_new_source_is_held() {
    let held = |word: Option<Word>| {
        let mut state = example();
        let service = &mut state.services[0];
        (service.word, service.held) = (word, Some(vec![WireEndpoint::from(&endpoint())]));
        let word = service.discovered();
        let settings = MembershipPolicy { leader_election: true, ..MembershipPolicy::default() };
        let previous = policy::Published::default();
        policy::apply(word.policy(&settings), &word.membership, &previous).set
    };
    for word in [None, Some(Word::Missing), Some(Word::Known(Vec::new()))] {
        assert_eq!(held(word.clone()).as_slice(), [endpoint()], "{word:?}");
    }
}

#[test]
fn a_memory_stays_a_memory_of_its_age() {
    let mut state = example();
    assert!(state.services[0].discovered().stale.is_none());
    state.services[0].stale_ms = Some(90_000);
    let stale = state.services[0].discovered().stale.unwrap();
    let age = stale.age(SystemTime::now()).as_secs();
    assert!((90..120).contains(&age), "{age}");
    state.services[0].stale_ms = Some(u64::MAX);
    assert!(state.services[0].discovered().stale.is_some(), "from long ago");
}

#[test]
fn an_older_version_tells_no_word_but_what_was_made_of_it() {
    let named = |origin: SetOrigin| {
        let mut state = example();
        let service = &mut state.services[0];
        service.origin = origin_word(origin).to_owned();
        let mut sent = serde_json::to_value(&*service).unwrap();
        let fields = sent.as_object_mut().unwrap();
        assert!(fields.remove("named").is_some() && fields.remove("named_has_ports").is_some());
        serde_json::from_value::<ServiceState>(sent).unwrap().pool().named
    };
    let kept = named(SetOrigin::Previous);
    assert_eq!((kept.set.as_slice(), kept.has_ports), ([endpoint()].as_slice(), true));
    assert!(named(SetOrigin::DefaultServers).set.is_empty());
}

#[test]
fn a_set_found_elsewhere_is_nobodys() {
    let file = SourceSettings::File(crate::discovery::FileSourceSettings {
        path: "/x".into(),
        poll_interval: Duration::from_secs(1),
    });
    assert!(example().of("web", &file).is_none());
    let counted = example().counted("web").unwrap();
    assert_eq!((counted.membership_changes, counted.health_changes), (3, 5), "they never fall");
    assert!(counted.in_force.is_empty() && counted.backends.is_empty());
    assert!(example().counted("other").is_none());
    assert!(example().of("other", &SourceSettings::Fixed).is_none());
}

#[tokio::test(start_paused = true)]
async fn ages_are_bounded() {
    assert!(ago(u64::MAX).elapsed() <= MAX_AGE);
    assert_eq!(ago(5).elapsed(), Duration::from_millis(5));
}
