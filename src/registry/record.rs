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
mod tests;
