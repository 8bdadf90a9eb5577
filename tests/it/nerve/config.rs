//! `nerve -k`: every mistake on a line of its own, all at once.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::lab::Lab;
use crate::support::nerve::{Nerve, nodes, service, until_nodes};
use crate::support::synapse::run;
use crate::support::zookeeper::Zk;

/// Everything that the original refuses or dies of; beside it, how each complaint begins.
const BAD: &str = include_str!("../../golden/nerve_bad.yaml");
const EXPECTED: &str = include_str!("../../golden/nerve_bad.txt");

#[tokio::test]
async fn every_mistake_is_told_at_once_one_line_each() {
    let lab = Lab::new().await;
    let file = lab.write("nerve.yaml", BAD);
    let file = file.to_str().expect("text");
    for arguments in [&["-c", file, "-k"][..], &["-c", file]] {
        let begun = Instant::now();
        let said = run("nerve", arguments, &[]).await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert_eq!(said.code, Some(1), "{}", said.stderr);
        let lines: Vec<&str> = said.stderr.lines().collect();
        for text in EXPECTED.lines() {
            let line = format!("{file}: {text}");
            let found = lines.iter().filter(|l| l.starts_with(&line)).count();
            assert_eq!(found, 1, "{line}\nin\n{}", said.stderr);
        }
        let complaints = lines.iter().filter(|l| l.starts_with(file)).count();
        assert_eq!(complaints, EXPECTED.lines().count(), "{}", said.stderr);
        assert!(!said.stderr.contains("panicked"), "{}", said.stderr);
    }
}

#[tokio::test]
async fn files_that_cannot_be_read_are_told_in_a_line() {
    let lab = Lab::new().await;
    let missing = lab.dir().join("missing.yaml");
    let no_dir = lab.write(
        "no_dir.yaml",
        &format!(
            "instance_id: i\nservice_conf_dir: {}/none\nservices: {{}}\n",
            lab.dir().display()
        ),
    );
    let files = [
        (missing, "no such file"),
        (lab.write("torn.yaml", "services: {web: {host: h"), "torn.yaml"),
        (lab.write("list.json", "[]"), "list.json"),
        (lab.write("empty.yaml", ""), "empty.yaml"),
        (lab.write("latin.yaml", "a: \u{0}"), "latin.yaml"),
        (no_dir, "none"),
    ];
    for (file, text) in files {
        let said = run("nerve", &["-c", file.to_str().expect("text"), "-k"], &[]).await;
        assert_eq!(said.code, Some(1), "{}: {}", file.display(), said.stderr);
        assert!(said.stderr.to_lowercase().contains(text), "{}: {}", file.display(), said.stderr);
        assert!(said.stderr.lines().count() <= 3, "{}: {}", file.display(), said.stderr);
    }
}

/// A service of etcd is left out; the others are registered, and everybody can see what is missing.
#[tokio::test]
async fn what_is_refused_alone_does_not_keep_the_others() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    let path = "/nerve/services/web";
    let noop = json!({"checks": [{"type": "noop"}]});
    let web = service(&zk.connect_string(), path, ([10, 0, 0, 1], 8080).into(), noop);
    let edge = json!({"host": "10.0.0.1", "port": 1, "reporter_type": "etcd", "etcd_host": "e"});
    let nerve = Nerve::start(&lab, json!({"services": {"web": web, "edge": edge}})).await;
    until_nodes(&client, path, 1).await;
    assert!(nerve.log().contains("service left out"), "{}", nerve.log());
    assert!(nerve.metrics().await.contains("nerve_config_refused_services 1\n"));
    assert_eq!(nodes(&client, path).await.len(), 1);
    nerve.until_ready().await;
}
