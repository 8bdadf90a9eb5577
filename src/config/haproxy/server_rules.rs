//! From a registration to the settings of its server, prepared as far as possible when the config is loaded.

use std::num::NonZeroU32;
use std::time::Duration;

use super::defaults;
use super::draft::{Draft, Level, Origin, Tracked};
use super::server::{self, Issue, ServerDraft};
use super::template::Template;
use super::way::BackWay;
use super::{ServiceSection, Top, words};
use crate::config::report::{Line, Report};
use crate::endpoint::{Endpoint, Weight};
use crate::health::{CheckSettings, ProbeSettings};
use crate::lb::limits::Elastic;
use crate::lb::{ServerRules, ServerSettings};

/// How many complaints about one registration are kept: more would only repeat them.
const MAX_COMPLAINTS: usize = 8;

/// What the checks of all servers of a service share, and how all are connected to.
#[derive(Clone, Debug)]
struct CheckBasis {
    probe: ProbeSettings,
    timeout: Option<Duration>,
    connect_timeout: Option<Duration>,
    spread_percent: u8,
    /// Of traffic and checks alike.
    way: BackWay,
}

/// The [`ServerRules`] of a service.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// `default-server`, and `server_options` unless it is a template.
    pub(super) base: ServerDraft,
    /// `server_options` with holes.
    template: Option<Template>,
    check: CheckBasis,
    use_nerve_weights: bool,
    /// `fullconn`, or what haproxy makes of `maxconn` without it.
    full: NonZeroU32,
    /// Made once; every server's words share it.
    origin: Origin,
}

/// The rules of `section`; mistakes in `server_options` are shown by a sample.
pub(super) fn resolve(
    section: &ServiceSection,
    draft: &Draft,
    top: &Top,
    report: &mut Report,
) -> Rules {
    let check = CheckBasis {
        probe: draft.probe.value.clone(),
        timeout: draft.timeouts.check.value,
        connect_timeout: draft.timeouts.connect.value,
        spread_percent: top.global.spread_percent,
        way: draft.way.clone(),
    };
    let full = full_connections(draft, top);
    let mut rules = Rules::new(draft.server.clone(), check, (top.use_nerve_weights, full));
    let Some(line) = &section.server_options else {
        return rules;
    };
    let place = &line.place;
    let template = match words::split(&line.text).and_then(|words| Template::parse(&words)) {
        Ok(template) => template,
        Err(error) => {
            report.complain(place, error);
            return rules;
        }
    };
    let sample = template.render(&Endpoint::new("192.0.2.1", 1));
    let mut sampled = rules.base.clone();
    let level = if template.is_constant() { Level::Service } else { Level::Registration };
    let origin = Origin::of(line, level);
    server::apply_words(&mut sampled, &sample, &origin, &mut |issue| match issue {
        Issue::Wrong(text) => report.complain(place, text),
        Issue::NotYet(text) => report.warn(place, text),
    });
    if template.is_constant() {
        rules.base = sampled;
    } else {
        rules.template = Some(template);
    }
    rules
}

/// `fullconn`; haproxy's default is a tenth, rounded up, of the `maxconn` of the frontends that lead here.
fn full_connections(draft: &Draft, top: &Top) -> NonZeroU32 {
    let own = draft.full_connections.value;
    let front = draft.max_connections.value.or(top.global.max_connections);
    let full = own.unwrap_or_else(|| front.unwrap_or(defaults::MAX_CONNECTIONS).div_ceil(10));
    NonZeroU32::new(full).unwrap_or(NonZeroU32::MIN)
}

impl Rules {
    /// Rules of a service without `server_options`.
    fn new(
        base: ServerDraft,
        check: CheckBasis,
        (use_nerve_weights, full): (bool, NonZeroU32),
    ) -> Self {
        Self {
            base,
            template: None,
            check,
            use_nerve_weights,
            full,
            origin: Origin { text: "registration".into(), level: Level::Registration },
        }
    }

    fn settings(&self, draft: ServerDraft, complaints: Vec<String>) -> ServerSettings {
        let limit = |it: &Option<Tracked<Option<NonZeroU32>>>| it.as_ref().and_then(|it| it.value);
        let (min, max) = (limit(&draft.min_connections), limit(&draft.max_connections));
        // A `maxconn` below `minconn` becomes that, as with haproxy: then there is one limit.
        let max = max.max(min);
        let is = |flag: &Option<Tracked<bool>>| flag.as_ref().is_some_and(|it| it.value);
        let (way, said) = draft.way.settle(&self.check.way);
        ServerSettings {
            check: is(&draft.check).then(|| check(&draft, &self.check)),
            way,
            said,
            weight: draft.weight.map(|it| it.value).unwrap_or_default(),
            backup: is(&draft.backup),
            disabled: is(&draft.disabled),
            max_connections: max,
            elastic: min.map(|min| Elastic { min, full: self.full }),
            max_queue: draft.max_queue.and_then(|it| it.value),
            slow_start: draft.slow_start.map(|it| it.value).filter(|it| !it.is_zero()),
            shutdown_sessions: is(&draft.shutdown_sessions),
            id: draft.id.map(|it| it.value),
            cookie: draft.cookie.map(|it| it.value),
            protocol: draft.protocol.map(|it| it.value).unwrap_or_default(),
            complaints,
        }
    }
}

/// Judges the options of a server that stands in the file: there a bad word is a mistake like any other, while in a
/// registration, which is outside input, it is skipped and named.
pub fn judge_server_options(line: &Line, report: &mut Report) {
    let words = match bounded_words(&line.text) {
        Ok(words) => words,
        Err(error) => return report.complain(&line.place, error),
    };
    // Applied as if it were a registration's.
    let origin = Origin::of(line, Level::Registration);
    let mut unused = ServerDraft::default();
    server::apply_words(&mut unused, &words, &origin, &mut |issue| match issue {
        Issue::Wrong(text) => report.complain(&line.place, text),
        Issue::NotYet(text) => report.warn(&line.place, text),
    });
}

/// haproxy's limits of a line: what is longer would not have been accepted there either.
const MAX_LINE_BYTES: usize = 2_048;
const MAX_LINE_WORDS: usize = 64;

fn bounded_words(options: &str) -> Result<Vec<String>, String> {
    if options.len() > MAX_LINE_BYTES {
        return Err(format!("{} bytes are more than {MAX_LINE_BYTES}; ignored", options.len()));
    }
    let words = words::split(options).map_err(|error| format!("{options:?} {error}"))?;
    if words.len() > MAX_LINE_WORDS {
        return Err(format!("{} words are more than {MAX_LINE_WORDS}; ignored", words.len()));
    }
    Ok(words)
}

fn check(draft: &ServerDraft, basis: &CheckBasis) -> CheckSettings {
    CheckSettings {
        probe: basis.probe.clone(),
        interval: draft.interval(),
        fast_interval: draft.fast_inter.as_ref().map(|it| it.value),
        down_interval: draft.down_inter.as_ref().map(|it| it.value),
        rise: draft.rise.as_ref().map_or(defaults::RISE, |it| it.value),
        fall: draft.fall.as_ref().map_or(defaults::FALL, |it| it.value),
        timeout: basis.timeout,
        connect_timeout: basis.connect_timeout,
        port: draft.port.as_ref().map(|it| it.value),
        addr: draft.addr.as_ref().map(|it| it.value),
        spread_percent: basis.spread_percent,
        way: None,
    }
}

impl ServerRules for Rules {
    fn server(&self, endpoint: &Endpoint) -> ServerSettings {
        let mut draft = self.base.clone();
        let mut complaints = Vec::new();
        let mut tell = |text: String| {
            if complaints.len() < MAX_COMPLAINTS {
                complaints.push(text);
            }
        };
        if let Some(template) = &self.template {
            let words = template.render(endpoint);
            server::apply_words(&mut draft, &words, &self.origin, &mut |issue| match issue {
                Issue::Wrong(text) => tell(format!("server_options: {text}")),
                // Said once, when the config was loaded.
                Issue::NotYet(_) => {}
            });
        }
        // Synapse numbers servers itself and writes that before all options.
        let configured_id = draft.id.take();
        if let Some(options) = endpoint.server_options.as_deref() {
            match bounded_words(options) {
                Ok(words) => {
                    server::apply_words(
                        &mut draft,
                        &words,
                        &self.origin,
                        &mut |issue| match issue {
                            Issue::Wrong(text) | Issue::NotYet(text) => {
                                tell(format!("haproxy_server_options: {text}"));
                            }
                        },
                    );
                }
                Err(error) => tell(format!("haproxy_server_options: {error}")),
            }
        }
        if self.use_nerve_weights
            && let Some(weight) = endpoint.weight
        {
            if weight > u64::from(Weight::MAX) {
                tell(format!("weight {weight} is above {}; {0} is used", Weight::MAX));
            }
            let weight = Weight::saturating(weight);
            draft.weight = Some(Tracked::new(weight, &self.origin));
        }
        let id = draft.id.take().or(configured_id).map(|it| it.value);
        let settings = self.settings(draft, complaints);
        ServerSettings { id: id.or(endpoint.server_id), ..settings }
    }
}
