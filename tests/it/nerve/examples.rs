//! `examples/` as they are, in a network of their own.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::support::child::{ip, is_child};
use crate::support::client::get;
use crate::support::lab::Lab;
use crate::support::nerve::Nerve;
use crate::support::origin::Origin;
use crate::support::synapse::Synapse;
use crate::support::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(15);

fn loopback(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Waits until exactly these answer.
async fn until_served_by(front: SocketAddr, names: &[&str]) {
    let wanted: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    eventually(&format!("{names:?} answer"), PATIENCE, || async {
        let mut seen = BTreeSet::new();
        for _ in 0..9 {
            let answer = get(front, "/").await?;
            seen.insert(format!(
                "{}{}",
                if answer.status == 200 { "" } else { "!" },
                answer.text()
            ));
        }
        if seen == wanted { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
}

#[tokio::test]
async fn one_host_without_zookeeper() {
    if !is_child("nerve::examples::one_host_without_zookeeper", true) {
        return;
    }
    ip("link set lo up");
    let lab = Lab::new().await;
    let (one, two) =
        (Origin::http("one", loopback(9001)).await, Origin::http("two", loopback(9002)).await);
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    // But for the place of the file, which others on this machine may use as well.
    let list = lab.dir().join("web.json");
    let list = list.to_str().expect("text");
    let text = std::fs::read_to_string(examples.join("nerve-file.yaml")).expect("readable");
    let file = lab.write("nerve-file.yaml", &text.replace("/tmp/smartstack-web.json", list));
    let state_dir = lab.dir().join("state");
    let state = state_dir.to_str().expect("text");
    let env = [("STATE_DIRECTORY", state), ("BACKENDS", list)];
    let nerve = Nerve::spawn(loopback(3211), &file, &state_dir, &env).until_listening().await;
    let env = [("STATE_DIRECTORY", lab.dir().to_str().expect("text")), ("BACKENDS", list)];
    let synapse = Synapse::start_file(loopback(3210), &examples.join("file.yaml"), &env).await;
    synapse.until_ready().await;
    let front = loopback(3301);
    until_served_by(front, &["one", "two"]).await;
    // A service that fails its check leaves, and returns.
    one.set_check_status(503);
    until_served_by(front, &["two"]).await;
    one.set_check_status(200);
    until_served_by(front, &["one", "two"]).await;
    // So does one that is announced.
    let said = nerve.tell(&["down", "web_9002", "--for", "1m"]).await;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let left = std::fs::read_to_string(list).expect("the file");
    assert!(left.contains("9001") && !left.contains("9002"), "{left}");
    until_served_by(front, &["one"]).await;
    two.die().await;
    two.revive().await;
    let said = nerve.tell(&["up", "web_9002"]).await;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    until_served_by(front, &["one", "two"]).await;
    assert_eq!(nerve.stop().await.code(), Some(0));
    let left = std::fs::read_to_string(list).expect("the file");
    assert!(!left.contains("9001") && !left.contains("9002"), "{left}");
    assert_eq!(get(front, "/").await.expect("the last ones are kept").status, 200);
}
