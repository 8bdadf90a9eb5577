//! The file: one JSON document on one line, its checksum in front.
//!
//! ```json
//! {"checksum":"93d1f2a5c0e4b768","version":1,"service":"search","source":{"method":"zookeeper",…},"said":"known",
//!  "confirmed_at_ms":1795417906000,"zxid":4294967311,"generator":null,"endpoints":[{"host":"10.0.0.1","port":9000,…}]}
//! ```
//!
//! The checksum is FNV-1a (64 bit) over every byte behind it, exactly as they stand in the file; so there is no question
//! of a canonical form, and no changed byte goes unnoticed. It guards against torn writes and editors, not against
//! malice: who may write here may also write the configuration. Unknown fields are ignored; a greater `version` means
//! that the meaning of known ones has changed, and is refused.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::discovery::{Decode, SourceSettings};
use crate::endpoint::{Endpoint, EndpointSet, ServiceName};
use crate::registry::record;

/// Version that is written, and the greatest that is read.
const VERSION: u64 = 1;

/// Largest file that is written or read, bytes: some 100,000 backends. Beyond, the file is not ours.
pub(super) const MAX_BYTES: usize = 32 * 1024 * 1024;

const OPENING: &[u8] = b"{\"checksum\":\"";
const CLOSING: &[u8] = b"\",";
/// Hexadecimal digits of the checksum.
const DIGITS: usize = 16;

/// What a source said last about a service.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) service: ServiceName,
    pub(super) source: SourceIdentity,
    pub(super) said: Said,
    /// When the source last confirmed it.
    pub(super) confirmed_at: SystemTime,
    /// The newest change among the members, as far as known.
    pub(super) zxid: Option<i64>,
    pub(super) generator: Option<Arc<str>>,
    /// The last set that was not empty.
    pub(super) endpoints: EndpointSet,
}

/// The last word itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    /// The endpoints.
    Known,
    /// Nobody any more.
    Empty,
    /// The path is gone.
    Missing,
}

/// Which source a word came from. A file of another source is foreign, whatever it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceIdentity {
    method: String,
    #[serde(default)]
    ensemble: Option<String>,
    path: String,
    #[serde(default)]
    decode: Option<String>,
}

impl SourceIdentity {
    /// `None` for the list in the configuration, which needs no memory.
    pub fn of(settings: &SourceSettings) -> Option<Self> {
        match settings {
            SourceSettings::Fixed => None,
            SourceSettings::File(file) => Some(Self {
                method: "file".to_owned(),
                ensemble: None,
                path: file.path.display().to_string(),
                decode: None,
            }),
            SourceSettings::ZooKeeper(zk) => Some(Self {
                method: "zookeeper".to_owned(),
                ensemble: Some(zk.ensemble.to_string()),
                path: zk.path.to_string(),
                decode: Some(match &zk.decode {
                    Decode::Nerve => "nerve".to_owned(),
                    Decode::ServerSet { endpoint_name: None } => "serverset".to_owned(),
                    Decode::ServerSet { endpoint_name: Some(name) } => format!("serverset {name}"),
                }),
            }),
        }
    }
}

/// Why a file is not used. The text completes "refused: ".
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("it cannot be read")]
    Unreadable(#[source] std::io::Error),
    #[error("more than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("it does not begin with a checksum")]
    NoChecksum,
    #[error("the checksum does not match: torn, or changed by hand")]
    Checksum,
    #[error("version {0}, at most {VERSION} is understood")]
    Version(u64),
    #[error("{0}")]
    Invalid(String),
    #[error("it belongs to service {0:?}")]
    OtherService(String),
    #[error("it comes from another source: {0}")]
    OtherSource(String),
}

impl Refusal {
    /// Value of the metric's label.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::TooLarge | Self::NoChecksum | Self::Checksum | Self::Invalid(_) => "corrupt",
            Self::Version(_) => "version",
            Self::OtherService(_) | Self::OtherSource(_) => "foreign",
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u64,
    service: String,
    source: SourceIdentity,
    said: Said,
    /// Milliseconds since 1970.
    confirmed_at_ms: u64,
    #[serde(default)]
    zxid: Option<i64>,
    #[serde(default)]
    generator: Option<String>,
    endpoints: Vec<Value>,
}

/// The bytes of a file.
///
/// # Errors
/// Anything that could not be read back: too large, or labels nested absurdly deep.
pub(super) fn encode(record: &Record) -> Result<Vec<u8>, Refusal> {
    let invalid = |error: serde_json::Error| Refusal::Invalid(error.to_string());
    let document = Document {
        version: VERSION,
        service: record.service.to_string(),
        source: record.source.clone(),
        said: record.said,
        confirmed_at_ms: millis_of(record.confirmed_at),
        zxid: record.zxid,
        generator: record.generator.as_deref().map(str::to_owned),
        endpoints: record.endpoints.as_slice().iter().map(item).collect(),
    };
    let json = serde_json::to_vec(&document).map_err(invalid)?;
    let Some(rest) = json.strip_prefix(b"{") else {
        return Err(Refusal::Invalid("not a map".to_owned()));
    };
    let mut rest = rest.to_vec();
    rest.push(b'\n');
    let mut bytes = Vec::with_capacity(OPENING.len() + DIGITS + CLOSING.len() + rest.len());
    bytes.extend_from_slice(OPENING);
    bytes.extend_from_slice(format!("{:016x}", checksum(&rest)).as_bytes());
    bytes.extend_from_slice(CLOSING);
    bytes.extend_from_slice(&rest);
    decode(&bytes, &record.service, &record.source)?;
    Ok(bytes)
}

/// What a file says about `service`, if it comes from `source`.
///
/// # Errors
/// [`Refusal`]; then nothing of it may be used.
pub(super) fn decode(
    bytes: &[u8],
    service: &ServiceName,
    source: &SourceIdentity,
) -> Result<Record, Refusal> {
    if bytes.len() > MAX_BYTES {
        return Err(Refusal::TooLarge);
    }
    verify(bytes)?;
    let invalid = |error: serde_json::Error| Refusal::Invalid(error.to_string());
    let value: Map<String, Value> = serde_json::from_slice(bytes).map_err(invalid)?;
    match value.get("version").and_then(Value::as_u64) {
        Some(1..=VERSION) => {}
        Some(version) => return Err(Refusal::Version(version)),
        None => return Err(Refusal::Invalid("version is missing".to_owned())),
    }
    let document: Document = serde_json::from_value(Value::Object(value)).map_err(invalid)?;
    if document.service != service.as_str() {
        return Err(Refusal::OtherService(document.service));
    }
    if document.source != *source {
        let other = serde_json::to_string(&document.source).map_err(invalid)?;
        return Err(Refusal::OtherSource(other));
    }
    let endpoints = document.endpoints.iter().enumerate().map(|(at, item)| {
        record::from_item(item)
            .map_err(|error| Refusal::Invalid(format!("endpoints[{at}]: {error}")))
    });
    let endpoints = EndpointSet::new(endpoints.collect::<Result<Vec<_>, _>>()?);
    if endpoints.is_empty() {
        return Err(Refusal::Invalid("no endpoints".to_owned()));
    }
    Ok(Record {
        service: service.clone(),
        source: document.source,
        said: document.said,
        confirmed_at: UNIX_EPOCH
            .checked_add(Duration::from_millis(document.confirmed_at_ms))
            .unwrap_or(UNIX_EPOCH),
        zxid: document.zxid,
        generator: document.generator.map(Arc::from),
        endpoints,
    })
}

fn verify(bytes: &[u8]) -> Result<(), Refusal> {
    let rest = bytes.strip_prefix(OPENING).ok_or(Refusal::NoChecksum)?;
    let (digits, rest) = rest.split_at_checked(DIGITS).ok_or(Refusal::NoChecksum)?;
    let rest = rest.strip_prefix(CLOSING).ok_or(Refusal::NoChecksum)?;
    if digits == format!("{:016x}", checksum(rest)).as_bytes() {
        Ok(())
    } else {
        Err(Refusal::Checksum)
    }
}

/// FNV-1a, 64 bit. Every single changed byte changes it: each step is a bijection.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// Milliseconds since 1970, to which times are kept.
pub(super) fn millis_of(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// An endpoint in the shape that [`record::from_item`] reads; what is unset is left out.
fn item(endpoint: &Endpoint) -> Value {
    let mut item = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            item.insert(key.to_owned(), value);
        }
    };
    put("host", Some(json!(&*endpoint.host)));
    put("port", Some(json!(endpoint.port)));
    put("name", endpoint.name.as_deref().map(Value::from));
    put("id", endpoint.id.map(Value::from));
    put("weight", endpoint.weight.map(Value::from));
    put("haproxy_server_options", endpoint.server_options.as_deref().map(Value::from));
    put("labels", labels(endpoint));
    put("haproxy_server_id", endpoint.server_id.map(Value::from));
    Value::Object(item)
}

fn labels(endpoint: &Endpoint) -> Option<Value> {
    let labels = endpoint.labels.iter().map(|(label, value)| (label.clone(), value.clone()));
    (!endpoint.labels.is_empty()).then(|| Value::Object(labels.collect()))
}
