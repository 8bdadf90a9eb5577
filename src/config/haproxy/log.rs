//! The access log of a service: its lines about logging, on top of those in `defaults` and `global`.

use std::sync::Arc;

use super::draft::{Origin, Tracked};
use super::log_target::{FACILITIES, FRAMINGS, LEVELS, LogTarget};
use super::statement::Statement;
use super::values::number;
use crate::config::EffectiveValue;
use crate::config::access_log::{format_name, this_host};
use crate::proxy::Mode;
use crate::telemetry::access::{
    AccessLog, Capture, Format, Framing, StateLog, Tag, Target, Targets,
};

/// Longest captured value: no head is longer.
const MAX_CAPTURE: usize = 16_384;

/// haproxy's name for this host in `format rfc3164` when `log-send-hostname` gives none.
const NO_HOST: &str = "localhost";

/// What `global` says about logs.
#[derive(Clone, Debug, Default)]
pub(super) struct GlobalLog {
    targets: Vec<LogTarget>,
    tag: Option<Arc<str>>,
    host: Option<Arc<str>>,
}

/// One `log` line of a proxy section.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// `log global`.
    Global,
    /// A target of its own.
    Own(LogTarget),
}

/// What a proxy section says about its log.
#[derive(Clone, Debug)]
pub(super) struct LogDraft {
    entries: Tracked<Vec<Entry>>,
    tag: Option<Arc<str>>,
    format: Tracked<Format>,
    skip_null: bool,
    skip_normal: bool,
    separate_errors: bool,
    requests: Vec<Capture>,
    responses: Vec<Capture>,
}

impl LogDraft {
    pub(super) fn new(default: &Origin) -> Self {
        Self {
            entries: Tracked::new(Vec::new(), default),
            tag: None,
            format: Tracked::new(Format::Connect, default),
            skip_null: false,
            skip_normal: false,
            separate_errors: false,
            requests: Vec::new(),
            responses: Vec::new(),
        }
    }
}

impl GlobalLog {
    /// Applies a line of `global`; `None`: it is about something else.
    pub(super) fn apply(&mut self, statement: &Statement<'_>) -> Option<Result<(), String>> {
        let args = statement.args();
        Some(match statement.directive.keyword {
            "log" | "log-tag" | "log-send-hostname" if statement.negated => {
                Err("`no` has no meaning here; remove the line".to_owned())
            }
            "log" => LogTarget::parse(args).map(|target| self.targets.push(target)),
            "log-tag" => tag(args).map(|tag| self.tag = Some(tag)),
            "log-send-hostname" => match args {
                [] => this_host().map(|host| self.host = Some(host)),
                args => word(args).map(|host| self.host = Some(host)),
            },
            _ => return None,
        })
    }
}

/// Applies a line of `defaults` or of a service; `None`: it is about something else. Requests are logged as the frontend
/// says, servers as the backend does: to each its draft, in which the other side's lines do not count.
pub(super) fn apply(
    draft: &mut LogDraft,
    statement: &Statement<'_>,
    counts: bool,
    origin: &Origin,
) -> Option<Result<(), String>> {
    let mut aside = draft.clone();
    let draft = if counts { draft } else { &mut aside };
    let (args, on) = (statement.args(), !statement.negated);
    let keyword = statement.directive.keyword;
    let outcome = match keyword {
        "log" => log(draft, args, on, origin),
        "log-tag" => tag(args).map(|tag| draft.tag = Some(tag)),
        "capture request header" => capture(args).map(|it| draft.requests.push(it)),
        "capture response header" => capture(args).map(|it| draft.responses.push(it)),
        "option httplog" => match args {
            [word] if on && word == "clf" => {
                Err("the format clf is not offered; write `option httplog`".to_owned())
            }
            args => nothing(args).map(|()| format(draft, (Format::Http, on), origin)),
        },
        "option tcplog" => nothing(args).map(|()| format(draft, (Format::Tcp, on), origin)),
        "option dontlognull" => nothing(args).map(|()| draft.skip_null = on),
        "option dontlog-normal" => nothing(args).map(|()| draft.skip_normal = on),
        "option log-separate-errors" => nothing(args).map(|()| draft.separate_errors = on),
        _ => return None,
    };
    let can_be_negated = keyword == "log" || keyword.starts_with("option ");
    if !on && !can_be_negated {
        return Some(Err(format!("`no` cannot be combined with `{keyword}`; remove the line")));
    }
    Some(outcome)
}

/// A line adds a target, `no log` drops those from before.
fn log(draft: &mut LogDraft, args: &[String], on: bool, origin: &Origin) -> Result<(), String> {
    let mut entries = draft.entries.value.clone();
    if on {
        let entry = match args {
            [word] if word == "global" => Entry::Global,
            args => Entry::Own(LogTarget::parse(args)?),
        };
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    } else {
        nothing(args)?;
        entries.clear();
    }
    draft.entries.set(entries, origin);
    Ok(())
}

/// The last one wins; `no option X` undoes X only.
fn format(draft: &mut LogDraft, (format, on): (Format, bool), origin: &Origin) {
    if on {
        draft.format.set(format, origin);
    } else if draft.format.value == format {
        draft.format.set(Format::Connect, origin);
    }
}

/// `NAME len N`.
fn capture(args: &[String]) -> Result<Capture, String> {
    let [name, word, len] = args else {
        return Err("NAME len N is expected".to_owned());
    };
    if word != "len" {
        return Err(format!("NAME len N is expected, not {word:?}"));
    }
    if !super::httpchk::is_token(name) {
        return Err(format!("{name:?} is not the name of a header"));
    }
    Ok(Capture { name: name.as_str().into(), max_len: number(len, 1..=MAX_CAPTURE)? })
}

/// The only word, fit for the head of a message.
fn word(args: &[String]) -> Result<Arc<str>, String> {
    let word = tag(args)?;
    if word.contains(' ') { Err(format!("{word:?} has blanks")) } else { Ok(word) }
}

/// As [`word`], but blanks are what haproxy sends as well.
fn tag(args: &[String]) -> Result<Arc<str>, String> {
    match args {
        [word] if !word.is_empty() && word.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) => {
            Ok(word.as_str().into())
        }
        [word] => Err(format!("{word:?} is empty or has odd characters")),
        _ => Err("one word is expected".to_owned()),
    }
}

fn nothing(args: &[String]) -> Result<(), String> {
    match args.first() {
        None => Ok(()),
        Some(word) => Err(format!("the word {word:?} is too much")),
    }
}

/// Names of a service in its lines.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) frontend: Arc<str>,
    pub(super) backend: Arc<str>,
}

impl LogDraft {
    /// The log, if there is a target.
    pub(super) fn resolve(&self, global: &GlobalLog, names: &Names) -> Option<Arc<AccessLog>> {
        self.targets(global).map(|targets| {
            Arc::new(AccessLog {
                frontend: Arc::clone(&names.frontend),
                backend: Arc::clone(&names.backend),
                format: self.format.value,
                targets,
                skip_null: self.skip_null,
                skip_normal: self.skip_normal,
                separate_errors: self.separate_errors,
                request_captures: self.requests.clone().into(),
                response_captures: self.responses.clone().into(),
            })
        })
    }

    /// Where messages about servers go, if there is a target.
    pub(super) fn states(&self, global: &GlobalLog, names: &Names) -> Option<StateLog> {
        let targets = self.targets(global)?;
        Some(StateLog { backend: Arc::clone(&names.backend), targets })
    }

    fn targets(&self, global: &GlobalLog) -> Option<Arc<Targets>> {
        let own = self.entries.value.iter().flat_map(|entry| match entry {
            Entry::Global => global.targets.as_slice(),
            Entry::Own(target) => std::slice::from_ref(target),
        });
        let targets: Vec<Target> = own.map(|target| self.target(target, global)).collect();
        (!targets.is_empty()).then(|| Targets::shared(targets))
    }

    fn target(&self, target: &LogTarget, global: &GlobalLog) -> Target {
        let by_host = || if global.host.is_some() { Framing::Rfc3164 } else { Framing::Local };
        let framing = target.framing.unwrap_or_else(by_host);
        let host = match (&global.host, framing) {
            (None, Framing::Rfc3164) => Some(NO_HOST.into()),
            (host, _) => host.clone(),
        };
        let program = self.tag.as_ref().or(global.tag.as_ref());
        Target {
            place: target.place.clone(),
            framing,
            max_len: target.max_len,
            facility: target.facility,
            max_level: target.max_level,
            min_level: target.min_level,
            tag: Tag { program: program.map_or_else(|| Tag::PROGRAM.into(), Arc::clone), host },
        }
    }

    /// True when a `tcp` service asks for the lines of requests, in its own words.
    pub(super) fn is_odd(&self, mode: Mode) -> bool {
        mode == Mode::Tcp
            && self.format.value == Format::Http
            && self.format.origin.level == super::draft::Level::Service
    }

    /// What `synapse check` shows of messages about servers.
    pub(super) fn origin(&self, log: &StateLog) -> EffectiveValue {
        shown("log.states", show_targets(&log.targets), &self.entries.origin)
    }

    /// What `synapse check` shows.
    pub(super) fn origins(&self, log: Option<&AccessLog>) -> Vec<EffectiveValue> {
        let Some(log) = log else {
            return vec![shown("log", "none".to_owned(), &self.entries.origin)];
        };
        let format = format_name(log.format).to_owned();
        vec![
            shown("log", show_targets(&log.targets), &self.entries.origin),
            shown("log.format", format, &self.format.origin),
        ]
    }
}

fn shown(setting: &str, value: String, origin: &Origin) -> EffectiveValue {
    EffectiveValue { setting: setting.to_owned(), value, origin: origin.text.to_string() }
}

fn show_targets(targets: &Targets) -> String {
    let targets: Vec<String> = targets.list().iter().map(show).collect();
    targets.join(", ")
}

/// `udp://127.0.0.1:1514 (rfc3164, daemon.info)`.
pub(in crate::config) fn show(target: &Target) -> String {
    let framing = FRAMINGS.iter().find(|(_, framing)| *framing == target.framing);
    let framing = framing.map_or("", |(name, _)| name);
    let named = |names: &[&'static str], number: u8| {
        names.get(usize::from(number)).copied().unwrap_or_default()
    };
    let facility = named(&FACILITIES, target.facility.0);
    let level = named(&LEVELS, target.max_level.0);
    format!("{} ({framing}, {facility}.{level})", target.place)
}
