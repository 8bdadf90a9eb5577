//! The promises of `slot`.

use super::*;
use crate::endpoint::ServiceName;

const ENSEMBLE: &str = "zk1:2181";

struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        let name = format!("nerve-slot-{}-{:x}", std::process::id(), fastrand::u64(..));
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn session(id: i64) -> Credentials {
    Credentials { id, password: vec![u8::try_from(id).unwrap(); 16] }
}

fn spot(service: &str, parent: &str) -> Spot {
    let service = ServiceName::new(service);
    Spot { service, ensemble: ENSEMBLE.into(), parent: parent.into() }
}

fn set(nodes: &[&str]) -> BTreeSet<String> {
    nodes.iter().map(|node| (*node).to_owned()).collect()
}

#[test]
fn the_next_process_in_a_slot_goes_on_with_its_sessions() {
    let dir = Dir::new();
    let first = Slot::take(&dir.0).unwrap();
    assert_eq!(first.heir(ENSEMBLE), None);
    first.keep(ENSEMBLE, &session(7));
    first.keep(ENSEMBLE, &session(8));
    drop(first);
    let second = Slot::take(&dir.0).unwrap();
    assert_eq!(second.heir(ENSEMBLE), Some(session(8)));
    assert_eq!(second.relation(7), Relation::Former);
    second.keep("zk1:2181,zk2:2181", &session(9));
    assert_eq!(second.relation(9), Relation::Elder, "ours, under another name of the ensemble");
    second.closed("zk1:2181,zk2:2181");
    assert_eq!(second.relation(9), Relation::Former);
    assert_eq!(second.relation(10), Relation::Foreign);
    second.closed(ENSEMBLE);
    drop(second);
    let third = Slot::take(&dir.0).unwrap();
    assert_eq!(third.heir(ENSEMBLE), None);
    assert_eq!(third.relation(8), Relation::Former, "closed, but still known");
}

#[test]
fn two_at_once_have_slots_of_their_own_and_the_younger_has_the_right_of_way() {
    let dir = Dir::new();
    let old = Slot::take(&dir.0).unwrap();
    old.keep(ENSEMBLE, &session(1));
    let new = Slot::take(&dir.0).unwrap();
    assert_ne!(old.dir(), new.dir());
    new.keep(ENSEMBLE, &session(2));
    assert_eq!(new.relation(1), Relation::Elder);
    assert_eq!(old.relation(2), Relation::Younger);
    drop(old);
    assert_eq!(new.relation(1), Relation::Former);
}

#[test]
fn a_persistent_node_is_of_the_youngest_that_runs_and_remembers_it() {
    let dir = Dir::new();
    let batch = spot("batch", "/p");
    let old = Slot::take(&dir.0).unwrap();
    let new = Slot::take(&dir.0).unwrap();
    for slot in [&old, &new] {
        slot.remember(&batch, &set(&["/p/i_", "/p/j_"]), &set(&[]));
    }
    assert!(old.is_of_younger(ENSEMBLE, "/p/i_") && old.is_of_younger(ENSEMBLE, "/p/j_"));
    assert!(!old.is_of_younger(ENSEMBLE, "/p/i") && !new.is_of_younger(ENSEMBLE, "/p/i_"));
    assert!(!old.is_of_younger("zk9:2181", "/p/i_"), "of another ensemble");
    drop(new);
    assert!(!old.is_of_younger(ENSEMBLE, "/p/i_"), "who is dead has no right of way");
}

#[test]
fn the_slot_that_was_left_last_is_taken_first() {
    let dir = Dir::new();
    let old = Slot::take(&dir.0).unwrap();
    let new = Slot::take(&dir.0).unwrap();
    old.keep(ENSEMBLE, &session(1));
    new.keep(ENSEMBLE, &session(2));
    let wanted = new.dir().to_owned();
    old.closed(ENSEMBLE);
    drop((old, new));
    let next = Slot::take(&dir.0).unwrap();
    assert_eq!(next.dir(), wanted);
    assert_eq!(next.heir(ENSEMBLE), Some(session(2)));
}

#[test]
fn more_than_eight_are_refused() {
    let dir = Dir::new();
    let all: Vec<_> = (0..MAX_SLOTS).map(|_| Slot::take(&dir.0).unwrap()).collect();
    let refused = Slot::take(&dir.0).unwrap_err();
    assert!(refused.to_string().starts_with("8 nerves run with"), "{refused}");
    drop(all);
}

#[test]
fn a_damaged_memory_is_no_memory() {
    let dir = Dir::new();
    let slot = Slot::take(&dir.0).unwrap();
    let file = slot.dir().join(MEMORY);
    drop(slot);
    for damage in [&b"{"[..], b"", b"\xff", b"[]", b"{\"version\":9}"] {
        std::fs::write(&file, damage).unwrap();
        let slot = Slot::take(&dir.0).unwrap();
        assert_eq!(slot.heir(ENSEMBLE), None);
    }
}

#[test]
fn persistent_nodes_are_remembered_and_secrets_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = Dir::new();
    let slot = Slot::take(&dir.0).unwrap();
    let (batch, one, none) = (spot("batch", "/p"), set(&["/p/i_0000000001"]), set(&[]));
    slot.remember(&batch, &one, &none);
    let file = slot.dir().join(MEMORY);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    drop(slot);
    let slot = Slot::take(&dir.0).unwrap();
    assert_eq!(slot.remembered(&batch), one);
    slot.remember(&batch, &none, &one);
    assert_eq!(slot.remembered(&batch), none);
}

#[test]
fn a_memory_that_cannot_be_written_does_not_cost_the_slot() {
    let dir = Dir::new();
    let file = slot_dir(&dir.0, 0).join(MEMORY);
    // Nothing can be renamed to where a directory stands, whoever we run as.
    std::fs::create_dir_all(file.join("in the way")).unwrap();
    let slot = Slot::take(&dir.0).unwrap();
    slot.keep(ENSEMBLE, &session(7));
    assert_eq!(slot.heir(ENSEMBLE), Some(session(7)));
    std::fs::remove_dir_all(&file).unwrap();
    slot.keep(ENSEMBLE, &session(8));
    drop(slot);
    assert_eq!(Slot::take(&dir.0).unwrap().heir(ENSEMBLE), Some(session(8)), "there is room again");
}

#[test]
fn a_slot_that_cannot_be_used_is_skipped_and_none_at_all_is_an_error() {
    let dir = Dir::new();
    std::fs::create_dir_all(&dir.0).unwrap();
    std::fs::write(slot_dir(&dir.0, 0), "no directory").unwrap();
    let slot = Slot::take(&dir.0).unwrap();
    assert_eq!(slot.dir(), slot_dir(&dir.0, 1));
    for number in 2..MAX_SLOTS {
        std::fs::write(slot_dir(&dir.0, number), "no directory").unwrap();
    }
    let refused = Slot::take(&dir.0).unwrap_err();
    assert!(matches!(refused, SlotError::Directory { .. }), "{refused}");
}

#[test]
fn a_damaged_memory_is_told_once() {
    let dir = Dir::new();
    assert!(is_news(&dir.0));
    assert!(!is_news(&dir.0));
    assert!(is_news(&slot_dir(&dir.0, 1)));
}
