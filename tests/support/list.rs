//! Lists of backends in files, as `file` discovery reads them.

use std::path::Path;

use serde_json::{Value, json};

use super::origin::Origin;

/// An origin as discovery names it.
pub(crate) fn record(origin: &Origin) -> Value {
    json!({"name": origin.name(), "host": origin.addr().ip().to_string(), "port": origin.port()})
}

/// Replaces a list by one of these.
pub(crate) fn put(path: &Path, origins: &[&Origin]) {
    let records: Vec<Value> = origins.iter().map(|origin| record(origin)).collect();
    replace(path, &json!(records).to_string());
}

/// Replaces it by any text: a reader sees the former file or this one.
pub(crate) fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("write");
    std::fs::rename(new, path).expect("rename");
}
