//! What nerve writes, byte for byte as the original does (measured: 21 shapes).

use serde_json::{Value, json};

use crate::support::lab::Lab;
use crate::support::nerve::{Nerve, Seen, until_nodes};
use crate::support::zookeeper::Zk;

/// What is configured beside host and port, and what must stand in ZooKeeper: name (`#` for ten digits) and data.
fn shapes() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    const PLAIN: &str = r#"{"host":"10.0.0.1","port":8080,"name":"i-abc123"}"#;
    const NAME: &str = "i-abc123_#";
    let long = "x".repeat(65_536);
    let long: &'static str = long.leak();
    let fallback: &'static str = format!(
        r#"{{"host":"10.0.0.1","port":8080,"name":"i-abc123","labels":{{"long":"{long}"}}}}"#
    )
    .leak();
    const ENCODED: &str =
        "base64_68_eyJob3N0IjoiMTAuMC4wLjEiLCJwb3J0Ijo4MDgwLCJuYW1lIjoiaS1hYmMxMjMifQ==_";
    const SIX: &str = concat!(
        r#"{"host":"10.0.0.1","port":8080,"name":"i-abc123","#,
        r#""weight":3,"haproxy_server_options":"backup","labels":{"az":"a"}}"#
    );
    vec![
        ("default", json!({}), NAME, PLAIN),
        (
            "weight_10",
            json!({"weight": 10}),
            NAME,
            r#"{"host":"10.0.0.1","port":8080,"name":"i-abc123","weight":10}"#,
        ),
        (
            "weight_text",
            json!({"weight": "7"}),
            NAME,
            r#"{"host":"10.0.0.1","port":8080,"name":"i-abc123","weight":7}"#,
        ),
        (
            "weight_0",
            json!({"weight": 0}),
            NAME,
            r#"{"host":"10.0.0.1","port":8080,"name":"i-abc123","weight":0}"#,
        ),
        (
            "labels",
            json!({"labels": {"az": "us-east-1a", "revision": "1.0a"}}),
            NAME,
            r#"{"host":"10.0.0.1","port":8080,"name":"i-abc123","labels":{"az":"us-east-1a","revision":"1.0a"}}"#,
        ),
        (
            "labels_empty",
            json!({"labels": {}}),
            NAME,
            r#"{"host":"10.0.0.1","port":8080,"name":"i-abc123","labels":{}}"#,
        ),
        (
            "server_options",
            json!({"haproxy_server_options": "weight 5 inter 1s"}),
            NAME,
            r#"{"host":"10.0.0.1","port":8080,"name":"i-abc123","haproxy_server_options":"weight 5 inter 1s"}"#,
        ),
        (
            "all",
            json!({"labels": {"az": "a"}, "haproxy_server_options": "backup", "weight": 3}),
            NAME,
            SIX,
        ),
        (
            "port_text",
            json!({"port": "8080"}),
            NAME,
            r#"{"host":"10.0.0.1","port":"8080","name":"i-abc123"}"#,
        ),
        (
            "labels_of_all_types",
            json!({"labels": {"n": 1, "f": 1.0, "f2": "1e+20", "f3": 1.5e-7, "b": true, "nil": null,
                "arr": [1, "x"], "nest": {"a": {}}}}),
            NAME,
            concat!(
                r#"{"host":"10.0.0.1","port":8080,"name":"i-abc123","labels":{"n":1,"f":1.0,"f2":"1e+20","#,
                r#""f3":1.5e-07,"b":true,"nil":null,"arr":[1,"x"],"nest":{"a":{}}}}"#
            ),
        ),
        (
            "escapes",
            json!({"labels": {"u": "é/<&\u{2028}\n\t\"\\\u{1}"}}),
            NAME,
            concat!(
                r#"{"host":"10.0.0.1","port":8080,"name":"i-abc123","labels":{"u":"é/<&"#,
                "\u{2028}",
                r#"\n\t\"\\\u0001"}}"#
            ),
        ),
        ("ephemeral", json!({"node_type": "ephemeral"}), "i-abc123_", PLAIN),
        ("persistent", json!({"node_type": "persistent"}), "i-abc123_", PLAIN),
        ("persistent_sequential", json!({"node_type": "persistent_sequential"}), NAME, PLAIN),
        (
            "persistent_ttl",
            json!({"node_type": "persistent", "ttl_seconds": 2}),
            "i-abc123_",
            PLAIN,
        ),
        ("encoded", json!({"use_path_encoding": true}), concat_digits(ENCODED), PLAIN),
        (
            "encoded_all",
            json!({"use_path_encoding": true, "labels": {"az": "a"},
                "haproxy_server_options": "backup", "weight": 3}),
            "base64_152_eyJob3N0IjoiMTAuMC4wLjEiLCJwb3J0Ijo4MDgwLCJuYW1lIjoiaS1hYmMxMjMiLCJ3ZWlnaHQiOjMsImhhcHJveHlfc2VydmVyX29wdGlvbnMiOiJiYWNrdXAiLCJsYWJlbHMiOnsiYXoiOiJhIn19_#",
            SIX,
        ),
        (
            "encoded_too_long",
            json!({"use_path_encoding": true, "labels": {"long": long}}),
            NAME,
            fallback,
        ),
        ("encoded_text", json!({"use_path_encoding": "true"}), NAME, PLAIN),
        (
            "encoded_persistent",
            json!({"use_path_encoding": true, "node_type": "persistent"}),
            ENCODED,
            PLAIN,
        ),
        (
            "weight_and_labels",
            json!({"labels": {"region:uswest1": ""}, "weight": 1}),
            NAME,
            r#"{"host":"10.0.0.1","port":8080,"name":"i-abc123","weight":1,"labels":{"region:uswest1":""}}"#,
        ),
    ]
}

fn concat_digits(prefix: &str) -> &'static str {
    format!("{prefix}#").leak()
}

fn is_named(seen: &Seen, parent: &str, pattern: &str) -> bool {
    let name = seen.path.strip_prefix(&format!("{parent}/")).unwrap_or_default();
    match pattern.strip_suffix('#') {
        None => name == pattern,
        Some(prefix) => name
            .strip_prefix(prefix)
            .is_some_and(|digits| digits.len() == 10 && digits.bytes().all(|b| b.is_ascii_digit())),
    }
}

#[tokio::test]
async fn every_shape_is_written_byte_for_byte_and_goes_with_sigterm() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let mut services = serde_json::Map::new();
    for (shape, more, _, _) in shapes() {
        let mut service = json!({
            "host": "10.0.0.1", "port": 8080, "zk_hosts": [zk.connect_string()],
            "zk_path": format!("/shapes/{shape}/services"), "checks": [{"type": "noop"}]
        });
        for (key, value) in more.as_object().expect("a map") {
            service[key] = value.clone();
        }
        services.insert(shape.to_owned(), service);
    }
    let nerve = Nerve::start(&lab, json!({"services": services})).await;
    let client = zk.client().await;
    for (shape, _, name, data) in shapes() {
        let parent = format!("/shapes/{shape}/services");
        let seen = until_nodes(&client, &parent, 1).await;
        assert!(is_named(&seen[0], &parent, name), "{shape}: {} is not {name}", seen[0].path);
        assert_eq!(seen[0].data, data, "{shape}");
        assert_eq!(seen[0].owner == 0, shape.contains("persistent"), "{shape}: the owner");
        let (above, _) = client.get_data(&parent).await.expect("the parent");
        assert!(above.is_empty(), "{shape}: parents have no data");
    }
    let begun = tokio::time::Instant::now();
    assert_eq!(nerve.stop().await.code(), Some(0));
    assert!(begun.elapsed() < std::time::Duration::from_secs(1), "{:?}", begun.elapsed());
    for (shape, _, _, _) in shapes() {
        until_nodes(&client, &format!("/shapes/{shape}/services"), 0).await;
    }
}
