//! From a registration to the settings of its server, prepared as far as possible when the config is loaded.

use std::time::Duration;

use super::defaults;
use super::draft::{Level, Origin};
use super::server::{self, Issue, ServerDraft};
use super::template::Template;
use super::words;
use crate::endpoint::{Endpoint, Weight};
use crate::health::{CheckSettings, ProbeSettings};
use crate::lb::{ServerRules, ServerSettings};

/// How many complaints about one registration are kept: more would only repeat them.
const MAX_COMPLAINTS: usize = 8;

/// What the checks of all servers of a service share.
#[derive(Clone, Debug)]
pub(super) struct CheckBasis {
    pub(super) probe: ProbeSettings,
    pub(super) timeout: Option<Duration>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) spread_percent: u8,
}

/// The [`ServerRules`] of a service.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// `default-server`, and `server_options` unless it is a template.
    pub(super) base: ServerDraft,
    /// `server_options` with holes.
    pub(super) template: Option<Template>,
    pub(super) check: CheckBasis,
    pub(super) use_nerve_weights: bool,
    /// Made once; every server's words share it.
    pub(super) origin: Origin,
}

impl Rules {
    /// Rules of a service without `server_options`.
    pub(super) fn new(base: ServerDraft, check: CheckBasis, use_nerve_weights: bool) -> Self {
        Self {
            base,
            template: None,
            check,
            use_nerve_weights,
            origin: Origin {
                text: "registration".into(),
                level: Level::Service,
            },
        }
    }

    fn settings(&self, draft: ServerDraft, complaints: Vec<String>) -> ServerSettings {
        let is =
            |flag: &Option<super::draft::Tracked<bool>>| flag.as_ref().is_some_and(|it| it.value);
        ServerSettings {
            check: is(&draft.check).then(|| check(&draft, &self.check)),
            weight: draft.weight.map(|it| it.value).unwrap_or_default(),
            backup: is(&draft.backup),
            disabled: is(&draft.disabled),
            max_connections: draft.max_connections.and_then(|it| it.value),
            id: draft.id.map(|it| it.value),
            cookie: draft.cookie.map(|it| it.value),
            complaints,
        }
    }
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
            match words::split(options) {
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
                Err(error) => tell(format!("haproxy_server_options: {options:?} {error}")),
            }
        }
        if self.use_nerve_weights
            && let Some(weight) = endpoint.weight
        {
            if weight > u64::from(Weight::MAX) {
                tell(format!(
                    "weight {weight} is above {}; {0} is used",
                    Weight::MAX
                ));
            }
            let weight = Weight::saturating(weight);
            draft.weight = Some(super::draft::Tracked::new(weight, &self.origin));
        }
        let id = draft.id.take().or(configured_id).map(|it| it.value);
        ServerSettings {
            id: id.or(endpoint.server_id),
            ..self.settings(draft, complaints)
        }
    }
}
