//! The registration record: *one* decoder for everything that describes an instance, and nerve's encoder.
//!
//! Three shapes say the same thing: nerve's JSON in a znode, Twitter's serverset JSON, and an item of a list in a config
//! or file. All of it is outside input: whatever the bytes are, the answer is an [`Endpoint`] or a [`RecordError`] that
//! names the field and the value; nothing panics and nothing is guessed. Unknown fields are dropped, as in the original.
//!
//! The way back, nerve's exact bytes, is [`NerveRecord`].

mod encode;

use std::sync::Arc;

use serde_json::{Map, Value};

pub use self::encode::NerveRecord;

use crate::endpoint::{Endpoint, Labels};

/// Longest data of one registration that is looked at, bytes.
///
/// nerve itself goes up to 64 KiB of path encoding and falls back to plain data above, so larger records are legal but
/// rare; a megabyte in each of ten thousand children would be ours to hold.
pub const MAX_RECORD_BYTES: usize = 128 * 1024;

/// Longest host that is accepted, bytes: a DNS name has at most 253.
const MAX_HOST_BYTES: usize = 255;

/// Shape of the data of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFormat<'a> {
    /// nerve's JSON.
    Nerve,
    /// Twitter's serverset JSON.
    ServerSet {
        /// Takes this one of `additionalEndpoints` instead of `serviceEndpoint`.
        endpoint_name: Option<&'a str>,
    },
}

/// Why a record cannot be used. The text is for `/services/NAME` and the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// No bytes at all.
    #[error("no data")]
    Empty,
    /// More than [`MAX_RECORD_BYTES`].
    #[error("{bytes} bytes of data, at most {MAX_RECORD_BYTES} are read")]
    TooLarge {
        /// How many.
        bytes: usize,
    },
    /// The bytes are not text.
    #[error("not UTF-8 from byte {at}")]
    NotUtf8 {
        /// First offending byte.
        at: usize,
    },
    /// The text is not JSON; `NaN` and `Infinity` are not JSON either.
    #[error("not JSON: {detail}")]
    NotJson {
        /// The parser's words.
        detail: String,
    },
    /// JSON, but not a map.
    #[error("{found} where a map was expected")]
    NotMap {
        /// What it is: `a list`, `null`, …
        found: &'static str,
    },
    /// A required field is not there.
    #[error("{field} is missing")]
    Missing {
        /// Its name.
        field: String,
    },
    /// A field is there, but not usable.
    #[error("{field} is {found}, expected {expected}")]
    Unusable {
        /// Its name.
        field: &'static str,
        /// The value, shortened.
        found: String,
        /// What would do.
        expected: &'static str,
    },
}

/// Decodes the data of a child.
///
/// `id` and `server_id` stay empty: the former comes from the child's name, the latter is for config items only.
///
/// # Errors
/// [`RecordError`], naming the field.
pub fn decode(data: &[u8], format: RecordFormat<'_>) -> Result<Endpoint, RecordError> {
    if data.is_empty() {
        return Err(RecordError::Empty);
    }
    if data.len() > MAX_RECORD_BYTES {
        return Err(RecordError::TooLarge { bytes: data.len() });
    }
    let text = std::str::from_utf8(data)
        .map_err(|error| RecordError::NotUtf8 { at: error.valid_up_to() })?;
    let value: Value = serde_json::from_str(text)
        .map_err(|error| RecordError::NotJson { detail: error.to_string() })?;
    let map = as_map(&value)?;
    match format {
        RecordFormat::Nerve => from_map(map),
        RecordFormat::ServerSet { endpoint_name } => from_server_set(map, endpoint_name),
    }
}

/// Decodes an item of a list in a config or file (`default_servers`, the `file` source): nerve's fields, plus `id` and
/// `haproxy_server_id`.
///
/// # Errors
/// [`RecordError`], naming the field.
pub fn from_item(value: &Value) -> Result<Endpoint, RecordError> {
    let map = as_map(value)?;
    let mut endpoint = from_map(map)?;
    endpoint.id = match present(map, "id") {
        None => None,
        Some(id) => Some(id.as_u64().ok_or_else(|| unusable("id", id, "an integer from 0"))?),
    };
    endpoint.server_id = match present(map, "haproxy_server_id") {
        None => None,
        Some(id) => Some(
            id.as_u64().and_then(|id| u32::try_from(id).ok()).filter(|id| *id > 0).ok_or_else(
                || unusable("haproxy_server_id", id, "an integer from 1 to 4294967295"),
            )?,
        ),
    };
    Ok(endpoint)
}

fn from_map(map: &Map<String, Value>) -> Result<Endpoint, RecordError> {
    let mut endpoint = host_and_port(map)?;
    endpoint.name = text(map, "name")?;
    endpoint.weight = weight(map)?;
    endpoint.server_options = text(map, "haproxy_server_options")?;
    endpoint.labels = labels(map)?.into();
    Ok(endpoint)
}

/// `status` is not looked at and everything else is dropped, as in the original.
fn from_server_set(
    map: &Map<String, Value>,
    endpoint_name: Option<&str>,
) -> Result<Endpoint, RecordError> {
    let (field, endpoint) = match endpoint_name {
        None => ("serviceEndpoint".to_owned(), present(map, "serviceEndpoint")),
        Some(name) => (
            format!("additionalEndpoints.{name}"),
            present(map, "additionalEndpoints").and_then(|all| all.get(name)),
        ),
    };
    let endpoint = endpoint.ok_or(RecordError::Missing { field })?;
    let mut endpoint = host_and_port(as_map(endpoint)?)?;
    endpoint.name = text(map, "shard")?;
    Ok(endpoint)
}

fn host_and_port(map: &Map<String, Value>) -> Result<Endpoint, RecordError> {
    Ok(Endpoint::new(host(map)?, port(map)?))
}

fn host(map: &Map<String, Value>) -> Result<Arc<str>, RecordError> {
    const EXPECTED: &str = "an address or a DNS name";
    let value = required(map, "host")?;
    value
        .as_str()
        .filter(|host| !host.is_empty() && host.len() <= MAX_HOST_BYTES)
        // Nobody outside makes us connect to a socket of our own host.
        .filter(|host| host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'))
        .map(Arc::from)
        .ok_or_else(|| unusable("host", value, EXPECTED))
}

fn port(map: &Map<String, Value>) -> Result<u16, RecordError> {
    let value = required(map, "port")?;
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|port| *port > 0)
        .ok_or_else(|| unusable("port", value, "a port from 1 to 65535"))
}

/// Only an integer counts; a string or a float is ignored, as in the original. Larger than haproxy's 256 is legal here.
fn weight(map: &Map<String, Value>) -> Result<Option<u64>, RecordError> {
    match present(map, "weight") {
        Some(value @ Value::Number(number)) => {
            if number.as_i64().is_some_and(i64::is_negative) {
                return Err(unusable("weight", value, "an integer from 0"));
            }
            Ok(number.as_u64())
        }
        Some(
            Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_),
        )
        | None => Ok(None),
    }
}

/// A text that ends up in one line of output: no control characters. Numbers and booleans are taken by their text, as
/// Ruby's interpolation does. Empty is the same as absent.
fn text(map: &Map<String, Value>, field: &'static str) -> Result<Option<Arc<str>>, RecordError> {
    const EXPECTED: &str = "a text of one line";
    let Some(value) = present(map, field) else {
        return Ok(None);
    };
    let found: Arc<str> = match value {
        Value::String(text) => Arc::from(text.as_str()),
        Value::Number(_) | Value::Bool(_) => Arc::from(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            return Err(unusable(field, value, EXPECTED));
        }
    };
    if found.chars().any(char::is_control) {
        return Err(unusable(field, value, EXPECTED));
    }
    Ok((!found.is_empty()).then_some(found))
}

fn labels(map: &Map<String, Value>) -> Result<Labels, RecordError> {
    match present(map, "labels") {
        None => Ok(Labels::new()),
        Some(Value::Object(labels)) => {
            Ok(labels.iter().map(|(label, value)| (label.clone(), value.clone())).collect())
        }
        Some(other) => Err(unusable("labels", other, "a map")),
    }
}

fn required<'a>(
    map: &'a Map<String, Value>,
    field: &'static str,
) -> Result<&'a Value, RecordError> {
    present(map, field).ok_or_else(|| RecordError::Missing { field: field.to_owned() })
}

/// The field, unless it is absent or null: the original keeps nulls and treats them alike.
fn present<'a>(map: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    map.get(field).filter(|value| !value.is_null())
}

fn as_map(value: &Value) -> Result<&Map<String, Value>, RecordError> {
    let found = match value {
        Value::Object(map) => return Ok(map),
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
    };
    Err(RecordError::NotMap { found })
}

fn unusable(field: &'static str, value: &Value, expected: &'static str) -> RecordError {
    RecordError::Unusable { field, found: shortened(&value.to_string()), expected }
}

/// Bounds what a hostile record can put into a log line. JSON text has its control characters escaped already.
fn shortened(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    if text.chars().count() <= MAX_CHARS {
        return text.to_owned();
    }
    text.chars().take(MAX_CHARS).chain("…".chars()).collect()
}

#[cfg(test)]
mod tests {
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
            labels: Labels::from([("az".into(), json!("us-east-1a")), ("n".into(), json!(1))])
                .into(),
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
        assert_eq!(
            complaint(r#"{"host":"h","port":1,"labels":[1]}"#),
            "labels is [1], expected a map"
        );
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
}
