//! A service's `haproxy:` section: its lines on top of `defaults`, its listener, its servers.

use std::sync::{Arc, LazyLock};

use super::apply::apply;
use super::bind::{self, Bound};
use super::draft::{Draft, Level, Tracked};
use super::log::Names;
use super::routing::{Sides, route};
use super::statement::{Parsed, Statement, show, unknown_directive};
use super::table::{self, Sections};
use super::{
    ServiceParts, ServiceSection, Top, bind_options, defaults, listener, origins, server_rules,
    treatment,
};
use crate::config::balance::Balancing;
use crate::config::report::{Line, Report};
use crate::endpoint::ServiceName;
use crate::lb::{BackendOrder, ShuffleSeed};
use crate::proxy::http2::{FrontProtocol, Http2Settings};
use crate::proxy::{Mode, ProxySettings};

/// Resolves a service's section on top of `top`; every mistake is reported, and the rest is still resolved.
pub fn resolve_service(
    name: &ServiceName,
    section: &ServiceSection,
    top: &Top,
    report: &mut Report,
) -> ServiceParts {
    let mut own = Report::default();
    let mut resolver = Resolver {
        name: name.as_str(),
        backend: section.backend_name.as_deref().unwrap_or(name.as_str()),
        serves: section.serves(),
        draft: top.draft.clone(),
        bound: Bound::default(),
        report: &mut own,
    };
    resolver.lines(section);
    let parts = resolver.finish(section, top);
    if section.disabled {
        // The original never looks at it.
        own.warnings.append(&mut own.complaints);
    }
    report.complaints.append(&mut own.complaints);
    report.warnings.append(&mut own.warnings);
    parts
}

struct Resolver<'a> {
    /// The service: haproxy's frontend is called like it.
    name: &'a str,
    /// `backend_name`: routing to it changes nothing.
    backend: &'a str,
    /// Without any address no client is served, so nothing that clients see can change.
    serves: bool,
    draft: Draft,
    bound: Bound,
    report: &'a mut Report,
}

impl Resolver<'_> {
    /// Synapse writes a section's own lines before those from `listen`.
    fn lines(&mut self, section: &ServiceSection) {
        for line in &section.frontend {
            let sides = Sides { front: true, back: false };
            self.line(line, sides, route(&line.text).front);
        }
        for line in &section.backend {
            let sides = Sides { front: false, back: true };
            self.line(line, sides, route(&line.text).back);
        }
        for line in &section.listen {
            let sides = route(&line.text);
            let routed = sides.front || sides.back;
            // Directives younger than Synapse's lists are routed by our table.
            let sides = if routed { sides } else { Sides { front: true, back: true } };
            self.line(line, sides, routed);
        }
        if let Some(line) = section.shared_frontend.first() {
            self.report.warn(
                &line.place,
                "`shared_frontend` is not supported yet: nothing listens for it; use the service's own port",
            );
        }
    }

    /// One line of a service. `passed` tells whether Synapse would have given it to haproxy.
    fn line(&mut self, line: &Line, sides: Sides, passed: bool) {
        let sections = sides.sections();
        match Statement::parse(line, sections, self.report) {
            Parsed::Blank => {}
            Parsed::Known(statement) => self.statement(&statement, sides),
            Parsed::Unknown(words) if table::find(&words, Sections::LISTEN).is_some() => {
                let side = if sides.front { "a frontend" } else { "a backend" };
                self.report.warn(
                    &line.place,
                    format!("`{}` means nothing in {side}; dropped", show(&line.text)),
                );
            }
            Parsed::Unknown(words) => {
                let text = unknown_directive(&words, sections);
                if passed {
                    self.report.complain(&line.place, text);
                } else {
                    self.report.warn(&line.place, format!("{text} (dropped, as synapse does)"));
                }
            }
        }
    }

    fn statement(&mut self, statement: &Statement<'_>, sides: Sides) {
        let keyword = statement.directive.keyword;
        // Routing to where everything goes anyway changes nothing.
        if keyword == "use_backend" && statement.args().first().is_some_and(|to| to == self.backend)
        {
            return;
        }
        if !self.serves && statement.is_refused() {
            self.report.warn(
                &statement.line.place,
                format!(
                    "`{keyword}` is ignored: the service has no port, so nobody is served by it"
                ),
            );
            return;
        }
        if !statement.judge(self.report) {
            return;
        }
        if keyword == "bind" && !statement.negated {
            let bound = bind::line(statement.args(), &statement.line.place, self.report);
            self.bound.merge(bound);
            return;
        }
        let legal = statement.directive.sections;
        let sides = Sides {
            front: sides.front && legal.touches(Sections::FRONTEND),
            back: sides.back && legal.touches(Sections::BACKEND),
        };
        apply(&mut self.draft, statement, sides, Level::Service, self.report);
    }

    fn finish(mut self, section: &ServiceSection, top: &Top) -> ServiceParts {
        let mode = self.mode(section);
        let listening = listener::resolve(
            section,
            top,
            std::mem::take(&mut self.bound),
            &self.draft,
            self.report,
        );
        let (listener, front) = listening.unzip();
        let http2 = Http2Settings { front: front.unwrap_or_default(), ..top.global.http2 };
        self.missing_timeouts(section, listener.is_some());
        let rules = server_rules::resolve(section, &self.draft, top, self.report);
        let is_said = http2.front != FrontProtocol::Auto || rules.base.protocol.is_some();
        if mode.value == Mode::Tcp && is_said {
            self.report.complain(&section.place, bind_options::PROTOCOL_IN_TCP);
        }
        let order = self.order(section, top);
        let mut origins = origins::of(&self.draft, &mode, &http2);
        origins.extend(origins::of_servers(&rules.base, section.server_options.as_ref(), top));
        origins.extend(origins::of_binding(section, top, listener.as_ref()));
        let names = Names { frontend: self.name.into(), backend: self.backend.into() };
        let draft = self.draft;
        let access_log = draft.log.resolve(&top.log, &names);
        origins.extend(draft.log.origins(access_log.as_deref()));
        let states = draft.state_log.states(&top.log, &names);
        origins.extend(states.as_ref().map(|log| draft.state_log.origin(log)));
        if access_log.is_some() && draft.log.is_odd(mode.value) {
            self.report.warn(
                &section.place,
                "`option httplog` needs `mode http`: lines are written as with `option tcplog`",
            );
        }
        ServiceParts {
            proxy: ProxySettings { access_log, ..treatment::proxy(&draft, mode.value, http2) },
            names: (names.frontend, names.backend),
            listener: listener.filter(|_| !section.disabled),
            balancing: Balancing {
                algorithm: draft.algorithm.value,
                hash_type: draft.hash_type.value,
                factor: draft.factor.value,
            },
            order,
            all_backups: draft.all_backups.value,
            removal: Default::default(),
            states,
            rules: Arc::new(rules),
            origins,
        }
    }

    /// haproxy refuses an http frontend before a tcp backend. A tcp frontend before an http backend it upgrades, which
    /// comes to http; said on purpose on both sides it is more likely a mistake.
    fn mode(&mut self, section: &ServiceSection) -> Tracked<Mode> {
        let (front, back) = (&self.draft.front.mode, &self.draft.back.mode);
        if front.value == back.value || !self.serves {
            let stronger = if front.origin.level > back.origin.level { front } else { back };
            let chosen = if self.serves { stronger } else { back };
            return chosen.clone();
        }
        if front.value == Mode::Tcp && front.origin.level < Level::Service {
            self.report.warn(
                &section.place,
                "the frontend is in mode tcp, the backend in mode http: served as http; write `mode http` in `listen`",
            );
        } else {
            self.report.complain(
                &section.place,
                format!(
                    "mode {} in the frontend ({}) does not go with mode {} in the backend ({}); write `mode` in `listen`",
                    origins::mode(front.value),
                    front.origin.text,
                    origins::mode(back.value),
                    back.origin.text
                ),
            );
        }
        back.clone()
    }

    /// haproxy warns as well.
    fn missing_timeouts(&mut self, section: &ServiceSection, listens: bool) {
        let timeouts = &self.draft.timeouts;
        let missing: Vec<&str> = [
            ("client", timeouts.client.value),
            ("connect", timeouts.connect.value),
            ("server", timeouts.server.value),
        ]
        .into_iter()
        .filter(|(_, value)| value.is_none())
        .map(|(name, _)| name)
        .collect();
        if listens && !missing.is_empty() {
            self.report.warn(
                &section.place,
                format!(
                    "no `timeout` for {}: dead peers are waited for without end; add it to `defaults`",
                    missing.join(", ")
                ),
            );
        }
    }

    fn order(&mut self, section: &ServiceSection, top: &Top) -> BackendOrder {
        let seed = top.server_order_seed.unwrap_or_else(process_seed);
        let shuffled = BackendOrder::Shuffled(ShuffleSeed(seed));
        let Some((text, place)) = &section.backend_order else {
            return shuffled;
        };
        match text.as_str() {
            "asc" => BackendOrder::Ascending,
            "desc" => BackendOrder::Descending,
            "no_shuffle" => BackendOrder::AsDiscovered,
            "shuffle" => shuffled,
            other => {
                let known = "asc, desc, no_shuffle or shuffle";
                self.report.warn(place, format!("{other:?} is not {known}; servers are shuffled"));
                shuffled
            }
        }
    }
}

/// One seed per process: a reload does not shuffle anew.
fn process_seed() -> u128 {
    static SEED: LazyLock<u128> =
        LazyLock::new(|| u128::from(fastrand::u64(..defaults::RANDOM_SEEDS)));
    *SEED
}
