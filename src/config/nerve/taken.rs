//! Two services of one nerve that would be one registration.
//!
//! A node without a sequence number is named after the instance alone, so two ports of one host under one path overwrite
//! each other for ever in the original. Lines of a file are told apart by host, port and name.

use std::collections::HashMap;

use super::NerveService;
use crate::registration::Place;
use crate::registry::path;

/// Which registrations there are.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    owners: HashMap<Spot, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Spot {
    Node { ensemble: String, path: String },
    Line { file: std::path::PathBuf, host: String, port: String },
}

impl Taken {
    /// Takes the place of `service`.
    ///
    /// # Errors
    /// The text of a complaint when another service has it.
    pub fn add(&mut self, service: &NerveService) -> Result<(), String> {
        let Some(spot) = spot(service) else {
            return Ok(());
        };
        let name = service.name.as_str();
        match self.owners.get(&spot).filter(|owner| *owner != name) {
            Some(owner) => Err(clash(&spot, owner)),
            None => {
                self.owners.insert(spot, name.to_owned());
                Ok(())
            }
        }
    }
}

/// `None` when the server numbers the node: then there is room for many.
fn spot(service: &NerveService) -> Option<Spot> {
    let record = &service.registration.record;
    match &service.registration.place {
        Place::ZooKeeper(place) => {
            if place.kind.is_sequential() {
                return None;
            }
            let encoded = if place.is_path_encoded { path::encode(&record.encode()) } else { None };
            let name = encoded.unwrap_or_else(|| format!("{}_", record.name));
            let path = path::child(&place.path, &name);
            Some(Spot::Node { ensemble: place.ensemble.to_string(), path })
        }
        Place::File { path } => {
            let digits =
                record.port.as_str().map_or_else(|| record.port.to_string(), str::to_owned);
            // A string of digits and the number are one port.
            let port = digits.trim_start_matches('0').to_owned();
            Some(Spot::Line { file: path.clone(), host: record.host.clone(), port })
        }
    }
}

fn clash(spot: &Spot, owner: &str) -> String {
    match spot {
        Spot::Node { path, .. } => format!(
            "service {owner:?} has the same node {path}; use ephemeral_sequential, or another zk_path"
        ),
        Spot::Line { file, host, port } => {
            format!("service {owner:?} has the same line {host}:{port} in {}", file.display())
        }
    }
}
