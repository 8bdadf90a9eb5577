//! Nodes of other sessions: of our former ones, and of other processes.

use std::time::Duration;

use tokio::time::Instant;

use super::*;

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
        let memory = Memory::new(home.claimant());
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
