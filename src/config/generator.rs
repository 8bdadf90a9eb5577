//! Generator configs found in the registry: one service is resolved again with its `haproxy` section replaced.
//!
//! As in the original the whole section is replaced, not merged; unlike there, missing keys get their defaults, and
//! nothing that stands in a znode ends the process: a section that cannot be used is a list of complaints, and the
//! service keeps what it has.

use std::collections::HashMap;

use serde_json::{Map, Value};
use tracing::warn;

use super::addresses::Taken;
use super::document::Document;
use super::json;
use super::reader::Cursor;
use super::report::{Place, Report};
use super::service::Shared;
use super::text::show;
use super::{Complaint, GeneratorRules, ServiceConfig};
use crate::endpoint::ServiceName;

/// The rules of one loaded configuration.
#[derive(Debug)]
pub struct Generator {
    pub(super) document: Document,
    pub(super) shared: Shared,
    /// Instance to key under `services`.
    pub(super) keys: HashMap<ServiceName, String>,
    /// Addresses that the file configuration binds.
    pub(super) taken: Taken,
}

impl GeneratorRules for Generator {
    fn resolve(
        &self,
        service: &ServiceName,
        text: &str,
    ) -> Result<Option<ServiceConfig>, Vec<Complaint>> {
        let place = Place {
            file: format!("generator config of {service}").into(),
            path: String::new(),
        };
        if text.trim().is_empty() {
            return Ok(None);
        }
        let value = json::parse_json(text)
            .map_err(|e| vec![place.complaint(format!("is not JSON: {e}"))])?;
        let Value::Object(generators) = value else {
            return Err(vec![
                place.complaint(format!("{} is not a map", show(&value))),
            ]);
        };
        self.warn_about_others(service, &generators);
        match generators.get("haproxy") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(section)) if section.is_empty() => Ok(None),
            Some(section) => {
                let cursor = Cursor::new(section, place.key("haproxy"), None);
                self.resolve_with(service, &cursor).map(Some)
            }
        }
    }
}

impl Generator {
    fn resolve_with(
        &self,
        name: &ServiceName,
        haproxy: &Cursor<'_>,
    ) -> Result<ServiceConfig, Vec<Complaint>> {
        let service = self
            .keys
            .get(name)
            .and_then(|key| self.document.root().peek("services")?.peek(key));
        let Some(service) = service else {
            return Err(vec![
                haproxy
                    .place()
                    .complaint("no such service in the configuration"),
            ]);
        };
        let mut report = Report::default();
        let resolved = self
            .shared
            .resolve(name, &service, Some(haproxy), &mut report);
        if let Some(resolved) = &resolved
            && let Some(conflict) = self.taken.conflict(name, resolved)
        {
            report.complaints.push(conflict);
        }
        // What the file says was remarked upon when it was loaded.
        for remark in report
            .warnings
            .iter()
            .filter(|w| w.file == haproxy.place().file)
        {
            warn!(service = %name, %remark, "generator config accepted with a remark");
        }
        match resolved {
            Some(resolved) if report.complaints.is_empty() => Ok(resolved.config),
            _ => Err(report.complaints),
        }
    }

    fn warn_about_others(&self, service: &ServiceName, generators: &Map<String, Value>) {
        for generator in generators.keys().filter(|key| *key != "haproxy") {
            // Of a generator that the file configures it has been said once that it is not there.
            if self.document.root().peek(generator).is_none() {
                warn!(%service, %generator, "unknown generator in the registry's config, ignored");
            }
        }
    }
}
