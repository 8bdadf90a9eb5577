//! The bytes of a file: written, read back, and damaged in every way.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::discovery::FileSourceSettings;

fn refusal(bytes: &[u8]) -> Refusal {
    decode(bytes, &service(), &source()).unwrap_err()
}

/// The bytes of a document whose checksum is right, whatever stands in it.
fn sealed(document: &Value) -> Vec<u8> {
    let text = document.to_string();
    let rest = format!("{}\n", text.strip_prefix('{').unwrap());
    format!("{{\"checksum\":\"{:016x}\",{rest}", checksum(rest.as_bytes())).into_bytes()
}

fn document(hosts: &[&str]) -> Value {
    let mut value: Value = serde_json::from_slice(&encode(&record(hosts)).unwrap()).unwrap();
    value.as_object_mut().unwrap().shift_remove("checksum");
    value
}

#[test]
fn the_file_is_one_json_document_with_everything_in_it() {
    let bytes = encode(&record(&["10.0.0.1"])).unwrap();
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(value["version"], 1);
    assert_eq!(value["service"], "search.main");
    assert_eq!(value["source"]["path"], "/services/search");
    assert_eq!(value["said"], "known");
    assert_eq!(value["confirmed_at_ms"], 1_795_417_906_123_u64);
    assert_eq!(value["zxid"], 0x1_0000_002f_i64);
    assert_eq!(value["endpoints"], json!([{"host": "10.0.0.1", "port": 80}]));
    assert!(bytes.ends_with(b"\n"));
}

#[test]
fn the_checksum_is_fnv_1a() {
    // The published vectors.
    assert_eq!(checksum(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(checksum(b"a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(checksum(b"foobar"), 0x8594_4171_f739_67e8);
}

#[test]
fn a_file_with_any_byte_changed_is_refused() {
    let bytes = encode(&record(&["10.0.0.1", "10.0.0.2"])).unwrap();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x20, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            assert_eq!(refusal(&damaged).label(), "corrupt", "byte {at} ^ {flip}");
        }
    }
}

#[test]
fn a_torn_or_lengthened_file_is_refused() {
    let bytes = encode(&record(&["10.0.0.1"])).unwrap();
    for length in 0..bytes.len() {
        assert_eq!(refusal(&bytes[..length]).label(), "corrupt", "{length}");
    }
    let twice = [bytes.clone(), bytes.clone()].concat();
    assert!(matches!(refusal(&twice), Refusal::Checksum));
    assert!(matches!(refusal(&vec![0; bytes.len()]), Refusal::NoChecksum));
}

#[test]
fn a_file_of_another_service_or_source_is_foreign() {
    let bytes = encode(&record(&["a"])).unwrap();
    let other = ServiceName::new("search.other");
    let error = decode(&bytes, &other, &source()).unwrap_err();
    assert_eq!(error.label(), "foreign");
    assert_eq!(error.to_string(), "it belongs to service \"search.main\"");
    let file = SourceSettings::File(FileSourceSettings {
        path: "/services/search".into(),
        poll_interval: Duration::ZERO,
    });
    for elsewhere in [zookeeper("/services/search2"), file] {
        let elsewhere = SourceIdentity::of(&elsewhere).unwrap();
        let error = decode(&bytes, &service(), &elsewhere).unwrap_err();
        assert_eq!(error.label(), "foreign");
    }
}

#[test]
fn a_newer_version_is_refused_and_unknown_fields_are_not() {
    let mut newer = document(&["a"]);
    newer["version"] = json!(2);
    assert!(matches!(refusal(&sealed(&newer)), Refusal::Version(2)));
    let mut more = document(&["a"]);
    more["mood"] = json!({"good": true});
    more["source"]["colour"] = json!("blue");
    more["endpoints"][0]["zone"] = json!("a");
    let read = decode(&sealed(&more), &service(), &source()).unwrap();
    assert_eq!(read.endpoints.len(), 1);
}

#[test]
fn a_sealed_document_that_makes_no_sense_is_refused_whole() {
    let changes: [fn(&mut Value); 8] = [
        |d| d["version"] = json!(0),
        |d| d["version"] = json!("1"),
        |d| d["said"] = json!("perhaps"),
        |d| d["endpoints"] = json!([]),
        |d| d["endpoints"] = json!({}),
        |d| d["endpoints"][1]["port"] = json!(0),
        |d| d["endpoints"][1] = json!("10.0.0.1:80"),
        |d| d["confirmed_at_ms"] = json!(-1),
    ];
    for (at, change) in changes.iter().enumerate() {
        let mut broken = document(&["a", "b"]);
        change(&mut broken);
        let error = refusal(&sealed(&broken));
        assert!(matches!(error.label(), "corrupt" | "version"), "{at}: {error}");
    }
    let mut late = document(&["a"]);
    late["confirmed_at_ms"] = json!(u64::MAX);
    drop(decode(&sealed(&late), &service(), &source()));
}

#[test]
fn what_is_not_text_or_far_too_large_is_refused() {
    let rest = b"\"version\":1,\"service\":\"\xff\xfe\"}\n";
    let mut bytes = format!("{{\"checksum\":\"{:016x}\",", checksum(rest)).into_bytes();
    bytes.extend_from_slice(rest);
    assert!(matches!(refusal(&bytes), Refusal::Invalid(_)));
    let huge = vec![b' '; format::MAX_BYTES + 1];
    assert!(matches!(refusal(&huge), Refusal::TooLarge));
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let deep = (0..200).fold(json!(1), |inside, _| json!([inside]));
    let mut poisoned = record(&["a"]);
    let endpoint =
        Endpoint { labels: Arc::new([("deep".to_owned(), deep)].into()), ..Endpoint::new("a", 80) };
    poisoned.endpoints = EndpointSet::new([endpoint]);
    assert!(matches!(encode(&poisoned), Err(Refusal::Invalid(_))));
}

fn some_endpoint() -> impl Strategy<Value = Endpoint> {
    let text = proptest::option::of("[ -~äß世]{1,12}").prop_map(|t| t.map(Arc::from));
    let label = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        proptest::collection::vec(any::<u8>(), 0..3).prop_map(|v| json!({"list": v})),
    ];
    (
        ("[!-.0-~]{1,40}", 1_u16.., text.clone(), text),
        any::<(Option<u64>, Option<u64>)>(),
        proptest::collection::btree_map(any::<String>(), label, 0..4),
        proptest::option::of(1_u32..),
    )
        .prop_map(|((host, port, name, server_options), (id, weight), labels, server_id)| {
            Endpoint {
                name,
                id,
                weight,
                server_options,
                labels: Arc::new(labels),
                server_id,
                ..Endpoint::new(host, port)
            }
        })
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(
        endpoints in proptest::collection::vec(some_endpoint(), 1..8),
        service in ".{1,40}", path in ".{0,40}", generator in proptest::option::of(any::<String>()),
        zxid in any::<Option<i64>>(), said in 0..3_usize, at in 0..4_000_000_000_000_u64,
    ) {
        let written = Record {
            service: ServiceName::new(service.as_str()),
            source: SourceIdentity::of(&zookeeper(&path)).unwrap(),
            said: [Said::Known, Said::Empty, Said::Missing][said],
            confirmed_at: UNIX_EPOCH + Duration::from_millis(at),
            zxid,
            generator: generator.map(Arc::from),
            endpoints: EndpointSet::new(endpoints),
        };
        let bytes = encode(&written).unwrap();
        let read = decode(&bytes, &written.service, &written.source).unwrap();
        prop_assert_eq!(read.endpoints.as_slice(), written.endpoints.as_slice());
        prop_assert_eq!((read.said, read.zxid, read.generator), (written.said, written.zxid, written.generator));
        prop_assert_eq!(millis_of(read.confirmed_at), at);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), seal in any::<bool>()) {
        let bytes = if seal {
            let mut sealed = format!("{{\"checksum\":\"{:016x}\",", checksum(&bytes)).into_bytes();
            sealed.extend_from_slice(&bytes);
            sealed
        } else {
            bytes
        };
        prop_assert!(decode(&bytes, &service(), &source()).is_err());
    }
}
