//! Discovery from a file: the registry for one host.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use crate::support::client::sequence;
use crate::support::lab::Lab;
use crate::support::list::record;
use crate::support::synapse::{config, listener};
use crate::support::wait::{always, eventually};

const PATIENCE: Duration = Duration::from_secs(10);

async fn serves(front: SocketAddr, want: &str) -> Result<(), String> {
    let seen = sequence(front, 2 * want.len()).await;
    if seen == want.repeat(2) { Ok(()) } else { Err(seen) }
}

#[tokio::test]
async fn changes_of_the_list_are_followed() {
    let lab = Lab::new().await;
    let (a, b, c) = (lab.origin("A").await, lab.origin("B").await, lab.origin("C").await);
    let list = lab.write("backends.json", &json!([record(&a), record(&b)]).to_string());
    let front = lab.free_addr();
    let service = json!({
        "discovery": {"method": "file", "path": list},
        "haproxy": listener(front, "http", &[])
    });
    let _synapse = lab.synapse(config(json!({"web": service}))).await;
    eventually("both serve", PATIENCE, || serves(front, "AB")).await;

    lab.write("backends.json", &json!([record(&b), record(&c)]).to_string());
    eventually("the new list serves", PATIENCE, || async {
        let seen = sequence(front, 4).await;
        if seen == "BCBC" || seen == "CBCB" { Ok(()) } else { Err(seen) }
    })
    .await;

    // Replaced by renaming, as careful writers do.
    let next = lab.write("next.json", &json!([record(&a)]).to_string());
    std::fs::rename(next, &list).expect("rename");
    eventually("the renamed list serves", PATIENCE, || serves(front, "A")).await;

    lab.write("backends.json", "[{\"name\": ");
    always("a torn list changes nothing", Duration::from_millis(800), || serves(front, "A")).await;
    lab.write("backends.json", &json!([record(&c)]).to_string());
    eventually("a mended list serves", PATIENCE, || serves(front, "C")).await;
}

#[tokio::test]
async fn a_yaml_list_is_read_too() {
    let lab = Lab::new().await;
    let a = lab.origin("A").await;
    let text = format!("- name: A\n  host: {}\n  port: {}\n", a.addr().ip(), a.port());
    let list = lab.write("backends.yaml", &text);
    let front = lab.free_addr();
    let service = json!({
        "discovery": {"method": "file", "path": list},
        "haproxy": listener(front, "http", &[])
    });
    let _synapse = lab.synapse(config(json!({"web": service}))).await;
    assert_eq!(sequence(front, 3).await, "AAA");
}
