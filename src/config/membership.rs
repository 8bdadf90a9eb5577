//! What is made of a raw membership: default servers, filters, leader election.

use super::EffectiveValue;
use super::defaults;
use super::origins::effective;
use super::reader::{Cursor, Section};
use super::report::Report;
use super::servers;
use crate::discovery::{LabelFilter, MembershipPolicy};

/// Keys of one of `label_filters`.
pub const FILTER_KEYS: [&str; 3] = ["label", "value", "condition"];

/// Reads the keys of a service that say what is made of a raw membership.
pub fn read(
    service: &Section<'_>,
    origins: &mut Vec<EffectiveValue>,
    report: &mut Report,
) -> MembershipPolicy {
    let default_servers =
        service.get("default_servers").map(|c| servers::read(&c, report)).unwrap_or_default();
    // An explicit null is false: the original asks Ruby's `fetch`, which finds the nil.
    let use_previous_backends = match service.raw("use_previous_backends") {
        None => defaults::USE_PREVIOUS_BACKENDS,
        Some(cursor) if cursor.is_null() => false,
        Some(cursor) => cursor.flag(report).unwrap_or_default(),
    };
    let policy = MembershipPolicy {
        default_servers,
        keep_default_servers: service.flag("keep_default_servers", false, report),
        use_previous_backends,
        port_override: port_override(service, report),
        label_filters: label_filters(service, report),
        leader_election: service.flag("leader_election", false, report),
    };
    let mut show = |key: &str, value: &dyn ToString| {
        let place = service.raw(key).map(|c| c.place().clone());
        origins.push(effective(key, value.to_string(), place.as_ref()));
    };
    show("default_servers", &policy.default_servers.len());
    show("keep_default_servers", &policy.keep_default_servers);
    show("use_previous_backends", &policy.use_previous_backends);
    show("leader_election", &policy.leader_election);
    if let Some(port) = policy.port_override {
        show("backend_port_override", &port);
    }
    if !policy.label_filters.is_empty() {
        let place = service.get("discovery").map(|c| c.place().key("label_filters"));
        let text = policy.label_filters.iter().map(show_filter);
        let text = text.collect::<Vec<_>>().join(" and ");
        origins.push(effective("discovery.label_filters", text, place.as_ref()));
    }
    policy
}

fn show_filter(filter: &LabelFilter) -> String {
    let operator = if filter.negate { "!=" } else { "==" };
    format!("{} {operator} {}", filter.label, filter.value)
}

fn port_override(service: &Section<'_>, report: &mut Report) -> Option<u16> {
    if let Some(cursor) = service.get("backend_port_override") {
        return cursor.port(report);
    }
    let old = service.get("haproxy")?.peek("server_port_override")?;
    report.warn(old.place(), "is deprecated; use backend_port_override of the service");
    old.port(report)
}

fn label_filters(service: &Section<'_>, report: &mut Report) -> Vec<LabelFilter> {
    let Some(discovery) = service.get("discovery") else {
        return Vec::new();
    };
    ["label_filters", "label_filter"]
        .iter()
        .filter_map(|key| discovery.peek(key))
        .flat_map(|list| list.items())
        // The original flattens nested lists and drops nulls.
        .flat_map(|item| item.items())
        .filter(|item| !item.is_null())
        .filter_map(|item| label_filter(&item, report))
        .collect()
}

fn label_filter(cursor: &Cursor<'_>, report: &mut Report) -> Option<LabelFilter> {
    let section = cursor.section(&FILTER_KEYS, report)?;
    let negate = section
        .required("condition", report)
        .and_then(|c| c.choice(&[("equals", false), ("not-equals", true)], report));
    let label = section.required("label", report).and_then(|c| c.word(report));
    let value = section.raw("value").map(|c| c.value().clone()).unwrap_or_default();
    Some(LabelFilter { label: label?, value, negate: negate? })
}

#[cfg(test)]
mod tests {
    use crate::config::synapse::tests::{complaints, good};

    fn text(keys: &str) -> String {
        format!("services: {{a: {{discovery: {{method: file, path: /f}}, {keys}}}}}")
    }

    #[test]
    fn the_port_override_has_an_old_place() {
        let port = |keys: &str| good(&text(keys)).config.services[0].pool.membership.port_override;
        assert_eq!(port("backend_port_override: '5432'"), Some(5432));
        assert_eq!(port("haproxy: {server_port_override: 1234}"), Some(1234));
        assert_eq!(port("backend_port_override: 1, haproxy: {server_port_override: 2}"), Some(1));
        assert!(complaints(&text("backend_port_override: x"))[0].contains("is not a port"));
    }

    #[test]
    fn default_servers_keep_their_whole_record() {
        let keys =
            "default_servers: [{name: 1, host: h, port: '80', weight: 5, labels: {az: b, n: 1},
          haproxy_server_options: backup, haproxy_server_id: 7, id: 9}]";
        let config = good(&text(keys)).config;
        let server = &config.services[0].pool.membership.default_servers[0];
        assert_eq!(server.server_name(), "1_h:80");
        assert_eq!((server.weight, server.id, server.server_id), (Some(5), Some(9), Some(7)));
        assert_eq!(server.labels["n"], serde_json::json!(1));
        let texts = complaints(&text("default_servers: [{host: 'a b', port: 0, weight: -1}, x]"));
        assert_eq!(texts.len(), 4, "{texts:#?}");
    }
}
