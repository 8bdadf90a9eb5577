//! The directory that the files lie in.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::disk;

#[test]
fn a_crash_before_the_rename_leaves_the_old_file() {
    let dir = Dir::new();
    dir.put(&record(&["old"]));
    let aside =
        disk::write_aside(&dir.0, &encode(&record(&["new"])).unwrap(), disk::PUBLIC).unwrap();
    assert_eq!(dir.on_disk().unwrap().endpoints.as_slice()[0].host.as_ref(), "old");
    // The next start removes it once it is surely abandoned, and nothing else.
    let _store = dir.store();
    assert!(aside.exists(), "perhaps somebody is writing it");
    let file = std::fs::File::options().write(true).open(&aside).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    let _store = dir.store();
    assert!(!aside.exists());
    assert!(dir.on_disk().is_some());
}

#[tokio::test]
async fn what_is_no_file_is_refused_without_waiting() {
    let dir = Dir::new();
    std::fs::create_dir(dir.file()).unwrap();
    assert!(dir.store().load(&service(), &source()).is_none());
    std::fs::remove_dir(dir.file()).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.file(),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    assert!(dir.store().load(&service(), &source()).is_none());
}

#[tokio::test]
async fn the_originals_state_is_used_only_without_a_file_of_our_own() {
    let dir = Dir::new();
    let path = dir.0.join("synapse-state.json");
    let now = millis_of(SystemTime::now()) / 1000;
    let entry = json!({"host": "seeded", "port": 80, "timestamp": now});
    std::fs::write(&path, json!({"search.main": {"x": entry}}).to_string()).unwrap();
    let seed = SeedFile { path: path.clone(), ttl: Duration::from_secs(60) };
    let open = || Store::open(dir.0.clone(), Some(&seed)).unwrap();
    let (seeded, memory) = open().load(&service(), &source()).unwrap();
    assert_eq!(memory, Memory::SynapseStateFile);
    assert_eq!(&*seeded.endpoints.as_slice()[0].host, "seeded");
    dir.put(&record(&["own"]));
    let (own, memory) = open().load(&service(), &source()).unwrap();
    assert_eq!((memory, own.endpoints.len()), (Memory::Own, 1));
    assert_eq!(&*own.endpoints.as_slice()[0].host, "own");
    assert!(path.exists());
}

#[tokio::test(start_paused = true)]
async fn refreshes_of_many_services_take_turns() {
    let store = Dir::new().store();
    let first = store.next_turn();
    for turn in 1..500_u32 {
        assert_eq!(store.next_turn() - first, turn * Duration::from_millis(500));
    }
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(store.next_turn(), tokio::time::Instant::now());
}

#[tokio::test]
async fn a_source_that_needs_no_memory_gets_none() {
    let policy = MembershipPolicy::default();
    assert!(SavedSettings::new(&service(), &SourceSettings::Fixed, &policy).is_none());
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error() {
    assert!(Store::open(Path::new("/proc/nowhere").to_owned(), None).is_err());
}
