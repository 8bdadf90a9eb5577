//! `proxy.connect`: how servers are connected to in plain keys, laid over what the server options say.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::haproxy::{self, ServiceParts};
use super::origins::{is_inherited, set_origin};
use super::reader::Cursor;
use super::report::{Place, Report};
use super::text::BareNumber;
use crate::dial::header::Form;
use crate::dial::{KeepAlive, Source, Way};
use crate::endpoint::Endpoint;
use crate::lb::{ServerRules, ServerSettings};

/// Keys of `proxy.connect`.
pub const KEYS: [&str; 5] = ["send_proxy", "source", "interface", "user_timeout", "keep_alive"];

/// Keys of `proxy.connect.keep_alive`.
pub const KEEP_ALIVE_KEYS: [&str; 3] = ["idle", "interval", "count"];

/// What a `connect` key says: the settings that it names. In each the outer `None` says nothing, the inner one none.
#[derive(Clone, Debug)]
pub struct ConnectOverride {
    place: Place,
    header: Option<Option<Form>>,
    source: Option<Option<Source>>,
    device: Option<Option<Arc<str>>>,
    user_timeout: Option<Option<Duration>>,
    keep_alive: Option<Option<KeepAlive>>,
}

/// Reads the section.
pub fn read(cursor: &Cursor<'_>, report: &mut Report) -> Option<ConnectOverride> {
    let section = cursor.section(&KEYS, report)?;
    let get = |key| section.get(key);
    Some(ConnectOverride {
        place: cursor.place().clone(),
        header: get("send_proxy").and_then(|it| {
            or_none(&it, report, |it, report| {
                it.choice(&[("v1", Form::V1), ("v2", Form::V2)], report)
            })
        }),
        source: get("source")
            .and_then(|it| or_none(&it, report, |it, report| parsed(it, haproxy::source, report))),
        device: get("interface")
            .and_then(|it| or_none(&it, report, |it, report| parsed(it, haproxy::device, report))),
        user_timeout: get("user_timeout").and_then(|it| {
            or_none(&it, report, |it, report| it.duration(BareNumber::Milliseconds, report))
        }),
        keep_alive: get("keep_alive").and_then(|it| or_none(&it, report, keep_alive)),
    })
}

/// `false` and `none` are none.
fn or_none<T>(
    value: &Cursor<'_>,
    report: &mut Report,
    read: impl FnOnce(&Cursor<'_>, &mut Report) -> Option<T>,
) -> Option<Option<T>> {
    if value.value() == "none" || value.value() == false {
        return Some(None);
    }
    read(value, report).map(Some)
}

fn parsed<T>(
    value: &Cursor<'_>,
    parse: impl FnOnce(&str) -> Result<T, String>,
    report: &mut Report,
) -> Option<T> {
    let text = value.word(report)?;
    parse(&text).map_err(|error| report.complain(value.place(), error)).ok()
}

/// `true`, or a map.
fn keep_alive(value: &Cursor<'_>, report: &mut Report) -> Option<KeepAlive> {
    if value.value() == true {
        return Some(KeepAlive::default());
    }
    let section = value.section(&KEEP_ALIVE_KEYS, report)?;
    let seconds = |key: &str, report: &mut Report| {
        let value = section.get(key)?;
        let time = value.duration(BareNumber::Seconds, report)?;
        if time < Duration::from_secs(1) {
            report.complain(value.place(), "less than a second is not possible");
        }
        Some(time)
    };
    let count = |report: &mut Report| {
        let most = u64::from(haproxy::MAX_KEEPALIVE_COUNT);
        let count = section.get("count")?.integer(1..=most, "a number of probes", report)?;
        u32::try_from(count).ok().and_then(NonZeroU32::new)
    };
    Some(KeepAlive {
        idle: seconds("idle", report),
        interval: seconds("interval", report),
        count: count(report),
    })
}

impl ConnectOverride {
    /// Lays the section over what is known of a service. `only_missing`: what the service itself says stays.
    pub fn lay(&self, parts: &mut ServiceParts, only_missing: bool) {
        let rules = ConnectRules::new(Arc::clone(&parts.rules), self.clone(), only_missing);
        parts.rules = Arc::new(rules);
        for (name, value) in self.describe() {
            if !only_missing || is_inherited(name, &parts.origins) {
                set_origin(&mut parts.origins, name.to_owned(), value, &self.place);
            }
        }
    }

    /// Names and values for `synapse check`: what the section says, nothing else.
    fn describe(&self) -> Vec<(&'static str, String)> {
        fn show<T: ToString>(it: &Option<Option<T>>) -> Option<String> {
            let shown =
                |it: &Option<T>| it.as_ref().map_or_else(|| "none".to_owned(), T::to_string);
            it.as_ref().map(shown)
        }
        let header = self.header.map(|it| it.map(Form::word));
        let user_timeout = self.user_timeout.map(|it| it.map(|it| format!("{it:?}")));
        let fields = [
            ("server.send-proxy", show(&header)),
            ("server.source", show(&self.source)),
            ("server.interface", show(&self.device)),
            ("server.tcp-ut", show(&user_timeout)),
            ("srvtcpka", show(&self.keep_alive)),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// `with_header`: whether this is a connection that begins with one. `only_missing`: what is said stays.
    fn apply(
        &self,
        way: Option<&Arc<Way>>,
        with_header: bool,
        only_missing: bool,
    ) -> Option<Arc<Way>> {
        fn lay<T: Clone>(over: &mut Option<T>, said: &Option<Option<T>>, only_missing: bool) {
            if let Some(said) = said
                && !(only_missing && over.is_some())
            {
                over.clone_from(said);
            }
        }
        let mut way = way.map(|way| Way::clone(way)).unwrap_or_default();
        if with_header {
            lay(&mut way.header, &self.header, only_missing);
        }
        lay(&mut way.source, &self.source, only_missing);
        lay(&mut way.device, &self.device, only_missing);
        lay(&mut way.user_timeout, &self.user_timeout, only_missing);
        lay(&mut way.keep_alive, &self.keep_alive, only_missing);
        way.settled()
    }
}

/// Server rules whose connecting is edited afterwards.
#[derive(Debug)]
struct ConnectRules {
    inner: Arc<dyn ServerRules>,
    change: ConnectOverride,
    only_missing: bool,
}

impl ConnectRules {
    /// `only_missing`: what the options of a server say stays.
    fn new(inner: Arc<dyn ServerRules>, change: ConnectOverride, only_missing: bool) -> Self {
        Self { inner, change, only_missing }
    }
}

impl ServerRules for ConnectRules {
    fn server(&self, endpoint: &Endpoint) -> ServerSettings {
        let mut settings = self.inner.server(endpoint);
        settings.way = self.change.apply(settings.way.as_ref(), true, self.only_missing);
        if let Some(check) = &mut settings.check {
            // As with the words: a check elsewhere has none unless it is asked for there.
            let has_header = check.port.is_none() && check.addr.is_none();
            check.way = self.change.apply(check.way.as_ref(), has_header, self.only_missing);
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use crate::config::ServiceConfig;
    use crate::config::synapse::tests::{complaints, good};
    use crate::dial::Way;
    use crate::dial::header::Form;
    use crate::endpoint::Endpoint;

    /// One service: `proxy` at the top, lines, server options, its own `proxy`.
    fn text([top, listen, options, own]: [&str; 4]) -> String {
        format!(
            "proxy: {{{top}}}
haproxy: {{global: [], defaults: [timeout connect 1s, timeout client 2s, timeout server 3s]}}
services:
  a:
    discovery: {{method: file, path: /f}}
    default_servers: [{{host: 10.0.0.9, port: 80}}]
    haproxy: {{port: 3300, listen: [{listen}], server_options: '{options}'}}
    proxy: {{{own}}}
"
        )
    }

    fn service(said: [&str; 4]) -> ServiceConfig {
        good(&text(said)).config.services.remove(0)
    }

    /// The ways of the traffic and the checks of a server.
    fn ways(said: [&str; 4]) -> (Option<Arc<Way>>, Option<Arc<Way>>) {
        let settings = service(said).pool.servers.server(&Endpoint::new("10.0.0.1", 80));
        assert!(settings.complaints.is_empty(), "{:?}", settings.complaints);
        (settings.way, settings.check.and_then(|check| check.way))
    }

    fn header(said: [&str; 4]) -> (Option<Form>, Option<Form>) {
        let (traffic, check) = ways(said);
        let of = |way: Option<Arc<Way>>| way.and_then(|way| way.header);
        (of(traffic), of(check))
    }

    #[test]
    fn usual_servers_have_no_way() {
        for options in
            ["check", "check send-proxy no-send-proxy", "check source 0.0.0.0", "tcp-ut 0"]
        {
            assert_eq!(ways(["", "", options, ""]), (None, None), "{options}");
        }
    }

    #[test]
    fn checks_begin_with_a_header_where_haproxys_do() {
        let (v1, v2) = (Some(Form::V1), Some(Form::V2));
        for (options, wanted) in [
            ("send-proxy", (v1, None)),
            ("check send-proxy", (v1, v1)),
            ("check send-proxy send-proxy-v2", (v2, v2)),
            ("check send-proxy-v2 no-send-proxy-v2 send-proxy", (v1, v1)),
            ("check send-proxy-v2-ssl", (Some(Form::V2Ssl), Some(Form::V2Ssl))),
            ("check send-proxy port 99", (v1, None)),
            ("check send-proxy addr 10.0.0.2", (v1, None)),
            ("check send-proxy-v2 port 99 check-send-proxy", (v2, v2)),
            ("check check-send-proxy", (None, v1)),
            ("check send-proxy-v2-ssl no-send-proxy-v2", (v1, v1)),
            ("check send-proxy-v2-ssl no-send-proxy-v2-ssl", (None, None)),
        ] {
            assert_eq!(header(["", "", options, ""]), wanted, "{options}");
        }
    }

    #[test]
    fn a_backend_has_a_source_and_keep_alive_for_its_servers() {
        let lines =
            "source 10.0.0.7 interface eth1, option srvtcpka, srvtcpka-idle 1m, srvtcpka-cnt 4";
        let (traffic, check) = ways(["", lines, "check tcp-ut 5s", ""]);
        let way = traffic.unwrap();
        assert_eq!(way.source.as_ref().unwrap().to_string(), "10.0.0.7");
        assert_eq!(way.device.as_deref(), Some("eth1"));
        assert_eq!(way.user_timeout, Some(Duration::from_secs(5)));
        assert_eq!(way.keep_alive.unwrap().to_string(), "on, idle 60s, cnt 4");
        assert_eq!(Some(way), check);
        let (own, _) = ways(["", lines, "source 10.0.0.8:1000-2000", ""]);
        let own = own.unwrap();
        assert_eq!(own.source.as_ref().unwrap().to_string(), "10.0.0.8:1000-2000");
        assert_eq!(own.device, None, "the device belongs to the other source");
    }

    #[test]
    fn keys_of_the_service_are_the_last_word_and_those_of_the_top_the_first() {
        let top = "connect: {send_proxy: v1, source: 10.0.0.5}";
        assert_eq!(header([top, "", "check", ""]), (Some(Form::V1), Some(Form::V1)));
        assert_eq!(header([top, "", "check send-proxy-v2", ""]), (Some(Form::V2), Some(Form::V2)));
        let own = "connect: {send_proxy: false, keep_alive: true, interface: lo}";
        let (way, _) = ways([top, "", "check send-proxy-v2 source 10.0.0.6", own]);
        let way = way.unwrap();
        assert_eq!(way.header, None);
        assert_eq!(way.source.as_ref().unwrap().to_string(), "10.0.0.6");
        assert_eq!((way.device.as_deref(), way.keep_alive.is_some()), (Some("lo"), true));
        let service = service([top, "", "send-proxy-v2", own]);
        let shown = |name: &str| {
            let found = service.origins.iter().find(|it| it.setting == name).unwrap();
            (found.value.clone(), found.origin.clone())
        };
        let said = |value: &str| (value.to_owned(), "services.a.proxy.connect".to_owned());
        assert_eq!(shown("srvtcpka"), said("on"));
        assert_eq!(shown("server.send-proxy"), said("none"));
        assert_eq!(shown("server.source").1, "proxy.connect");
    }

    #[test]
    fn mistakes_are_named() {
        for (said, part) in [
            (["", "", "source ::1", ""], "one is IPv4, one IPv6"),
            (["", "", "usesrc clientip", ""], "`usesrc` is refused"),
            (["", "source 10.0.0.1 usesrc client", "", ""], "`usesrc` is refused"),
            (["", "", "source 127.0.0.1:1-x", ""], "\"x\" is not a whole number"),
            (["", "srvtcpka-idle 40000", "", ""], "\"40000\" is more than 32767 seconds"),
            (["", "", "", "connect: {send_proxy: v3}"], "services.a.proxy.connect.send_proxy"),
            (["", "", "", "connect: {source: '::1'}"], "one is IPv4, one IPv6"),
            (["", "", "", "connect: {keep_alive: {idle: 0.5}}"], "less than a second"),
        ] {
            let found = complaints(&text(said));
            assert!(found.iter().any(|it| it.contains(part)), "{said:?}: {found:?}");
        }
    }

    #[test]
    fn a_default_server_may_listen_on_a_socket() {
        let text = |server: &str| {
            format!(
                "haproxy: {{global: [], defaults: [timeout connect 1s, timeout client 2s, timeout server 3s]}}
services:
  a: {{discovery: {{method: base}}, default_servers: [{server}], backend_port_override: 9, haproxy: {{port: 3300}}}}
"
            )
        };
        for server in ["{host: 'unix@/run/a.sock'}", "{host: /run/a.sock, name: x}"] {
            let service = good(&text(server)).config.services.remove(0);
            let endpoint = &service.pool.membership.default_servers[0];
            assert_eq!(endpoint.socket().unwrap().to_str(), Some("/run/a.sock"), "{server}");
        }
        for (server, part) in [
            ("{host: /run/a.sock, port: 80}", "a unix socket has no port"),
            ("{host: 'unix@run/a.sock'}", "write an absolute path"),
            ("{host: 'abns@a', port: 1}", "is not a unix socket"),
            ("{host: a}", "port"),
        ] {
            let found = complaints(&text(server));
            assert!(found.iter().any(|it| it.contains(part)), "{server}: {found:?}");
        }
    }
}
