//! Very many registrations of one service: answers of megabytes, read in pieces, with bounded memory.

use std::time::Duration;

use base64::Engine as _;
use serde_json::json;
use tokio::time::Instant;

use super::PATH;
use crate::support::client::sequence;
use crate::support::memory;
use crate::support::origin::Origin;
use crate::support::scene::Scene;
use crate::support::wait::eventually;

/// To read and publish all of them, unoptimised and beside other tests.
const READ_WITHIN: Duration = Duration::from_secs(60);

/// Where a registration stands.
#[derive(Clone, Copy, Debug)]
enum Written {
    /// In the node's data.
    InData,
    /// In its name, of 300 bytes.
    InName,
}

/// Number `i` of those that one origin answers, on as many addresses.
fn registration(i: usize, port: u16, written: Written) -> (String, String) {
    let host = format!("127.{}.{}.{}", 100 + i / 62_500, i / 250 % 250, 1 + i % 250);
    let labels = json!({"az": "us-east-1a", "shard": i % 100});
    let mut record = json!({"host": host, "port": port, "name": format!("w{i}"), "labels": labels});
    match written {
        Written::InData => (format!("{PATH}/w_{i:010}"), record.to_string()),
        Written::InName => {
            record["pad"] = json!("x".repeat(100));
            let engine = base64::engine::general_purpose::URL_SAFE;
            let text = engine.encode(record.to_string());
            (format!("{PATH}/base64_{}_{text}_{i:010}", text.len()), String::new())
        }
    }
}

/// All are read, followed and used; `rss_bytes` bounds the peak of the process.
async fn crowd(count: usize, written: Written, rss_bytes: u64) {
    let scene = Scene::new().await;
    let wide = Origin::everywhere("W").await;
    let all: Vec<_> = (0..count).map(|i| registration(i, wide.port(), written)).collect();
    scene.registrations.create_all(&all).await;
    let begun = Instant::now();
    let synapse = scene.lab.synapse_unready(scene.config(|_| ())).await;
    // Not asked of the admin server: its answer of megabytes would count as the crowd's memory.
    let known = |number: usize| {
        let (synapse, wanted) = (&synapse, format!("backends={number}\n"));
        async move {
            eventually(&wanted, READ_WITHIN, || async {
                let log = synapse.log();
                if log.contains(&wanted) { Ok(()) } else { Err(log) }
            })
            .await;
        }
    };
    known(count).await;
    synapse.until_ready().await;
    let read = begun.elapsed();
    let requests = requests(&scene);
    assert_eq!(sequence(scene.front, 50).await, "W".repeat(50));
    let (path, data) = registration(count, wide.port(), written);
    let created = Instant::now();
    scene.registrations.create_all(&[(path, data)]).await;
    known(count + 1).await;
    let peak = memory::peak(synapse.pid());
    let bytes: usize = all.iter().map(|(path, _)| path.len() - PATH.len() - 1).sum();
    println!(
        "{count} children {written:?}, {} kB of names: used after {read:?} in {requests} requests, one more after \
         {:?}, peak {} MB",
        bytes / 1_000,
        created.elapsed(),
        peak / 1_000_000
    );
    assert!(peak < rss_bytes, "{peak} bytes");
    let per_request = if matches!(written, Written::InData) { 30 } else { count };
    let most = u64::try_from(50 + count / per_request).expect("a count");
    assert!(requests < most, "{requests} requests");
}

/// Requests that the server has had from synapse: from the connection with a session that is not the test's.
fn requests(scene: &Scene) -> u64 {
    let ours = format!("0x{:x}", scene.registrations.session());
    let clients = scene.zk.member(0).clients().into_iter();
    let theirs = clients.filter(|client| client.session != ours).map(|client| client.requests);
    theirs.max().expect("synapse's connection")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_registrations_are_read_in_pieces_with_bounded_memory() {
    crowd(10_000, Written::InData, 160_000_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_megabytes_of_names_are_read_with_bounded_memory() {
    crowd(10_000, Written::InName, 160_000_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_fifty_thousand_registrations_are_read_with_bounded_memory() {
    crowd(50_000, Written::InData, 650_000_000).await;
    crowd(50_000, Written::InName, 650_000_000).await;
}
