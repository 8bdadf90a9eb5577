//! Our line among others, and a file that is broken, missing or no file.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[tokio::test]
async fn keeps_one_line_among_others_and_leaves_it_at_the_stop() {
    let scratch = Scratch::new();
    scratch.put(r#"[{"host":"a","port":1},"odd"]"#);
    let mut running = scratch.start(record("me", 7));
    let state = running.make(Wanted::Present).await;
    assert_eq!((state.writes, state.owner, state.trouble), (1, None, None));
    assert_eq!(state.node.as_deref(), scratch.path().to_str());
    let expected = "[\n{\"host\":\"a\",\"port\":1},\n\"odd\",\n{\"host\":\"me\",\"port\":7,\"name\":\"i-1\"}\n]\n";
    assert_eq!(scratch.text(), expected);
    let mode = std::fs::metadata(scratch.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    running.end().await;
    assert_eq!(scratch.text(), expected);

    let mut running = scratch.start(record("me", 7));
    let state = running.make(Wanted::Present).await;
    assert_eq!(state.writes, 0, "what is right is not written again");
    let state = running.make(Wanted::Absent).await;
    assert_eq!((state.node, state.writes), (None, 1));
    assert_eq!(scratch.text(), "[\n{\"host\":\"a\",\"port\":1},\n\"odd\"\n]\n");
    assert!(!scratch.0.join("backends.json.new").exists());
}

#[tokio::test]
async fn undecided_touches_nothing_and_absent_makes_no_file() {
    let scratch = Scratch::new();
    let mut running = scratch.start(record("me", 7));
    running.make(Wanted::Absent).await;
    assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 0);
    scratch.put(r#"[{"host":"me","port":7,"name":"i-1"}]"#);
    running.until(|state| state.writes == 1).await;
    running.end().await;

    let there = r#"[{"host":"me","port":7,"name":"i-1","weight":3}]"#;
    scratch.put(there);
    let mut running = scratch.start(record("me", 7));
    let state = running.until(|state| state.phase == Phase::Registered).await;
    assert_eq!((state.writes, scratch.text().as_str()), (0, there));
}

#[tokio::test]
async fn what_others_remove_or_change_is_back_within_a_second() {
    let scratch = Scratch::new();
    let mut running = scratch.start(record("me", 7));
    running.make(Wanted::Present).await;
    let right = scratch.text();
    for (writes, by_hand) in [
        (2, "[]"),
        (3, r#"[{"host":"me","port":7,"name":"i-1","weight":0}]"#),
        (4, r#"[{"host":"me","port":7,"name":"i-1"},{"host":"me","port":7,"name":"i-1"}]"#),
    ] {
        let at = Instant::now();
        scratch.put(by_hand);
        running.until(|state| state.writes == writes).await;
        assert!(at.elapsed() < Duration::from_secs(1), "{:?}", at.elapsed());
        assert_eq!(scratch.text(), right);
    }
    std::fs::remove_file(scratch.path()).unwrap();
    running.until(|state| state.writes == 5).await;
    assert_eq!(scratch.text(), right);
}

#[tokio::test]
async fn a_broken_file_is_never_written_until_somebody_mends_it() {
    let scratch = Scratch::new();
    let mut running = scratch.start(record("me", 7));
    running.make(Wanted::Present).await;
    for broken in ["[{\"host\":\"a\"", "{}", "- host: a\n"] {
        scratch.put(broken);
        let state = running.until(|state| state.trouble.is_some()).await;
        assert_eq!(state.phase, Phase::Unconfirmed);
        assert!(state.trouble.unwrap().starts_with("not a JSON list: "));
        assert_eq!(scratch.text(), broken);
        scratch.put(r#"[{"host":"a","port":1}]"#);
        let state = running.until(|state| state.trouble.is_none()).await;
        assert_eq!(state.phase, Phase::Registered);
        assert_eq!(scratch.hosts(), ["a", "me"]);
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_is_trouble() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path()).unwrap();
    let mut running = scratch.start(record("me", 7));
    running.wish.send_replace(Wanted::Present);
    let state = running.until(|state| state.trouble.is_some()).await;
    assert_eq!(state.phase, Phase::Changing);
    assert_eq!(state.trouble.as_deref(), Some("not a regular file"));
    running.end().await;

    let mut running = scratch.start(record("not a host", 7));
    running.wish.send_replace(Wanted::Present);
    let state = running.until(|state| state.trouble.is_some()).await;
    assert!(state.trouble.unwrap().starts_with("host is "));
    running.end().await;
}

#[tokio::test]
async fn a_missing_directory_is_made_and_a_link_stays_a_link() {
    let mut scratch = Scratch::new();
    let outer = scratch.0.clone();
    scratch.0 = outer.join("run");
    let mut running = scratch.start(record("me", 7));
    running.make(Wanted::Present).await;
    running.end().await;
    let real = scratch.0.join("real.json");
    std::fs::rename(scratch.path(), &real).unwrap();
    std::os::unix::fs::symlink("real.json", scratch.path()).unwrap();
    let mut running = scratch.start(record("me", 8));
    running.make(Wanted::Present).await;
    assert!(std::fs::symlink_metadata(scratch.path()).unwrap().is_symlink());
    assert_eq!(std::fs::read_to_string(real).unwrap().matches("\"me\"").count(), 2);
    drop(std::fs::remove_dir_all(outer));
}
