//! What is told of a registration that cannot be made.

use std::time::Duration;

use super::*;

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
