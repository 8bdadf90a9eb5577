//! What nerve 0.9.7 writes, byte for byte, as measured on the original: 21 shapes.

use std::time::Duration;

use serde_json::{Value, json};
use smartstack::registration::{Phase, Wanted};
use smartstack::registry::writer::NodeKind;
use zookeeper_client::{Acl, AuthId, Permission};

use crate::common::{connected, fresh_path, shared};
use crate::nerves::Spec;

const PLAIN: &str = "i-abc123_0000000000";
const START: &str = r#"{"host":"10.0.0.1","port":8080,"name":"i-abc123""#;
const ENCODED: &str =
    "base64_68_eyJob3N0IjoiMTAuMC4wLjEiLCJwb3J0Ijo4MDgwLCJuYW1lIjoiaS1hYmMxMjMifQ==_";

struct Shape {
    what: &'static str,
    change: fn(&mut Spec),
    name: String,
    data: String,
}

fn shape(what: &'static str, change: fn(&mut Spec), name: &str, rest: &str) -> Shape {
    let data = format!("{START}{rest}}}");
    Shape { what, change, name: name.to_owned(), data }
}

fn labels(spec: &mut Spec, labels: &Value) {
    spec.record.labels = Some(labels.clone());
}

fn everything(spec: &mut Spec) {
    spec.record.weight = Some(3);
    spec.record.haproxy_server_options = Some("backup".into());
    labels(spec, &json!({"az": "a"}));
}

fn kind(spec: &mut Spec, kind: NodeKind) {
    spec.place.kind = kind;
}

fn records() -> Vec<Shape> {
    let options = |spec: &mut Spec| {
        spec.record.haproxy_server_options = Some("weight 5 inter 1s".into());
    };
    let odd = |spec: &mut Spec| {
        labels(
            spec,
            &json!({"n": 1, "f": 1.0, "f2": "1e+20", "f3": 1.5e-7, "b": true, "nil": null,
                "arr": [1, "x"], "nest": {"a": {}}}),
        );
    };
    let odd_text = concat!(
        r#","labels":{"n":1,"f":1.0,"f2":"1e+20","f3":1.5e-07,"b":true,"nil":null,"#,
        r#""arr":[1,"x"],"nest":{"a":{}}}"#
    );
    let unicode = |spec: &mut Spec| {
        labels(spec, &json!({"u": "é😀/<&\u{7f}\u{2028}\n\t\"\\\u{1}"}));
    };
    let unicode_text = ",\"labels\":{\"u\":\"é😀/<&\u{7f}\u{2028}\\n\\t\\\"\\\\\\u0001\"}";
    let all = r#","weight":3,"haproxy_server_options":"backup","labels":{"az":"a"}"#;
    let mut string_port = shape("port \"8080\"", |s| s.record.port = json!("8080"), PLAIN, "");
    string_port.data = r#"{"host":"10.0.0.1","port":"8080","name":"i-abc123"}"#.to_owned();
    vec![
        shape("default", |_| {}, PLAIN, ""),
        shape("weight 10", |s| s.record.weight = Some(10), PLAIN, r#","weight":10"#),
        shape("weight \"7\"", |s| s.record.weight = Some(7), PLAIN, r#","weight":7"#),
        shape("weight 0", |s| s.record.weight = Some(0), PLAIN, r#","weight":0"#),
        shape(
            "labels",
            |s| labels(s, &json!({"az": "us-east-1a", "revision": "1.0a"})),
            PLAIN,
            r#","labels":{"az":"us-east-1a","revision":"1.0a"}"#,
        ),
        shape("no labels", |s| labels(s, &json!({})), PLAIN, r#","labels":{}"#),
        shape("options", options, PLAIN, r#","haproxy_server_options":"weight 5 inter 1s""#),
        shape("all three", everything, PLAIN, all),
        string_port,
        shape("labels that are no strings", odd, PLAIN, odd_text),
        shape("unicode and escapes", unicode, PLAIN, unicode_text),
    ]
}

fn names() -> Vec<Shape> {
    let ttl = |spec: &mut Spec| {
        kind(spec, NodeKind::Persistent);
        spec.place.ttl = Some(Duration::from_secs(2));
    };
    let encoded = |spec: &mut Spec| spec.place.is_path_encoded = true;
    let encoded_all = |spec: &mut Spec| {
        everything(spec);
        spec.place.is_path_encoded = true;
    };
    let too_long = |spec: &mut Spec| {
        labels(spec, &json!({"big": "x".repeat(60_000)}));
        spec.place.is_path_encoded = true;
    };
    let encoded_persistent = |spec: &mut Spec| {
        kind(spec, NodeKind::Persistent);
        spec.place.is_path_encoded = true;
    };
    let encoded_ephemeral = |spec: &mut Spec| {
        kind(spec, NodeKind::Ephemeral);
        spec.place.is_path_encoded = true;
    };
    let number = |name: &str| format!("{name}0000000000");
    let all = r#","weight":3,"haproxy_server_options":"backup","labels":{"az":"a"}"#;
    let long = format!(r#","labels":{{"big":"{}"}}"#, "x".repeat(60_000));
    let all_name = concat!(
        "base64_152_eyJob3N0IjoiMTAuMC4wLjEiLCJwb3J0Ijo4MDgwLCJuYW1lIjoiaS1hYmMxMjMiLCJ3ZWlnaHQiOjMsImhhcHJveHlf",
        "c2VydmVyX29wdGlvbnMiOiJiYWNrdXAiLCJsYWJlbHMiOnsiYXoiOiJhIn19_"
    );
    vec![
        shape("ephemeral", |s| kind(s, NodeKind::Ephemeral), "i-abc123_", ""),
        shape("persistent", |s| kind(s, NodeKind::Persistent), "i-abc123_", ""),
        shape("persistent_sequential", |s| kind(s, NodeKind::PersistentSequential), PLAIN, ""),
        shape("persistent with ttl", ttl, "i-abc123_", ""),
        shape("encoded", encoded, &number(ENCODED), ""),
        shape("encoded, all three", encoded_all, &number(all_name), all),
        shape("encoded, too long", too_long, PLAIN, &long),
        shape("use_path_encoding \"true\"", |s| s.place.is_path_encoded = false, PLAIN, ""),
        shape("encoded persistent", encoded_persistent, ENCODED, ""),
        shape("encoded ephemeral", encoded_ephemeral, ENCODED, ""),
    ]
}

#[tokio::test]
async fn names_and_bytes_are_nerves_and_a_clean_end_leaves_none() {
    let zk = shared();
    let client = zk.client().await;
    let registry = connected(&zk.connect_string(), 4).await;
    let shapes: Vec<_> = records().into_iter().chain(names()).collect();
    assert_eq!(shapes.len(), 21);
    for Shape { what, change, name, data } in shapes {
        let path = fresh_path(&client).await;
        let mut spec = Spec::new(&format!("{path}/services/web"), NodeKind::EphemeralSequential);
        change(&mut spec);
        let mut running = spec.start(&registry, Wanted::Present);
        running.phase(Phase::Registered, 5).await;
        let children = spec.children(&client).await;
        let owner =
            if spec.place.kind.is_ephemeral() { crate::nerves::session(&registry) } else { 0 };
        assert_eq!(children, [(name.clone(), data, owner)], "{what}");
        let node = format!("{}/{name}", spec.place.path);
        let (acl, _) = client.get_acl(&node).await.unwrap();
        assert_eq!(acl, [Acl::new(Permission::ALL, AuthId::anyone())], "{what}");
        let (parent, _) = client.get_data(&spec.place.path).await.unwrap();
        assert_eq!(parent, b"", "{what}");
        if spec.place.ttl.is_some() {
            let written = async {
                while client.check_stat(&node).await.unwrap().unwrap().version < 2 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(6), written).await.unwrap();
        }
        running.wanted.send_replace(Wanted::Absent);
        running.phase(Phase::Absent, 5).await;
        assert!(spec.children(&client).await.is_empty(), "{what}");
    }
}
