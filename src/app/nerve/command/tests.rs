use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::fleet::Parts;
use super::super::pushed::PushedStore;
use super::super::running::Household;
use super::super::slot::Alone;
use super::*;
use crate::app::sessions::Sessions;
use crate::config::nerve::{NerveLoadOptions, load};
use crate::health::local::LocalRunner;

struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A fleet of one service, `web`, line 10.0.0.1:80 of a file.
fn fleet() -> (Dir, Fleet) {
    let name = format!("nerve-command-{}-{:x}", std::process::id(), fastrand::u64(..));
    let dir = Dir(std::env::temp_dir().join(name));
    std::fs::create_dir_all(&dir.0).unwrap();
    let file = dir.0.join("nerve.json");
    let services = json!({"web": line(&dir, 80)});
    std::fs::write(&file, json!({"instance_id": "i", "services": services}).to_string()).unwrap();
    let household = Household {
        kin: Arc::new(Alone::default()),
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
        checks: LocalRunner::default(),
    };
    let config = load(&NerveLoadOptions::new(file)).unwrap();
    let fleet = Fleet::start(Parts {
        started_with: config.process.clone(),
        config,
        options: None,
        household,
        slot: None,
        pushed: PushedStore::open(Some(&dir.0)),
        sessions: Sessions::default(),
        entries: Arc::default(),
        remarks: Arc::default(),
    });
    (dir, fleet.unwrap())
}

fn line(dir: &Dir, port: u16) -> Value {
    let path = dir.0.join("lines.json");
    json!({"host": "10.0.0.1", "port": port, "reporter_type": "file", "file_path": path,
        "checks": [{"type": "noop"}]})
}

fn after(seconds: u64) -> SystemTime {
    SystemTime::now() + Duration::from_secs(seconds)
}

fn down() -> Option<DownMark> {
    Some(DownMark { reason: String::new(), since: SystemTime::now(), until: None })
}

fn clash(refused: Result<Done, Refused>) -> String {
    match refused {
        Err(Refused::Definition(complaints)) => {
            complaints.iter().map(ToString::to_string).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn pushed_services_do_not_share_a_place() {
    let (dir, mut fleet) = fleet();
    fleet.put("a", line(&dir, 81), after(60)).unwrap();
    let text = clash(fleet.put("b", line(&dir, 81), after(60)));
    assert!(text.contains("service \"a\" has the same line 10.0.0.1:81"), "{text}");
    let text = clash(fleet.put("b", line(&dir, 80), after(60)));
    assert!(text.contains("service \"web\" has the same line 10.0.0.1:80"), "{text}");
    // Its own former place is free, and then anybody's.
    fleet.put("a", line(&dir, 82), after(60)).unwrap();
    fleet.put("b", line(&dir, 81), after(60)).unwrap();
    assert_eq!(fleet.services.len(), 3);
}

#[tokio::test]
async fn a_renewal_changes_nothing_but_the_time() {
    let (dir, mut fleet) = fleet();
    fleet.put("a", line(&dir, 81), after(60)).unwrap();
    let written = std::fs::read(dir.0.join("pushed.json")).unwrap();
    let until = after(90);
    let done = fleet.put("a", line(&dir, 81), until).unwrap();
    assert_eq!(done.entry.origin, Origin::Pushed { until });
    assert_eq!(fleet.parts.entries.load()[1].origin, Origin::Pushed { until });
    assert_eq!(std::fs::read(dir.0.join("pushed.json")).unwrap(), written);
    fleet.forget_expired();
    assert_ne!(std::fs::read(dir.0.join("pushed.json")).unwrap(), written);
}

#[tokio::test]
async fn a_downtime_ends_with_its_pushed_service() {
    let (dir, mut fleet) = fleet();
    fleet.put("a", line(&dir, 81), after(60)).unwrap();
    fleet.mark("a", down()).unwrap();
    fleet.delete("a").unwrap();
    fleet.put("a", line(&dir, 81), SystemTime::now() + Duration::from_millis(50)).unwrap();
    assert!(fleet.parts.pushed.known.downs.is_empty());
    fleet.mark("a", down()).unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    fleet.forget_expired();
    assert_eq!(fleet.services.len(), 1);
    assert!(fleet.parts.pushed.known.downs.is_empty());
}

#[tokio::test]
async fn a_downtime_holds_though_it_cannot_be_remembered() {
    let (dir, mut fleet) = fleet();
    // Root may write everywhere, but not into a directory.
    std::fs::create_dir(dir.0.join("pushed.lock")).unwrap();
    let done = fleet.mark("web", down()).unwrap();
    assert!(done.remark.unwrap().starts_with("not remembered across a restart"));
    let mut view = done.entry.shown.view;
    view.wait_for(|view| view.down.is_some()).await.unwrap();
}

#[tokio::test]
async fn what_another_nerve_was_told_holds_here_too() {
    let (dir, mut fleet) = fleet();
    let mut other = PushedStore::open(Some(&dir.0));
    other.mark("web", down());
    other.put("a", PushedService { definition: line(&dir, 81), until: after(60) }).unwrap();
    fleet.forget_expired();
    assert_eq!(fleet.services.len(), 2);
    let mut view = fleet.entry(0).unwrap().shown.view;
    view.wait_for(|view| view.down.is_some()).await.unwrap();
    other.mark("web", None);
    other.delete("a");
    fleet.forget_expired();
    assert_eq!(fleet.services.len(), 1);
    view.wait_for(|view| view.down.is_none()).await.unwrap();
}
