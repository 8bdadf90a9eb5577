//! The Synapse file: document to [`SynapseConfig`].
//!
//! All or nothing: every complaint about every file comes back at once, and then there is no configuration. What spans
//! services is checked last: two listeners on one address, the admin server's included.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

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
}

/// Loads a configuration.
///
/// # Errors
/// Everything that is wrong with it, and what is only odd: a mistyped key is a warning, and often the cause of the rest.
pub fn load(options: &LoadOptions) -> Result<Loaded, Report> {
    let mut report = Report::default();
    let overlay = options.overlay.as_deref();
    let reading = Reading::synapse(&options.env);
    let document = Document::load(&options.file, overlay, &reading, &mut report);
    match document {
        Some(document) => resolve(document, options, report),
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
    Ok(Loaded { config, generator: Arc::new(generator) })
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
pub(super) mod tests {
    use super::*;
    use crate::config::document::{self, tests::TestDir};
    use crate::discovery::{Decode, GeneratorSource, SourceSettings};
    use proptest::prelude::*;
    use serde_json::Value;

    pub(in crate::config) fn options(strict: bool) -> LoadOptions {
        LoadOptions {
            file: "synapse.yaml".into(),
            overlay: None,
            strict,
            env: Env::new(|name| (name == "STATE_DIRECTORY").then(|| "/run/state".to_owned())),
        }
    }

    pub(in crate::config) fn load_text(text: &str, strict: bool) -> Result<Loaded, Report> {
        let value = document::parse_bytes(text.as_bytes(), false, &Reading::synapse(&Env::empty()))
            .unwrap();
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

    #[test]
    fn one_mistake_does_not_hide_another_of_the_same_service() {
        let complaints = complaints(
            "services:\n\
             \x20 a: {discovery: {method: consul}, haproxy: {port: 3301}}\n\
             \x20 b: {discovery: {method: base}, haproxy: {port: 3301}}\n\
             \x20 c: {discovery: {method: base}, haproxy: {port: 99999, listen: [balance rdp-cookie]}}\n",
        );
        for part in [
            "services.a.discovery.method",
            "is taken by service \"a\"",
            "services.c.haproxy.port: 99999",
            "services.c.haproxy.listen[0]: `balance rdp-cookie` is refused",
        ] {
            assert!(complaints.iter().any(|c| c.contains(part)), "{part}: {complaints:#?}");
        }
        assert_eq!(complaints.len(), 4, "{complaints:#?}");
    }

    const G1: &str = include_str!("../../tests/golden/g1_synapse_minimal.json");
    const G2: &str = include_str!("../../tests/golden/g2_synapse_zk.json");
    const G4: &str = include_str!("../../tests/golden/g4_synapse_registry_formats.json");
    const G5: &str = include_str!("../../tests/golden/g5_synapse_multi.json");
    const G6: &str = include_str!("../../tests/golden/g6_synapse_other_discovery.json");
    const G7: &str = include_str!("../../tests/golden/g7_yelp_synapse.json");

    #[test]
    fn g1_loads_unchanged() {
        let loaded = good(G1);
        let [billing] = loaded.config.services.as_slice() else {
            panic!("{:?}", loaded.config.services);
        };
        assert_eq!(billing.source, SourceSettings::Fixed);
        let servers = &billing.pool.membership.default_servers;
        assert_eq!(servers.len(), 2);
        assert_eq!(servers[1].server_options.as_deref(), Some("backup"));
        assert_eq!(servers[0].server_name(), "bill-a_10.20.0.4:8081");
        let addrs = &billing.listener.as_ref().unwrap().addrs;
        assert_eq!(addrs[0].addr.tcp().unwrap().port(), 3310);
        // Nothing but the one line about keys of the haproxy process.
        assert_eq!(loaded.config.warnings.len(), 1, "{:#?}", loaded.config.warnings);
        assert!(loaded.config.warnings[0].text.contains("haproxy.config_file_path"));
    }

    #[test]
    fn g2_loads_unchanged() {
        let loaded = good(G2);
        let services = &loaded.config.services;
        let SourceSettings::ZooKeeper(search) = &services[0].source else {
            panic!("{:?}", services[0].source);
        };
        assert_eq!(
            &*search.ensemble,
            "zk1.example.com:2181,zk2.example.com:2181,zk3.example.com:2181"
        );
        assert_eq!(&*search.path, "/prod/services/search/services");
        assert_eq!(search.jitter.as_secs(), 5);
        assert_eq!(search.generator, GeneratorSource::Parent);
        let db = &services[1].pool.membership;
        assert!(db.leader_election && !db.use_previous_backends);
        assert_eq!(db.label_filters.len(), 2);
        assert!(db.label_filters[1].negate);
        let without_effect =
            loaded.config.warnings.iter().find(|w| w.text.contains("without effect"));
        assert!(without_effect.unwrap().text.contains("discovery.retry_policy"));
    }

    #[test]
    fn g4_reads_all_registry_formats() {
        let loaded = good(G4);
        let zookeeper = |i: usize| match &loaded.config.services[i].source {
            SourceSettings::ZooKeeper(settings) => settings,
            other @ (SourceSettings::Fixed | SourceSettings::File(_)) => panic!("{other:?}"),
        };
        assert_eq!(zookeeper(1).generator, GeneratorSource::Disabled);
        let endpoint_name = Some("http".into());
        assert_eq!(zookeeper(2).decode, Decode::ServerSet { endpoint_name });
    }

    #[test]
    fn other_discovery_methods_are_named_one_by_one() {
        let texts = complaints(G6);
        let about = |method: &str| {
            texts.iter().any(|t| t.contains(&format!("{method:?} is not yet supported")))
        };
        for method in ["dns", "zookeeper_dns", "zookeeper_dns_poll", "ec2tag", "marathon", "docker"]
        {
            assert!(about(method), "{method}: {texts:#?}");
        }
        assert!(complaints(G5).len() >= 3);
    }

    #[test]
    fn g7_seed_survives_whole() {
        let value: Value = crate::config::json::parse_json(G7).unwrap();
        assert_eq!(
            value["haproxy"]["server_order_seed"],
            "106120057668456273355833563333802393184"
        );
        let place = crate::config::report::Place { file: "f".into(), path: "haproxy".into() };
        let mut report = Report::default();
        let top = sections::read_top(&Cursor::new(&value["haproxy"], place, None), &mut report);
        assert_eq!(
            top.server_order_seed,
            Some(106_120_057_668_456_273_355_833_563_333_802_393_184)
        );
        assert_eq!(top.extra_sections.len(), 1);
        assert!(report.complaints.is_empty() && report.warnings.is_empty(), "{report:?}");
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let text = "
workers: 0
admin: {listen: nowhere}
proxy: {timeouts: {client: soon}}
services:
  a: {discovery: {method: zookeper, hosts: [zk], path: /a}, haproxy: {port: 3300}}
  b: {discovery: {method: zookeeper, hosts: [], path: b}, haproxy: {port: 70000}}
  c:
    discovery: {method: base, label_filters: [{label: x, value: y, condition: like}]}
    default_servers: [{host: h}]
    haproxy: {port: 3303, frontend: {}}
  d: {discovery: {method: file}, haproxy: {port: 3304}, keep_default_servers: maybe}
  e: {haproxy: {port: 3302}}
  f:
  g: {discovery: {method: base}, haproxy: {port: 3301}}
  h: {discovery: {method: base}, haproxy: {port: 3301}}
";
        let texts = complaints(text);
        let expected = [
            "workers: 0 is not a number of workers (1 to 1024)",
            "admin.listen: \"nowhere\" is not ADDRESS:PORT",
            "proxy.timeouts.client: \"soon\" is not a positive duration",
            "services.a.discovery.method: \"zookeper\" is not a discovery method; did you mean \"zookeeper\"?",
            "services.b.discovery.hosts: must name at least one host",
            "services.b.discovery.path: \"b\" is not a ZooKeeper path",
            "services.b.haproxy.port: 70000 is not a port (1 to 65535)",
            "services.c.discovery.label_filters[0].condition: \"like\" is not one of equals, not-equals",
            "services.c.default_servers[0].port: is required",
            "services.c.haproxy.frontend: {} is not a list of lines",
            "services.d.discovery.path: is required",
            "services.d.keep_default_servers: \"maybe\" is not true or false",
            "services.e.discovery: is required",
            "services.f: null is not a map",
            "services.h.haproxy.port: 127.0.0.1:3301 of service \"h\" is taken by service \"g\"",
        ];
        for text in expected {
            let line = format!("synapse.yaml: {text}");
            assert!(texts.iter().any(|t| t.starts_with(&line)), "{line}\nin {texts:#?}");
        }
        assert_eq!(texts.len(), expected.len(), "{texts:#?}");
    }

    #[test]
    fn unknown_keys_are_remarks_and_mistakes_under_strict() {
        let text = "
hapoxy: {}
services:
  a: {discovery: {method: base, hots: 1}, default_server: [], default_servers: [{host: h, port: 1}], haproxy: {prot: 1, port: 1234}}
";
        let texts = warnings(text);
        for unknown in [
            "hapoxy: unknown key, ignored; did you mean \"haproxy\"?",
            "services.a.discovery.hots: unknown key, ignored",
            "services.a.default_server: unknown key, ignored; did you mean \"default_servers\"?",
            "services.a.haproxy.prot: unknown key, ignored; did you mean \"port\"?",
        ] {
            let line = format!("synapse.yaml: {unknown}");
            assert!(texts.iter().any(|t| t.starts_with(&line)), "{line}\nin {texts:#?}");
        }
        assert!(load_text(text, true).unwrap_err().complaints.len() >= 4);
        // Keys without effect and the host's state directory do not make a file wrong.
        assert!(load_text(G1, true).is_ok());
    }

    #[test]
    fn a_refusal_says_what_is_odd_as_well() {
        let text = "services: {a: {discovry: {method: base}, haproxy: {prot: 1}}}";
        let report = load_text(text, false).unwrap_err();
        assert_eq!(report.complaints.len(), 1, "{report:?}");
        let odd: Vec<_> = report.warnings.iter().map(|w| w.path.as_str()).collect();
        assert!(odd.contains(&"services.a.discovry"), "{odd:?}");
        assert!(odd.contains(&"services.a.haproxy.prot"), "{odd:?}");
    }

    #[test]
    fn many_services_with_the_same_remark_are_one_warning() {
        let service = |i: u16| {
            let port = 4000 + i;
            format!(
                "  s{i}: {{discovery: {{method: file, path: /f}}, haproxy: {{port: {port}, listen: [option contstats]}}}}\n"
            )
        };
        let services: String = (0..500).map(service).collect();
        let texts = warnings(&format!(
            "haproxy: {{defaults: [timeout connect 1s, timeout client 1s, timeout server 1s]}}\nservices:\n{services}"
        ));
        let [one] = texts.as_slice() else {
            panic!("{} warnings: {:?}", texts.len(), texts.first());
        };
        assert!(
            one.starts_with("synapse.yaml: services.s0.haproxy.listen[0]: `option contstats`"),
            "{one}"
        );
        assert!(one.ends_with("(499 more, the last at services.s499.haproxy.listen[0])"), "{one}");
    }

    #[test]
    fn a_service_may_listen_where_its_proxy_section_says() {
        let shown = |own: &str| {
            let loaded =
                good(&format!("services: {{a: {{discovery: {{method: file, path: /f}}, {own}}}}}"));
            let service = loaded.config.services[0].clone();
            let addrs = service.listener.map(|listener| listener.addrs).unwrap_or_default();
            addrs.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let both = "[{address: /run/a.sock, accept_proxy: true, mode: '660', max_connections: 5}, '127.0.0.2:80']";
        let own = ["/run/a.sock accept-proxy maxconn 5 mode 660", "127.0.0.2:80"];
        assert_eq!(
            shown(&format!("haproxy: {{listen: [mode http]}}, proxy: {{listen: {both}}}")),
            own
        );
        let with_port =
            format!("haproxy: {{port: 80, bind_address: 127.0.0.1}}, proxy: {{listen: {both}}}");
        assert_eq!(shown(&with_port)[..2], own);
        assert_eq!(shown(&with_port)[2..], ["127.0.0.1:80"]);
        for (wrong, text) in [
            ("{address: /x, mode: 660}", "write it in quotes"),
            ("{mode: '660'}", "address"),
            ("'127.0.0.1'", "has no port"),
            ("{address: /x, user_timeout: soon}", "user_timeout"),
        ] {
            let texts = complaints(&format!(
                "services: {{a: {{discovery: {{method: file, path: /f}}, proxy: {{listen: [{wrong}]}}}}}}"
            ));
            assert!(texts.len() == 1 && texts[0].contains(text), "{wrong}: {texts:?}");
        }
        let texts = complaints("proxy: {listen: [/x]}\nservices: {}");
        assert!(texts[0].contains("belongs to a service"), "{texts:?}");
    }

    #[test]
    fn a_wrong_port_does_not_hide_the_rest_of_its_section() {
        let texts = complaints(
            "services: {a: {discovery: {method: file, path: /f}, haproxy: {port: 70000, bind_address: 'not an ip',
              bind_options: bogus, listen: [use_backend x if y]}}}",
        );
        for place in ["port: 70000", "bind_address: ", "bind_options: ", "listen[0]: "] {
            let line = format!("synapse.yaml: services.a.haproxy.{place}");
            assert!(texts.iter().any(|t| t.starts_with(&line)), "{line}\nin {texts:#?}");
        }
        assert_eq!(texts.len(), 4, "{texts:#?}");
    }

    #[test]
    fn what_is_inherited_is_complained_about_once() {
        let texts = complaints(
            "haproxy: {bind_address: 'not an ip'}
services:
  a: {discovery: {method: file, path: /f}, haproxy: {port: 3300}}
  b: {discovery: {method: file, path: /f}, haproxy: {port: 3301}}",
        );
        assert_eq!(texts.len(), 1, "{texts:#?}");
        assert!(texts[0].contains("haproxy.bind_address: "), "{texts:#?}");
    }

    #[test]
    fn options_of_a_default_server_are_judged_with_the_file() {
        let texts = complaints(
            "services:
  a:
    discovery: {method: base}
    default_servers: [{host: h, port: 1, haproxy_server_options: backup}, {host: h, port: 2, haproxy_server_options: 'bakup weight 999'}]
    haproxy: {port: 3300}",
        );
        let path = "synapse.yaml: services.a.default_servers[1].haproxy_server_options: ";
        assert_eq!(texts.len(), 2, "{texts:#?}");
        assert!(texts.iter().all(|t| t.starts_with(path)), "{texts:#?}");
        assert!(texts[0].contains("did you mean `backup`?"), "{texts:#?}");
    }

    #[test]
    fn the_admin_address_belongs_to_the_admin_server() {
        let text = "
services:
  a: {discovery: {method: file, path: /f}, haproxy: {port: 3210}}
";
        let texts = complaints(text);
        assert!(texts[0].contains("taken by the admin server"), "{texts:?}");
        good(&format!("admin: {{listen: 127.0.0.1:3999}}\n{text}"));
    }

    #[test]
    fn an_explicit_null_of_use_previous_backends_is_false() {
        let service = |key: &str| {
            let text = format!(
                "services: {{a: {{discovery: {{method: file, path: /f}}, haproxy: {{port: 3300}}{key}}}}}"
            );
            good(&text).config.services[0].pool.membership.use_previous_backends
        };
        assert!(service(""));
        assert!(!service(", use_previous_backends: ~"));
        assert!(!service(", use_previous_backends: no"));
    }

    #[test]
    fn load_test_concurrency_makes_instances_and_one_listener() {
        let text = "services: {a: {discovery: {method: file, path: /f}, load_test_concurrency: 3, haproxy: {port: 3300}}}";
        let services = good(text).config.services;
        let names: Vec<_> = services.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["a_0", "a_1", "a_2"]);
        assert_eq!(services.iter().filter(|s| s.listener.is_some()).count(), 1);
    }

    #[test]
    fn a_disabled_service_neither_listens_nor_checks() {
        let text = "services: {a: {discovery: {method: file, path: /f},
          haproxy: {port: 3300, disabled: true, server_options: check}}}";
        let service = good(text).config.services.remove(0);
        assert!(service.disabled && service.listener.is_none());
        let endpoint = crate::endpoint::Endpoint::new("10.0.0.1", 80);
        assert_eq!(service.pool.servers.server(&endpoint).check, None);
    }

    #[test]
    fn label_filters_come_in_every_shape_of_the_original() {
        let filters = |text: &str| {
            let text = format!(
                "services: {{a: {{discovery: {{method: file, path: /f, {text}}}, haproxy: {{port: 3300}}}}}}"
            );
            good(&text).config.services.remove(0).pool.membership.label_filters.len()
        };
        let filter = "{label: az, value: b, condition: equals}";
        assert_eq!(filters(&format!("label_filter: {filter}")), 1);
        assert_eq!(
            filters(&format!("label_filters: [{filter}, ~, [{filter}]], label_filter: {filter}")),
            3
        );
    }

    #[test]
    fn a_service_without_port_is_backend_only() {
        let texts = warnings("services: {a: {discovery: {method: file, path: /f}}}");
        assert!(texts[0].contains("no port"), "{texts:?}");
    }

    #[test]
    fn process_keys_have_defaults_and_bounds() {
        let process = good("services: {}").config.process;
        assert_eq!(process.admin_listen.to_string(), "127.0.0.1:3210");
        assert_eq!(process.session_timeout.as_secs(), 30);
        assert_eq!(process.state_dir.unwrap().to_str(), Some("/run/state"));
        let process = good("zk_session_timeout: 10s\nworkers: '2'\nadmin: {listen: 9000}\nstate_dir: /x\nlog: {format: json}\nservices: {}").config.process;
        assert_eq!(process.session_timeout.as_secs(), 10);
        assert_eq!(process.workers.get(), 2);
        assert_eq!(process.admin_listen.to_string(), "127.0.0.1:9000");
        assert_eq!(process.state_dir.unwrap().to_str(), Some("/x"));
        assert_eq!(
            complaints("zk_session_timeout: 50ms\nlog: {format: xml}\nservices: {}").len(),
            2
        );
    }

    #[test]
    fn check_shows_every_value_with_its_origin() {
        let loaded = good(G2);
        let text = crate::config::check::report(&loaded.config);
        assert!(text.starts_with("warning: "), "{text}");
        assert!(text.contains("service search ("), "{text}");
        assert!(text.contains("(services.search.discovery.hosts)"), "{text}");
        assert!(text.contains("use_previous_backends"), "{text}");
        assert!(text.lines().last().unwrap().starts_with("valid: 2 services, 2 listening"));
    }

    const OVERLAID: [(&str, &str); 4] = [
        (
            "main.yaml",
            "service_conf_dir: s.d
haproxy: {defaults: [timeout connect 1s, timeout client 1s, timeout server 1s]}",
        ),
        (
            "s.d/cart.yaml",
            "discovery: {method: zookeeper, hosts: [\"<%= ENV['ZK'] || 'zk1:2181' %>\"], path: /cart}
haproxy: {port: 3300}",
        ),
        ("s.d/bad.json", r#"{"discovery": {"method": "file", "path": "/f"}, "haproxy": {"port": -1}}"#),
        ("o.yaml", "services: {cart: {haproxy: {port: 3310}, proxy: {mode: udp}}}"),
    ];

    fn overlaid(dir: &TestDir) -> LoadOptions {
        LoadOptions {
            file: dir.0.join("main.yaml"),
            overlay: Some(dir.0.join("o.yaml")),
            ..options(false)
        }
    }

    #[test]
    fn complaints_name_the_file_to_edit() {
        let dir = TestDir::new(&OVERLAID);
        let complaints = load(&overlaid(&dir)).unwrap_err().complaints;
        let prefix = format!("{}/", dir.0.display());
        let texts: Vec<_> = complaints.iter().map(|c| c.to_string().replace(&prefix, "")).collect();
        assert_eq!(texts.len(), 2, "{texts:#?}");
        assert!(texts[0].starts_with("s.d/bad.json: haproxy.port: -1 is not a port"), "{texts:#?}");
        assert!(
            texts[1].starts_with("o.yaml: services.cart.proxy.mode: \"udp\" is not one of"),
            "{texts:#?}"
        );
    }

    #[test]
    fn file_directory_and_overlay_make_one_configuration() {
        let dir = TestDir::new(&OVERLAID);
        std::fs::remove_file(dir.0.join("s.d/bad.json")).unwrap();
        std::fs::write(dir.0.join("o.yaml"), "services: {cart: {haproxy: {port: 3310}}}").unwrap();
        let loaded = load(&overlaid(&dir)).unwrap();
        let cart = &loaded.config.services[0];
        assert!(
            cart.listener
                .as_ref()
                .unwrap()
                .addrs
                .iter()
                .all(|a| a.addr.tcp().unwrap().port() == 3310)
        );
        let path = cart.origins.iter().find(|o| o.setting == "discovery.path").unwrap();
        assert!(path.origin.ends_with("s.d/cart.yaml: discovery.path"), "{}", path.origin);
    }

    #[test]
    fn a_missing_file_is_one_complaint() {
        let mut options = options(false);
        options.file = "/nonexistent/synapse.json".into();
        let complaints = load(&options).unwrap_err().complaints;
        assert_eq!(complaints.len(), 1);
        assert!(
            complaints[0].to_string().starts_with("/nonexistent/synapse.json: cannot be read: ")
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(document::parse_bytes(&bytes, false, &Reading::synapse(&Env::empty())));
        }

        /// A golden file with any one value replaced by something of the wrong kind.
        #[test]
        fn a_mutated_config_never_panics(which in 0_usize..4, at in 0_usize..200, junk in 0_usize..9) {
            let text = [G1, G2, G4, G7][which];
            let mut value: Value = serde_json::from_str(text).unwrap();
            let junk = [
                serde_json::json!(null), serde_json::json!(-1), serde_json::json!(1e300), serde_json::json!("%{port"),
                serde_json::json!([]), serde_json::json!({}), serde_json::json!([[{}]]), serde_json::json!("\u{0}\n é"),
                serde_json::json!(true),
            ][junk].clone();
            let mut left = at;
            mutate(&mut value, &mut left, &junk);
            if let Value::Object(map) = value {
                drop(resolve(Document::new("f", map), &options(false), Report::default()));
            }
        }
    }

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
}
