//! The original's state file (`haproxy.state_file_path`): read once, never written.
//!
//! It seeds services that have no file of their own yet, so that the first start after a migration is no worse than any
//! other. The original stamps every backend it currently knows at each write (once a minute) and keeps the others until
//! `state_file_ttl`, as disabled. So of a service's entries only those of its last write are its last set.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::disk;
use crate::endpoint::{Endpoint, EndpointSet};
use crate::registry::record;

/// Largest state file that is read, bytes.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Entries stamped this much before the newest belong to an earlier write. The original writes every 60 s and stamps
/// within one pass.
const ONE_WRITE: u64 = 10;

/// Where the original keeps its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedFile {
    /// `haproxy.state_file_path`.
    pub path: PathBuf,
    /// `haproxy.state_file_ttl`: entries older than this are ignored. Default 86,400 s, as the original.
    pub ttl: Duration,
}

/// The last set of one service.
#[derive(Clone, Debug)]
pub(super) struct Seed {
    pub(super) endpoints: EndpointSet,
    pub(super) confirmed_at: SystemTime,
}

/// What the file says now.
///
/// # Errors
/// One line: unreadable, too large, or not JSON. A missing file says nothing.
pub(super) fn read(file: &SeedFile, now: SystemTime) -> Result<HashMap<String, Seed>, String> {
    let Some(bytes) = read_bytes(&file.path)? else {
        return Ok(HashMap::new());
    };
    let services: Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let now = seconds_of(now);
    let seeds = services.into_iter().filter_map(|(service, entries)| {
        let seed = seed(entries.as_object()?, now, file.ttl.as_secs())?;
        Some((service, seed))
    });
    Ok(seeds.collect())
}

fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let bytes = disk::read(path, MAX_BYTES).map_err(|error| error.to_string())?;
    match bytes {
        Some(bytes) if bytes.len() > MAX_BYTES => Err(format!("more than {MAX_BYTES} bytes")),
        // The original makes nothing of an empty file either.
        Some(bytes) if bytes.is_empty() => Ok(None),
        bytes => Ok(bytes),
    }
}

/// `None` without a usable entry. What is no backend (`watcher_config_for_generator`, broken records) is skipped.
fn seed(entries: &Map<String, Value>, now: u64, ttl: u64) -> Option<Seed> {
    let fresh: Vec<(u64, Endpoint)> = entries
        .values()
        .filter_map(|entry| {
            let stamped = entry.get("timestamp")?.as_u64()?;
            let endpoint = record::from_item(entry).ok()?;
            (now.abs_diff(stamped) <= ttl).then_some((stamped, endpoint))
        })
        .collect();
    let newest = fresh.iter().map(|(stamped, _)| *stamped).max()?;
    let last_write =
        fresh.into_iter().filter(|(stamped, _)| stamped.saturating_add(ONE_WRITE) >= newest);
    Some(Seed {
        endpoints: last_write.map(|(_, endpoint)| endpoint).collect(),
        confirmed_at: UNIX_EPOCH.checked_add(Duration::from_secs(newest))?,
    })
}

fn seconds_of(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What the original wrote for `tests/golden/g2_synapse_zk.json`.
    const G2: &str = include_str!("../../../tests/golden/g2_expected_state.json");
    const STAMPED: u64 = 1_700_000_000;

    fn read_text(text: &str, age: u64, ttl: u64) -> Result<HashMap<String, Seed>, String> {
        let path = std::env::temp_dir().join(format!("smartstack-seed-{:016x}", fastrand::u64(..)));
        std::fs::write(&path, text).unwrap();
        let file = SeedFile { path: path.clone(), ttl: Duration::from_secs(ttl) };
        let found = read(&file, UNIX_EPOCH + Duration::from_secs(STAMPED + age));
        std::fs::remove_file(path).unwrap();
        found
    }

    #[test]
    fn the_state_of_a_real_synapse_is_understood() {
        let seeds = read_text(G2, 60, 3600).unwrap();
        let search = &seeds["search"];
        let names: Vec<_> = search.endpoints.as_slice().iter().map(Endpoint::server_name).collect();
        assert_eq!(
            names,
            ["i-0aaa_10.0.1.11:9001", "i-0bbb_10.0.1.12:9001", "i-0ccc_10.0.1.13:9001"]
        );
        let first = &search.endpoints.as_slice()[0];
        assert_eq!((first.id, first.server_id), (Some(12), Some(1)));
        assert_eq!(first.labels["az"], json!("us-east-1a"));
        assert_eq!(search.confirmed_at, UNIX_EPOCH + Duration::from_secs(STAMPED));
        assert_eq!(seeds["users-db"].endpoints.len(), 1);
    }

    #[test]
    fn what_is_older_than_its_time_to_live_is_ignored() {
        assert!(read_text(G2, 3600, 3600).unwrap().contains_key("search"));
        assert!(read_text(G2, 3601, 3600).unwrap().is_empty());
    }

    #[test]
    fn backends_that_were_gone_at_the_last_write_are_not_brought_back() {
        let entry =
            |host: &str, age: u64| json!({"host": host, "port": 1, "timestamp": STAMPED - age});
        let text = json!({
            "s": {"a": entry("a", 0), "b": entry("b", 1), "gone": entry("gone", 60), "junk": {"timestamp": STAMPED}},
            "t": {"watcher_config_for_generator": {}}, "u": 7
        });
        let seeds = read_text(&text.to_string(), 0, 3600).unwrap();
        let hosts: Vec<_> = seeds["s"].endpoints.as_slice().iter().map(|e| &*e.host).collect();
        assert_eq!(hosts, ["a", "b"]);
        assert_eq!(seeds.len(), 1);
    }

    #[test]
    fn anything_else_is_an_error_or_nothing_but_never_a_panic() {
        assert!(read_text("", 0, 1).unwrap().is_empty());
        for text in ["[]", "{", "\u{0}", "null", "{\"a\":"] {
            assert!(read_text(text, 0, 1).is_err(), "{text}");
        }
        for text in ["{}", r#"{"s":[]}"#, r#"{"s":{"x":{"timestamp":-1}}}"#] {
            assert!(read_text(text, 0, 1).unwrap().is_empty(), "{text}");
        }
        let missing = SeedFile { path: "/nonexistent/state.json".into(), ttl: Duration::MAX };
        assert!(read(&missing, UNIX_EPOCH).unwrap().is_empty());
    }
}
