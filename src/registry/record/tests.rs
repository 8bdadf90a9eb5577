//! Records of nerve and of server sets, good and malformed.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn nerve(text: &str) -> Result<Endpoint, RecordError> {
    decode(text.as_bytes(), RecordFormat::Nerve)
}

fn complaint(text: &str) -> String {
    nerve(text).unwrap_err().to_string()
}

#[test]
fn reads_every_field_of_nerve_and_drops_unknown_ones() {
    let endpoint = nerve(
        r#"{"host":"10.0.1.11","port":9001,"name":"i-0aaa","weight":7,"haproxy_server_options":"backup",
                "labels":{"az":"us-east-1a","n":1},"id":4,"haproxy_server_id":9,"extra":[1]}"#,
    )
    .unwrap();
    let expected = Endpoint {
        name: Some("i-0aaa".into()),
        weight: Some(7),
        server_options: Some("backup".into()),
        labels: Labels::from([("az".into(), json!("us-east-1a")), ("n".into(), json!(1))]).into(),
        ..Endpoint::new("10.0.1.11", 9001)
    };
    assert_eq!(endpoint, expected);
}

#[test]
fn nulls_are_absent_and_scalars_become_text() {
    let endpoint = nerve(
        r#"{"host":"h","port":"08080","name":5,"weight":null,"haproxy_server_options":null,"labels":null}"#,
    )
    .unwrap();
    assert_eq!(endpoint.port, 8080);
    assert_eq!(endpoint.name.as_deref(), Some("5"));
    assert_eq!((endpoint.weight, endpoint.server_options), (None, None));
    assert!(endpoint.labels.is_empty());
}

#[test]
fn only_integer_weights_count() {
    for (weight, expected) in [
        ("0", Some(0)),
        ("70000", Some(70_000)),
        ("\"7\"", None),
        ("1.5", None),
        ("99999999999999999999", None),
    ] {
        let text = format!(r#"{{"host":"h","port":1,"weight":{weight}}}"#);
        assert_eq!(nerve(&text).unwrap().weight, expected, "{weight}");
    }
}

#[test]
fn every_way_to_be_malformed_has_its_own_text() {
    assert_eq!(complaint(""), "no data");
    assert!(complaint("{").starts_with("not JSON: "));
    assert!(complaint(r#"{"host":"h","port":1,"weight":NaN}"#).starts_with("not JSON: "));
    assert_eq!(complaint("[]"), "a list where a map was expected");
    assert_eq!(complaint("null"), "null where a map was expected");
    assert_eq!(complaint(r#"{"port":1}"#), "host is missing");
    assert_eq!(complaint(r#"{"host":"h"}"#), "port is missing");
    assert_eq!(complaint(r#"{"host":null,"port":1}"#), "host is missing");
    for host in [
        r#""""#,
        r#""/run/a.sock""#,
        r#""unix@/run/a.sock""#,
        r#""a b""#,
        r#""a\nb""#,
        r#""caf\u00e9""#,
        "7",
    ] {
        let text = complaint(&format!(r#"{{"host":{host},"port":1}}"#));
        assert!(text.ends_with("expected an address or a DNS name"), "{text}");
    }
    for port in
        [r#""abc""#, r#""""#, r#"" 80""#, r#""+80""#, "0", "70000", "-1", "80.0", "true", "[]"]
    {
        let text = complaint(&format!(r#"{{"host":"h","port":{port}}}"#));
        assert_eq!(text, format!("port is {port}, expected a port from 1 to 65535"));
    }
    assert_eq!(
        complaint(r#"{"host":"h","port":1,"weight":-1}"#),
        "weight is -1, expected an integer from 0"
    );
    assert_eq!(complaint(r#"{"host":"h","port":1,"labels":[1]}"#), "labels is [1], expected a map");
    assert!(complaint(r#"{"host":"h","port":1,"name":"a\nb"}"#).contains("name is"));
    assert_eq!(
        decode(b"{\"\xff\"}", RecordFormat::Nerve).unwrap_err().to_string(),
        "not UTF-8 from byte 2"
    );
    assert_eq!(
        decode(&vec![b' '; 900_000], RecordFormat::Nerve),
        Err(RecordError::TooLarge { bytes: 900_000 })
    );
}

#[test]
fn complaints_stay_short_whatever_the_record_holds() {
    let long = "x".repeat(100_000);
    let text = complaint(&format!(r#"{{"host":"h","port":"{long}"}}"#));
    assert!(text.len() < 150, "{} bytes", text.len());
}

#[test]
fn server_sets_give_the_chosen_endpoint_and_the_shard_as_name() {
    let data =
        br#"{"serviceEndpoint":{"host":"a","port":31944},"shard":7,"status":"DEAD","weight":3,
            "additionalEndpoints":{"http":{"host":"b","port":31943}}}"#;
    let of = |endpoint_name| decode(data, RecordFormat::ServerSet { endpoint_name });
    let main = Endpoint { name: Some("7".into()), ..Endpoint::new("a", 31944) };
    assert_eq!(of(None), Ok(main));
    assert_eq!(of(Some("http")).unwrap().port, 31943);
    assert_eq!(
        of(Some("aurora")).unwrap_err().to_string(),
        "additionalEndpoints.aurora is missing"
    );
}

#[test]
fn items_of_lists_also_carry_ids() {
    let item = json!({"host": "h", "port": 1, "id": 3, "haproxy_server_id": 12});
    let endpoint = from_item(&item).unwrap();
    assert_eq!((endpoint.id, endpoint.server_id), (Some(3), Some(12)));
    let zero = json!({"host": "h", "port": 1, "haproxy_server_id": 0});
    assert!(from_item(&zero).is_err());
    assert!(from_item(&json!("h:1")).is_err());
}

proptest! {
    #[test]
    fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(decode(&bytes, RecordFormat::Nerve));
        drop(decode(&bytes, RecordFormat::ServerSet { endpoint_name: Some("http") }));
    }

    #[test]
    fn what_nerve_writes_is_read_back(
        host in "[a-z0-9.:-]{1,40}", port in 1_u16.., name in "[a-zA-Z0-9_.-]{1,20}",
        weight in proptest::option::of(0_i64..1000), label in "\\PC{0,20}", float in any::<f64>(),
    ) {
        let labels = json!({"l": label, "f": float});
        let record = NerveRecord {
            host: host.clone(), port: json!(port), name: name.clone(), weight,
            haproxy_server_options: None, labels: Some(labels),
        };
        let endpoint = decode(&record.encode(), RecordFormat::Nerve).unwrap();
        prop_assert_eq!(&*endpoint.host, host.as_str());
        prop_assert_eq!(endpoint.port, port);
        prop_assert_eq!(endpoint.name.as_deref(), Some(name.as_str()));
        prop_assert_eq!(endpoint.weight, weight.map(i64::unsigned_abs));
        prop_assert_eq!(&endpoint.labels["l"], &json!(label));
    }
}
