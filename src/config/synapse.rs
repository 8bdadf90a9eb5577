//! The Synapse file: document to [`SynapseConfig`].
//!
//! All or nothing: every complaint about every file comes back at once, and then there is no configuration. What spans
//! services is checked last: two listeners on one address, the admin server's included.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::time::Instant;

use super::addresses::Taken;
use super::document::{Document, Reading};
use super::generator::Generator;
use super::haproxy::{self, TopSection};
use super::origins::shorten;
use super::reader::{Cursor, Section};
use super::report::{Report, grouped};
use super::service::{self, Resolved, Shared};
use super::template::Env;
use super::{Complaint, GeneratorRules, SynapseConfig};
use super::{native, process, sections};
use crate::endpoint::ServiceName;

/// What to load and how.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The configuration file.
    pub file: PathBuf,
    /// A file merged over it.
    pub overlay: Option<PathBuf>,
    /// Remarks about the configuration are complaints.
    pub strict: bool,
    /// The environment, for templates, `~` and `$STATE_DIRECTORY`.
    pub env: Env,
}

impl LoadOptions {
    /// One file, this process's environment, not strict.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), overlay: None, strict: false, env: Env::process() }
    }
}

/// A loaded configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: SynapseConfig,
    /// Resolves services again when the registry holds generator configs.
    pub generator: Arc<dyn GeneratorRules>,
    /// When the first of its files began to be read: what was written later may be missing.
    pub read: Instant,
}

/// Loads a configuration.
///
/// # Errors
/// Everything that is wrong with it, and what is only odd: a mistyped key is a warning, and often the cause of the rest.
pub fn load(options: &LoadOptions) -> Result<Loaded, Report> {
    let read = Instant::now();
    let mut report = Report::default();
    let overlay = options.overlay.as_deref();
    let reading = Reading::synapse(&options.env);
    let document = Document::load(&options.file, overlay, &reading, &mut report);
    match document {
        Some(document) => Ok(Loaded { read, ..resolve(document, options, report)? }),
        None => Err(report),
    }
}

/// Resolves a document that has been read, with what reading it has reported.
///
/// # Errors
/// As [`load`].
pub fn resolve(
    document: Document,
    options: &LoadOptions,
    mut report: Report,
) -> Result<Loaded, Report> {
    let root = document.root();
    let Some(top) = root.section(&process::KEYS, &mut report) else {
        return Err(report);
    };
    let shared = read_shared(&top, &document, &mut report);
    let mut process = process::read(&top, &shared.top.global, &options.env, &mut report);
    shorten(&mut process.origins, document.file());
    let mut taken = Taken::new(process.settings.admin_listen, &top, &shared, &mut report);
    let services = read_services(&top, &shared, &mut report);
    let keys = services.iter().map(|(key, s)| (s.config.name.clone(), key.clone())).collect();
    for (_, service) in &services {
        taken.add(service, &mut report);
    }
    if options.strict {
        report.complaints.append(&mut report.warnings);
    }
    if !report.complaints.is_empty() {
        // What the top level has wrong is found by every service that inherits it.
        let mut told = HashSet::new();
        report
            .complaints
            .retain(|c| told.insert((Arc::clone(&c.file), c.path.clone(), c.text.clone())));
        return Err(report);
    }
    let mut warnings = grouped(report.warnings);
    warnings.extend(without_effect(&top));
    warnings.extend(process.notes);
    let config = SynapseConfig {
        services: services.into_iter().map(|(_, s)| s.config).collect(),
        process: process.settings,
        process_origins: process.origins,
        warnings,
    };
    let generator = Generator { document: document.clone(), shared, keys, taken };
    Ok(Loaded { config, generator: Arc::new(generator), read: Instant::now() })
}

fn read_shared(top: &Section<'_>, document: &Document, report: &mut Report) -> Shared {
    let section =
        top.get("haproxy").map_or_else(TopSection::default, |c| sections::read_top(&c, report));
    let native = top.get("proxy").map(|c| native::read(&c, report));
    if let Some(sockets) = top.get("proxy").and_then(|proxy| proxy.peek("listen")) {
        report.complain(sockets.place(), "belongs to a service: no two may listen on one address");
    }
    Shared {
        file: Arc::clone(document.file()),
        top: haproxy::resolve_top(&section, report),
        native: native.unwrap_or_default(),
    }
}

/// The services in file order, each with its key.
fn read_services(
    top: &Section<'_>,
    shared: &Shared,
    report: &mut Report,
) -> Vec<(String, Resolved)> {
    let entries = top.get("services").map(|c| c.entries(report)).unwrap_or_default();
    if entries.is_empty() {
        report.warn(&top.place().key("services"), "no services are configured");
    }
    let mut services = Vec::new();
    let mut names = HashSet::new();
    for (key, cursor) in entries {
        if key.is_empty() {
            report.complain(cursor.place(), "the name of a service must not be empty");
            continue;
        }
        for resolved in read_service(key, &cursor, shared, report) {
            if names.insert(resolved.config.name.clone()) {
                services.push((key.to_owned(), resolved));
            } else {
                let text = format!("there are two services {}", resolved.config.name);
                report.complain(cursor.place(), text);
            }
        }
    }
    services
}

fn read_service(
    key: &str,
    cursor: &Cursor<'_>,
    shared: &Shared,
    report: &mut Report,
) -> Vec<Resolved> {
    let name = ServiceName::new(key);
    let Some(resolved) = shared.resolve(&name, cursor, None, report) else {
        return Vec::new();
    };
    // The keys have been checked above; a second report would repeat the remarks.
    match cursor.section(&service::KEYS, &mut Report::default()) {
        Some(section) => service::instances(resolved, &section, report),
        None => vec![resolved],
    }
}

/// One line about keys that every Airbnb file has and that mean nothing here.
fn without_effect(top: &Section<'_>) -> Option<Complaint> {
    let haproxy = top.get("haproxy");
    let mut keys: Vec<_> = sections::PROCESS_KEYS
        .iter()
        .filter(|key| haproxy.as_ref().is_some_and(|c| c.peek(key).is_some()))
        .map(|key| format!("haproxy.{key}"))
        .collect();
    let services = top.get("services").map(|c| c.entries(&mut Report::default()));
    let retries = |service: &Cursor<'_>| {
        let discovery = service.peek("discovery");
        discovery.is_some_and(|d| d.peek("retry_policy").is_some())
    };
    if services.unwrap_or_default().iter().any(|(_, s)| retries(s)) {
        keys.push("discovery.retry_policy".to_owned());
    }
    if keys.is_empty() {
        return None;
    }
    let text = format!("accepted without effect (no haproxy process is run): {}", keys.join(", "));
    Some(top.place().complaint(text))
}

#[cfg(test)]
pub(super) mod tests;
