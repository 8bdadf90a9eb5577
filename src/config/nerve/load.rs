//! Loading the Nerve file: all or nothing, except for services that need something that does not exist here.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::service::Shared;
use super::taken::Taken;
use super::{NerveConfig, NerveService, ServiceDefaults, limits, process};
use crate::config::Complaint;
use crate::config::document::{Document, Reading};
use crate::config::reader::{Cursor, Section};
use crate::config::report::{Place, Report, grouped};
use crate::config::template::Env;
use crate::registration::DampingSettings;

/// What to load and how.
#[derive(Clone, Debug)]
pub struct NerveLoadOptions {
    /// The configuration file.
    pub file: PathBuf,
    /// `-i`: overrides `instance_id` unless it is empty.
    pub instance_id: Option<String>,
    /// A file merged over it.
    pub overlay: Option<PathBuf>,
    /// Remarks about the configuration, and refused services, are complaints.
    pub strict: bool,
    /// The environment, for `~` and `$STATE_DIRECTORY`.
    pub env: Env,
}

impl NerveLoadOptions {
    /// One file, this process's environment, not strict.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            instance_id: None,
            overlay: None,
            strict: false,
            env: Env::process(),
        }
    }
}

/// Loads a configuration.
///
/// # Errors
/// Everything that is wrong with it, refused services included, and what is only odd.
pub fn load(options: &NerveLoadOptions) -> Result<NerveConfig, Report> {
    let mut report = Report::default();
    let reading = Reading::nerve(&options.env);
    let overlay = options.overlay.as_deref();
    match Document::load(&options.file, overlay, &reading, &mut report) {
        Some(document) => resolve(&document, options, report),
        None => Err(report),
    }
}

/// Resolves a document that has been read, with what reading it has reported.
///
/// # Errors
/// As [`load`].
pub fn resolve(
    document: &Document,
    options: &NerveLoadOptions,
    mut report: Report,
) -> Result<NerveConfig, Report> {
    let root = document.root();
    let Some(top) = root.section(&process::KEYS, &mut report) else {
        return Err(report);
    };
    let mut notes = Vec::new();
    let process = process::read(&top, &options.env, &mut notes, &mut report);
    let instance_id = process::instance_id(&top, options.instance_id.as_deref(), &mut report);
    let damping = limits::damping(&top, Some(&DampingSettings::DEFAULT), &mut report);
    let defaults = ServiceDefaults { damping };
    let shared = Shared { instance_id: &instance_id, defaults: &defaults, allow_exec: true };
    let (services, mut refused) = read_services(&top, &shared, &mut report);
    if services.is_empty() && refused.is_empty() {
        let place = top.place().key("services");
        notes.push(place.complaint("no services are configured: nothing is registered"));
    }
    if options.strict {
        report.complaints.append(&mut report.warnings);
    }
    if !report.complaints.is_empty() || (options.strict && !refused.is_empty()) {
        report.complaints.append(&mut refused);
        return Err(report);
    }
    let mut warnings = grouped(report.warnings);
    warnings.extend(notes);
    Ok(NerveConfig { instance_id, services, process, defaults, refused, warnings })
}

/// The services in file order, and why others are left out.
fn read_services(
    top: &Section<'_>,
    shared: &Shared<'_>,
    report: &mut Report,
) -> (Vec<NerveService>, Vec<Complaint>) {
    let entries = top.get("services").map(|c| c.entries(report)).unwrap_or_default();
    let (mut services, mut refused) = (Vec::new(), Vec::new());
    let mut names = HashSet::new();
    let mut taken = Taken::default();
    for (key, cursor) in entries {
        if key.is_empty() {
            report.complain(cursor.place(), "the name of a service must not be empty");
            continue;
        }
        let mut outcome = shared.read(key, &cursor, report);
        refused.append(&mut outcome.refused);
        let mut told = HashSet::new();
        for service in outcome.services {
            if !names.insert(service.name.clone()) {
                let text = format!("there are two services {}", service.name);
                report.complain(cursor.place(), text);
                continue;
            }
            match taken.add(&service) {
                Ok(()) => services.push(service),
                // Copies for a load test share one complaint.
                Err(text) => {
                    if told.insert(text.clone()) {
                        report.complain(cursor.place(), text);
                    }
                }
            }
        }
    }
    (services, refused)
}

/// Resolves a definition from outside (the push API): the shape of an entry under `services`. Not checked here: whether
/// another service has its name or its place (see [`Taken`]).
///
/// # Errors
/// Everything that is wrong with it, and what is only odd. `exec` checks are wrong unless `allow_exec`.
pub fn service(
    name: &str,
    definition: &Value,
    instance_id: &str,
    defaults: &ServiceDefaults,
    allow_exec: bool,
) -> Result<Vec<NerveService>, Report> {
    let mut report = Report::default();
    let place = Place { file: Arc::from(format!("definition of {name:?}")), path: String::new() };
    if name.is_empty() {
        report.complain(&place, "the name of a service must not be empty");
    }
    let shared = Shared { instance_id, defaults, allow_exec };
    let cursor = Cursor::new(definition, place, None);
    let outcome = shared.read(name, &cursor, &mut report);
    report.complaints.extend(outcome.refused);
    if report.complaints.is_empty() { Ok(outcome.services) } else { Err(report) }
}
