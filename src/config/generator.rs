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
        let place =
            Place { file: format!("generator config of {service}").into(), path: String::new() };
        if text.trim().is_empty() {
            return Ok(None);
        }
        let value = json::parse_json(text)
            .map_err(|e| vec![place.complaint(format!("is not JSON: {e}"))])?;
        let Value::Object(generators) = value else {
            return Err(vec![place.complaint(format!("{} is not a map", show(&value)))]);
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
        let service =
            self.keys.get(name).and_then(|key| self.document.root().peek("services")?.peek(key));
        let Some(service) = service else {
            return Err(vec![haproxy.place().complaint("no such service in the configuration")]);
        };
        let mut report = Report::default();
        let resolved = self.shared.resolve(name, &service, Some(haproxy), &mut report);
        if let Some(resolved) = &resolved {
            report.complaints.extend(self.taken.conflict(name, resolved));
            report.complaints.extend(self.taken.not_given(name, resolved));
        }
        // What the file says was remarked upon when it was loaded.
        for remark in report.warnings.iter().filter(|w| w.file == haproxy.place().file) {
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

#[cfg(test)]
mod tests {
    use crate::config::synapse::tests::good;
    use crate::config::{GeneratorRules, ServiceConfig};
    use crate::endpoint::ServiceName;
    use proptest::prelude::*;
    use std::sync::Arc;

    const CONFIG: &str = "
file_output: {output_directory: /x}
services:
  a:
    discovery: {method: zookeeper, hosts: [zk1], path: /a}
    default_servers: [{host: h, port: 1}]
    haproxy: {port: 3400, listen: [mode http]}
  b: {discovery: {method: file, path: /b}, haproxy: {port: 3401}}
";

    fn rules() -> Arc<dyn GeneratorRules> {
        good(CONFIG).generator
    }

    fn resolve(json: &str) -> Result<Option<ServiceConfig>, Vec<String>> {
        let result = rules().resolve(&ServiceName::new("a"), json);
        result.map_err(|c| c.iter().map(ToString::to_string).collect())
    }

    fn ports(config: &ServiceConfig) -> Vec<u16> {
        let listener = config.listener.iter().flat_map(|l| &l.addrs);
        listener.filter_map(|a| Some(a.addr.tcp()?.port())).collect()
    }

    #[test]
    fn the_section_is_replaced_whole_and_missing_keys_get_defaults() {
        let config =
            resolve(r#"{"haproxy": {"port": 3402}, "nginx": {"port": 1}}"#).unwrap().unwrap();
        assert!(ports(&config).iter().all(|p| *p == 3402));
        assert_eq!(config.proxy.mode, crate::proxy::Mode::Tcp);
        assert_eq!(config.pool.membership.default_servers.len(), 1);
        let config = resolve(r#"{"haproxy": {"listen": []}}"#).unwrap().unwrap();
        assert!(config.listener.is_none());
    }

    #[test]
    fn only_the_file_may_name_unix_sockets() {
        let theirs = r#"{"haproxy": {"port": null, "bind_address": "/run/x.sock"}}"#;
        let complaints = resolve(theirs).unwrap_err();
        assert!(complaints[0].contains("/run/x.sock is refused here"), "{complaints:?}");
        let generator =
            good(&CONFIG.replace("port: 3400,", "port: null, bind_address: /run/x.sock,"));
        let rules = generator.generator;
        let of = |json: &str| rules.resolve(&ServiceName::new("a"), json);
        assert!(of(theirs).unwrap().unwrap().listener.is_some(), "the same one");
        assert!(of(&theirs.replace("x.sock", "y.sock")).is_err());
        assert!(of(&theirs.replace("/run/x.sock", "abns@x")).is_err());
    }

    #[test]
    fn only_the_file_says_who_may_connect_and_speak_for_others() {
        let unix = "port: null, bind_address: /run/x.sock, bind_options: 'mode 600',";
        let rules = good(&CONFIG.replace("port: 3400,", unix)).generator;
        let of = |words: &str| {
            let theirs = r#"{"haproxy": {"port": null, "bind_address": "/run/x.sock", "bind_options": "WORDS"}}"#;
            rules.resolve(&ServiceName::new("a"), &theirs.replace("WORDS", words))
        };
        assert!(of("mode 600").unwrap().is_some());
        for words in ["mode 666", "", "mode 600 uid 7", "mode 600 accept-proxy"] {
            let complaint = of(words).unwrap_err()[0].to_string();
            assert!(complaint.contains("must be as in the file"), "{words}: {complaint}");
        }
        let tcp = |port: u16| {
            let theirs = r#"{"haproxy": {"port": PORT, "bind_options": "accept-proxy"}}"#;
            resolve(&theirs.replace("PORT", &port.to_string()))
        };
        assert!(tcp(3400).unwrap_err()[0].contains("must be as in the file"));
        assert!(tcp(3499).is_ok(), "of a port that the file does not name it may be said");
    }

    #[test]
    fn nothing_about_haproxy_keeps_the_local_section() {
        for json in
            ["", "  ", "{}", r#"{"haproxy": {}}"#, r#"{"haproxy": null}"#, r#"{"file_output": {}}"#]
        {
            assert!(resolve(json).unwrap().is_none(), "{json:?}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_a_complaint() {
        for (json, part) in [
            ("{", "is not JSON"),
            ("[1]", "is not a map"),
            (r#"{"haproxy": 5}"#, "haproxy: 5 is not a map"),
            (r#"{"haproxy": {"port": "x"}}"#, "haproxy.port: \"x\" is not a port"),
            (r#"{"haproxy": {"port": 3401}}"#, "taken by service \"b\""),
            (r#"{"haproxy": {"port": 3210}}"#, "taken by the admin server"),
        ] {
            let texts = resolve(json).unwrap_err();
            assert!(texts[0].starts_with("generator config of a: "), "{texts:?}");
            assert!(texts[0].contains(part), "{json}: {texts:?}");
        }
        // Its own port is not somebody else's.
        assert!(resolve(r#"{"haproxy": {"port": 3400}}"#).unwrap().is_some());
        assert!(rules().resolve(&ServiceName::new("zzz"), r#"{"haproxy": {"port": 1}}"#).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_data_never_panics(text in "(\\{|\\}|\"haproxy\"|:|\"port\"|\\[|\\]|,|\"listen\"|\"mode http\"|[0-9]|é| ){0,20}") {
            drop(resolve(&text));
        }
    }
}
