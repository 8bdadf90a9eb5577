//! The Synapse file: document to [`SynapseConfig`].
//!
//! All or nothing: every complaint about every file comes back at once, and then there is no configuration. What spans
//! services is checked last: two listeners on one address, the admin server's included.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::document::Document;
use super::generator::Generator;
use super::haproxy::{self, TopSection};
use super::reader::{Cursor, Section};
use super::report::{Place, Report};
use super::service::{self, Resolved, Shared};
use super::template::Env;
use super::{Complaint, EffectiveValue, GeneratorRules, SynapseConfig};
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

/// A loaded configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: SynapseConfig,
    /// Resolves services again when the registry holds generator configs.
    pub generator: Arc<dyn GeneratorRules>,
    /// Process-wide effective values, for `synapse check`.
    pub process_origins: Vec<EffectiveValue>,
}

/// Loads a configuration.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(options: &LoadOptions) -> Result<Loaded, Vec<Complaint>> {
    let mut report = Report::default();
    let overlay = options.overlay.as_deref();
    let document = Document::load(&options.file, overlay, &options.env, &mut report);
    match document {
        Some(document) => resolve(document, options, report),
        None => Err(report.complaints),
    }
}

/// Resolves a document that has been read, with what reading it has reported.
///
/// # Errors
/// Everything that is wrong with it.
pub fn resolve(
    document: Document,
    options: &LoadOptions,
    mut report: Report,
) -> Result<Loaded, Vec<Complaint>> {
    let root = document.root();
    let Some(top) = root.section(&process::KEYS, &mut report) else {
        return Err(report.complaints);
    };
    let shared = read_shared(&top, &mut report);
    let process = process::read(&top, &shared.top.global, &options.env, &mut report);
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
        return Err(report.complaints);
    }
    let mut warnings = report.warnings;
    warnings.extend(without_effect(&top));
    warnings.extend(process.notes);
    let config = SynapseConfig {
        services: services.into_iter().map(|(_, s)| s.config).collect(),
        process: process.settings,
        warnings,
    };
    let generator = Generator {
        document: document.clone(),
        shared,
        keys,
        taken,
    };
    Ok(Loaded {
        config,
        generator: Arc::new(generator),
        process_origins: process.origins,
    })
}

fn read_shared(top: &Section<'_>, report: &mut Report) -> Shared {
    let section = top
        .get("haproxy")
        .map_or_else(TopSection::default, |c| sections::read_top(&c, report));
    let native = top.get("proxy").map(|c| native::read(&c, report));
    Shared {
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

/// Who binds which address.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    by_port: HashMap<u16, Vec<Bound>>,
}

#[derive(Clone, Debug)]
struct Bound {
    addr: SocketAddr,
    owner: Owner,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    Admin,
    Section(String),
    Service(ServiceName),
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Admin => f.write_str("the admin server"),
            Self::Section(title) => write!(f, "section {title:?}"),
            Self::Service(name) => write!(f, "service {:?}", name.as_str()),
        }
    }
}

impl Taken {
    /// The admin server and `extra_sections`, which may collide with each other already.
    fn new(admin: SocketAddr, top: &Section<'_>, shared: &Shared, report: &mut Report) -> Self {
        let mut taken = Self::default();
        taken.bind(Bound {
            addr: admin,
            owner: Owner::Admin,
            place: top.place().key("admin").key("listen"),
        });
        for (addr, title, place) in &shared.top.extra_binds {
            let bound = Bound {
                addr: *addr,
                owner: Owner::Section(title.clone()),
                place: place.clone(),
            };
            report.complaints.extend(taken.clash(&bound));
            taken.bind(bound);
        }
        taken
    }

    /// Adds a service; complains when an address is taken.
    fn add(&mut self, service: &Resolved, report: &mut Report) {
        report.complaints.extend(self.conflict(&service.config.name, service));
        for bound in bounds(service) {
            self.bind(bound);
        }
    }

    /// The complaint if somebody else has an address of `service`. One is enough: `localhost` has two addresses.
    pub fn conflict(&self, name: &ServiceName, service: &Resolved) -> Option<Complaint> {
        bounds(service)
            .into_iter()
            .map(|bound| Bound {
                owner: Owner::Service(name.clone()),
                ..bound
            })
            .find_map(|bound| self.clash(&bound))
    }

    fn clash(&self, wanted: &Bound) -> Option<Complaint> {
        let same_port = self.by_port.get(&wanted.addr.port())?;
        let other = same_port
            .iter()
            .find(|b| b.owner != wanted.owner && overlaps(b.addr, wanted.addr))?;
        let text = format!(
            "{} of {} is taken by {} ({})",
            wanted.addr, wanted.owner, other.owner, other.place
        );
        Some(wanted.place.complaint(text))
    }

    fn bind(&mut self, bound: Bound) {
        // Port 0: the kernel chooses a free one.
        if bound.addr.port() != 0 {
            self.by_port.entry(bound.addr.port()).or_default().push(bound);
        }
    }
}

fn bounds(service: &Resolved) -> Vec<Bound> {
    let listener = service.config.listener.iter();
    listener
        .flat_map(|listener| &listener.addrs)
        .map(|addr| Bound {
            addr: addr.addr,
            owner: Owner::Service(service.config.name.clone()),
            place: service.port_place.clone(),
        })
        .collect()
}

/// Same port given: the same address, or one of them stands for all of its family.
fn overlaps(a: SocketAddr, b: SocketAddr) -> bool {
    a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}
