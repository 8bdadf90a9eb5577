//! nerve restarted again and again, in the three ways that leave everything registered.

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::{id, one_of_each, registered, until_over, watch};
use crate::support::lab::Lab;
use crate::support::nerve::{Nerve, nodes};
use crate::support::zookeeper::Zk;

/// Restarts in a normal run.
const FEW: usize = 10;
/// What the issue asks for.
const MANY: usize = 50;
/// Seconds: longer than a restart takes, shorter than all of them together.
const SESSION: u32 = 4;

/// How nerve is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// `kill -9`, then a start.
    Killed,
    /// A start beside the old one; SIGTERM for that when the new one is ready.
    Beside,
    /// SIGUSR2, then a start.
    Left,
}

impl Way {
    async fn replace(self, lab: &Lab, mut old: Nerve) -> Nerve {
        match self {
            Self::Killed => old.kill9().await,
            Self::Left => {
                old.signal(Signal::USR2);
                assert_eq!(old.ended().await.code(), Some(0));
            }
            Self::Beside => {
                let new = old.sibling(lab).await;
                new.until_ready().await;
                assert_eq!(old.stop().await.code(), Some(0));
                return new;
            }
        }
        let new = old.again().until_listening().await;
        new.until_settled(&[]).await;
        new
    }
}

/// No node of any kind is absent from any look; in the end there is one of each.
async fn restarted(way: Way, times: usize) {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    let (services, places) = one_of_each(&zk.connect_string());
    let mut nerve = registered(&lab, services, SESSION, &client).await;
    let witness = watch(&zk, places.clone());
    witness.looks(1).await;
    let mut sessions = Vec::new();
    for _ in 0..times {
        nerve = way.replace(&lab, nerve).await;
        sessions.push(nerve.service("fixed").await["session"]["id"].clone());
    }
    // What another than the last has left behind would go with its session.
    let last = sessions.last().cloned();
    let is_known = block_in_place(|| zk.leader().has_session(id(&sessions[times - 1])));
    assert_eq!(is_known, Ok(true), "{last:?}");
    for session in sessions.iter().filter(|session| Some(*session) != last.as_ref()) {
        until_over(&zk, session).await;
    }
    let report = witness.end();
    for place in &places {
        let seen = nodes(&client, &place.path).await;
        assert_eq!(seen.len(), 1, "{way:?}: {seen:?}");
        let owner = json!(format!("{:#x}", seen[0].owner));
        let is_live = seen[0].owner == 0 || Some(&owner) == sessions.last();
        assert!(is_live, "{way:?}: {seen:?} is not of {:?}", sessions.last());
    }
    println!("{way:?}: {times} restarts, {} sessions", distinct(sessions));
    report.assert_never_absent(times);
}

fn distinct(mut sessions: Vec<Value>) -> usize {
    sessions.sort_by_key(Value::to_string);
    sessions.dedup();
    sessions.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_started_ten_times_no_node_is_ever_absent() {
    restarted(Way::Killed, FEW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_by_one_started_beside_it_ten_times_no_node_is_ever_absent() {
    restarted(Way::Beside, FEW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn left_with_sigusr2_and_started_ten_times_no_node_is_ever_absent() {
    restarted(Way::Left, FEW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_killed_and_started_fifty_times_no_node_is_ever_absent() {
    restarted(Way::Killed, MANY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_replaced_by_one_started_beside_it_fifty_times_no_node_is_ever_absent() {
    restarted(Way::Beside, MANY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_left_with_sigusr2_and_started_fifty_times_no_node_is_ever_absent() {
    restarted(Way::Left, MANY).await;
}
