//! From text to a configuration.

mod files;
mod golden;
mod keys;
mod mistakes;

use serde_json::Value;

use super::*;
use crate::config::document;

pub(in crate::config) fn options(strict: bool) -> LoadOptions {
    LoadOptions {
        file: "synapse.yaml".into(),
        overlay: None,
        strict,
        env: Env::new(|name| (name == "STATE_DIRECTORY").then(|| "/run/state".to_owned())),
    }
}

pub(in crate::config) fn load_text(text: &str, strict: bool) -> Result<Loaded, Report> {
    let value =
        document::parse_bytes(text.as_bytes(), false, &Reading::synapse(&Env::empty())).unwrap();
    let Value::Object(map) = value else {
        panic!("not a map: {value}");
    };
    let document = Document::new("synapse.yaml", map);
    resolve(document, &options(strict), Report::default())
}

pub(in crate::config) fn good(text: &str) -> Loaded {
    load_text(text, false).unwrap_or_else(|c| panic!("{c:#?}"))
}

pub(in crate::config) fn complaints(text: &str) -> Vec<String> {
    let report = load_text(text, false).unwrap_err();
    report.complaints.iter().map(ToString::to_string).collect()
}

fn warnings(text: &str) -> Vec<String> {
    good(text).config.warnings.iter().map(ToString::to_string).collect()
}

const G1: &str = include_str!("../../../../tests/golden/g1_synapse_minimal.json");
const G2: &str = include_str!("../../../../tests/golden/g2_synapse_zk.json");
const G4: &str = include_str!("../../../../tests/golden/g4_synapse_registry_formats.json");
const G5: &str = include_str!("../../../../tests/golden/g5_synapse_multi.json");
const G6: &str = include_str!("../../../../tests/golden/g6_synapse_other_discovery.json");
const G7: &str = include_str!("../../../../tests/golden/g7_yelp_synapse.json");

/// Replaces the value that stands at number `left` in depth-first order.
pub(in crate::config) fn mutate(value: &mut Value, left: &mut usize, junk: &Value) -> bool {
    if *left == 0 {
        *value = junk.clone();
        return true;
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().any(|v| mutate(v, left, junk)),
        Value::Object(map) => map.iter_mut().any(|(_, v)| mutate(v, left, junk)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
