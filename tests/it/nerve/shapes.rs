//! What nerve writes, byte for byte as the original does (measured: 21 shapes).

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::lab::Lab;
use crate::support::nerve::{Nerve, Seen, nodes, until_nodes};
use crate::support::wait::always;
use crate::support::zookeeper::Zk;

/// How every record begins; the rest and `}` follow.
const START: &str = r#"{"host":"10.0.0.1","port":8080,"name":"i-abc123""#;
/// A name with the number that the server appends.
const NUMBERED: &str = "i-abc123_#";
/// Path encoding of the plain record.
const ENCODED: &str =
    "base64_68_eyJob3N0IjoiMTAuMC4wLjEiLCJwb3J0Ijo4MDgwLCJuYW1lIjoiaS1hYmMxMjMifQ==_";
/// Path encoding of the record with everything.
const ENCODED_ALL: &str = "base64_152_eyJob3N0IjoiMTAuMC4wLjEiLCJwb3J0Ijo4MDgwLCJuYW1lIjoiaS1hYmMxMjMiLCJ3ZWlnaHQiOjMsImhhcHJveHlfc2VydmVyX29wdGlvbnMiOiJiYWNrdXAiLCJsYWJlbHMiOnsiYXoiOiJhIn19_#";
const ALL: &str = r#","weight":3,"haproxy_server_options":"backup","labels":{"az":"a"}"#;

/// What is configured beside host and port, and what must stand in ZooKeeper: name (`#` for ten digits) and data.
struct Shape {
    what: &'static str,
    more: Value,
    name: &'static str,
    data: String,
}

fn shape(what: &'static str, more: Value, name: &'static str, rest: &str) -> Shape {
    Shape { what, more, name, data: format!("{START}{rest}}}") }
}

/// Names with a number, by what the record says.
fn records() -> Vec<Shape> {
    let types = json!({"n": 1, "f": 1.0, "f2": "1e+20", "f3": 1.5e-7, "b": true, "nil": null,
        "arr": [1, "x"], "nest": {"a": {}}});
    let typed = concat!(
        r#","labels":{"n":1,"f":1.0,"f2":"1e+20","f3":1.5e-07,"b":true,"nil":null,"#,
        r#""arr":[1,"x"],"nest":{"a":{}}}"#
    );
    let escaped = concat!(r#","labels":{"u":"é/<&"#, "\u{7f}\u{2028}", r#"\n\t\"\\\u0001"}"#);
    let all = json!({"labels": {"az": "a"}, "haproxy_server_options": "backup", "weight": 3});
    let labels = json!({"labels": {"az": "us-east-1a", "revision": "1.0a"}});
    let labelled = r#","labels":{"az":"us-east-1a","revision":"1.0a"}"#;
    let options = json!({"haproxy_server_options": "weight 5 inter 1s"});
    let with_options = r#","haproxy_server_options":"weight 5 inter 1s""#;
    let odd = json!({"labels": {"u": "é/<&\u{7f}\u{2028}\n\t\"\\\u{1}"}});
    let yelp = json!({"labels": {"region:uswest1": ""}, "weight": 1});
    vec![
        shape("default", json!({}), NUMBERED, ""),
        shape("weight_10", json!({"weight": 10}), NUMBERED, r#","weight":10"#),
        shape("weight_text", json!({"weight": "7"}), NUMBERED, r#","weight":7"#),
        shape("weight_0", json!({"weight": 0}), NUMBERED, r#","weight":0"#),
        shape("labels", labels, NUMBERED, labelled),
        shape("labels_empty", json!({"labels": {}}), NUMBERED, r#","labels":{}"#),
        shape("labels_typed", json!({"labels": types}), NUMBERED, typed),
        shape("escapes", odd, NUMBERED, escaped),
        shape("options", options, NUMBERED, with_options),
        shape("yelp", yelp, NUMBERED, r#","weight":1,"labels":{"region:uswest1":""}"#),
        shape("all", all, NUMBERED, ALL),
        Shape {
            data: START.replace("8080", "\"8080\"") + "}",
            ..shape("port_text", json!({"port": "8080"}), NUMBERED, "")
        },
    ]
}

/// Kinds of nodes, and names that hold the record.
fn kinds() -> Vec<Shape> {
    let kind = |kind: &str| json!({"node_type": kind});
    let all = json!({"use_path_encoding": true, "labels": {"az": "a"},
        "haproxy_server_options": "backup", "weight": 3});
    let long = "x".repeat(65_536);
    let too_long = json!({"use_path_encoding": true, "labels": {"long": long}});
    let encoded: &'static str = format!("{ENCODED}#").leak();
    vec![
        shape("ephemeral", kind("ephemeral"), "i-abc123_", ""),
        shape("persistent", kind("persistent"), "i-abc123_", ""),
        shape("persistent_sequential", kind("persistent_sequential"), NUMBERED, ""),
        shape(
            "persistent_ttl",
            json!({"node_type": "persistent", "ttl_seconds": 2}),
            "i-abc123_",
            "",
        ),
        shape("encoded", json!({"use_path_encoding": true}), encoded, ""),
        shape("encoded_all", all, ENCODED_ALL, ALL),
        shape("too_long", too_long, NUMBERED, &format!(r#","labels":{{"long":"{long}"}}"#)),
        shape("encoded_text", json!({"use_path_encoding": "true"}), NUMBERED, ""),
        shape(
            "encoded_persistent",
            json!({"use_path_encoding": true, "node_type": "persistent"}),
            ENCODED,
            "",
        ),
    ]
}

fn parent(shape: &Shape) -> String {
    format!("/shapes/{}/services", shape.what)
}

/// The service of a shape, always up.
fn service(zk: &Zk, path: &str, more: &Value) -> Value {
    let mut service = json!({
        "host": "10.0.0.1", "port": 8080, "zk_hosts": [zk.connect_string()],
        "zk_path": path, "checks": [{"type": "noop"}]
    });
    for (key, value) in more.as_object().expect("a map") {
        service[key] = value.clone();
    }
    service
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
    let shapes: Vec<Shape> = records().into_iter().chain(kinds()).collect();
    assert_eq!(shapes.len(), 21);
    let services: serde_json::Map<String, Value> = shapes
        .iter()
        .map(|shape| (shape.what.to_owned(), service(&zk, &parent(shape), &shape.more)))
        .collect();
    let nerve = Nerve::start(&lab, json!({"services": services})).await;
    let client = zk.client().await;
    for Shape { what, name, data, .. } in &shapes {
        let parent = format!("/shapes/{what}/services");
        let seen = until_nodes(&client, &parent, 1).await;
        assert!(is_named(&seen[0], &parent, name), "{what}: {} is not {name}", seen[0].path);
        assert_eq!(&seen[0].data, data, "{what}");
        assert_eq!(seen[0].owner == 0, what.contains("persistent"), "{what}: the owner");
        let (above, _) = client.get_data(&parent).await.expect("the parent");
        assert!(above.is_empty(), "{what}: parents have no data");
    }
    let begun = Instant::now();
    assert_eq!(nerve.stop().await.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    for shape in &shapes {
        until_nodes(&client, &parent(shape), 0).await;
    }
}

/// `load_test_concurrency`, and two services that say the same: each has a node of its own, and keeps it.
#[tokio::test]
async fn services_that_say_the_same_have_a_node_each() {
    let lab = Lab::new().await;
    let zk = Zk::standalone();
    let client = zk.client().await;
    let path = "/shapes/twins/services";
    let three = service(&zk, path, &json!({"load_test_concurrency": 3}));
    let config = json!({"services": {"load": three, "one": service(&zk, path, &json!({}))}});
    let mut nerve = Nerve::start(&lab, config).await;
    let before = until_nodes(&client, path, 4).await;
    for _ in 0..2 {
        always("nobody takes another's", Duration::from_secs(1), || async {
            let now = nodes(&client, path).await;
            if now == before { Ok(()) } else { Err(now) }
        })
        .await;
        nerve.kill9().await;
        nerve = nerve.again().until_listening().await;
        nerve.until_ready().await;
    }
    assert_eq!(nerve.stop().await.code(), Some(0));
    until_nodes(&client, path, 0).await;
}
