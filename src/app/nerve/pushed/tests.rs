use super::file::LOCK;
use super::*;
use serde_json::json;
use std::time::Duration;

struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        let name = format!("nerve-pushed-{}-{:x}", std::process::id(), fastrand::u64(..));
        Self(std::env::temp_dir().join(name))
    }

    fn store(&self) -> PushedStore {
        PushedStore::open(Some(&self.0))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn mark(until: Option<SystemTime>) -> DownMark {
    DownMark { reason: "deploy".into(), since: SystemTime::now(), until }
}

fn service(until: SystemTime) -> PushedService {
    PushedService { definition: json!({"host": "h", "port": 1}), until }
}

fn later() -> SystemTime {
    SystemTime::now() + Duration::from_secs(60)
}

#[test]
fn what_was_pushed_is_there_for_the_next_and_for_the_other() {
    let dir = Dir::new();
    let (mut one, mut other) = (dir.store(), dir.store());
    let service = service(later());
    assert_eq!(one.mark("a", Some(mark(None))), None);
    assert_eq!(other.put("b", service.clone()).unwrap(), None);
    assert_eq!((one.news(), other.news()), (News::None, News::Times));
    let next = dir.store();
    assert_eq!(next.known.downs.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(next.known.services["b"], service);
    // The one hears of it when it looks.
    one.refresh();
    assert_eq!((one.news(), &one.known), (News::Services, &next.known));
    one.refresh();
    assert_eq!(one.news(), News::None);
}

#[test]
fn a_renewal_is_written_with_the_next_flush() {
    let dir = Dir::new();
    let (mut store, until) = (dir.store(), later());
    store.put("a", service(until)).unwrap();
    let renewed = until + Duration::from_secs(5);
    store.renew("a", renewed);
    assert_eq!(store.known.services["a"].until, renewed);
    assert_eq!(dir.store().known.services["a"].until, until);
    assert_eq!(store.flush(), None);
    assert_eq!(dir.store().known.services["a"].until, renewed);
}

#[test]
fn what_has_expired_is_forgotten() {
    let dir = Dir::new();
    let mut store = dir.store();
    store.mark("a", Some(mark(Some(later()))));
    store.put("b", service(later())).unwrap();
    let mut next = dir.store();
    assert!(next.expire(later() + Duration::from_secs(1)));
    assert_eq!(next.known, Pushed::default());
}

#[test]
fn a_downtime_ends_with_its_pushed_service_but_not_with_one_of_the_file() {
    let mut store = PushedStore::open(None);
    let soon = SystemTime::now() + Duration::from_secs(1);
    for name in ["deleted", "expired", "in file"] {
        store.put(name, service(soon)).unwrap();
        store.mark(name, Some(mark(None)));
    }
    store.keep_marks_of(["in file".to_owned()].into());
    store.delete("deleted");
    assert!(store.expire(soon));
    assert_eq!(store.known.downs.keys().collect::<Vec<_>>(), ["in file"]);
}

#[test]
fn a_damaged_file_is_kept_aside() {
    let dir = Dir::new();
    std::fs::create_dir_all(&dir.0).unwrap();
    std::fs::write(dir.0.join(FILE), "{\"downs\":").unwrap();
    assert_eq!(dir.store().known, Pushed::default());
    let kept = std::fs::read_dir(&dir.0).unwrap().filter_map(Result::ok);
    assert!(kept.into_iter().any(|e| e.file_name().to_string_lossy().contains("unreadable")));
}

#[test]
fn a_file_that_is_damaged_or_removed_costs_a_running_process_nothing() {
    let dir = Dir::new();
    let mut store = dir.store();
    store.mark("a", Some(mark(None)));
    std::fs::write(dir.0.join(FILE), "{").unwrap();
    store.refresh();
    assert!(store.known.downs.contains_key("a"));
    store.mark("b", Some(mark(None)));
    assert_eq!(dir.store().known.downs.len(), 2);
    std::fs::remove_file(dir.0.join(FILE)).unwrap();
    store.refresh();
    store.mark("c", Some(mark(None)));
    assert_eq!(dir.store().known.downs.len(), 3);
}

#[test]
fn more_than_can_be_read_again_is_not_taken() {
    let dir = Dir::new();
    let mut store = dir.store();
    store.mark("a", Some(mark(None)));
    let large = serde_json::Value::from("x".repeat(MAX_BYTES / 2));
    let large = PushedService { definition: json!({ "host": large }), until: later() };
    assert_eq!(store.put("first", large.clone()).unwrap(), None);
    assert!(matches!(store.put("second", large), Err(StoreError::TooMuch)));
    let next = dir.store().known;
    assert_eq!(next, store.known);
    assert_eq!((next.downs.len(), next.services.len()), (1, 1));
}

#[test]
fn a_file_that_is_too_large_stays_and_orders_hold() {
    let dir = Dir::new();
    let mut store = dir.store();
    store.mark("a", Some(mark(None)));
    let large = vec![b' '; MAX_BYTES + 1];
    std::fs::write(dir.0.join(FILE), &large).unwrap();
    store.refresh();
    let remark = store.mark("b", Some(mark(None))).unwrap();
    assert!(remark.contains("takes more than"), "{remark}");
    assert_eq!(store.known.downs.len(), 2);
    assert_eq!(std::fs::read(dir.0.join(FILE)).unwrap().len(), large.len());
}

#[test]
fn without_a_right_to_write_downtimes_are_known_and_orders_hold_until_they_can_be_written() {
    let dir = Dir::new();
    dir.store().mark("a", Some(mark(None)));
    // Root may write everywhere, but not into a directory.
    let lock = dir.0.join(LOCK);
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    let mut store = dir.store();
    assert!(store.known.downs.contains_key("a"));
    let remark = store.mark("b", Some(mark(None))).unwrap();
    assert!(remark.starts_with("not remembered across a restart: state_dir cannot"), "{remark}");
    assert!(store.mark("a", None).is_some());
    assert_eq!(store.known.downs.keys().collect::<Vec<_>>(), ["b"]);
    assert!(dir.store().known.downs.contains_key("a"));
    std::fs::remove_dir(&lock).unwrap();
    assert_eq!(store.flush(), None);
    assert_eq!(dir.store().known, store.known);
}

#[test]
fn a_sibling_that_stands_still_with_the_lock_stops_nobody() {
    let dir = Dir::new();
    let mut store = dir.store();
    store.mark("a", Some(mark(None)));
    let held = lock(&dir.0, 1).unwrap();
    let begun = tokio::time::Instant::now();
    let remark = store.mark("b", Some(mark(None))).unwrap();
    assert!(remark.contains("another nerve holds"), "{remark}");
    assert!(store.known.downs.contains_key("b"));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    drop(held);
    assert_eq!(store.flush(), None);
    assert!(dir.store().known.downs.contains_key("b"));
}

#[test]
fn without_a_directory_it_lasts_as_long_as_the_process() {
    let mut store = PushedStore::open(None);
    assert_eq!(store.mark("a", Some(mark(None))), None);
    assert!(store.known.downs.contains_key("a"));
}
