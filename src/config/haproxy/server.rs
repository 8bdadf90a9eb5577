//! The words of a server line, applied one after another to a draft; later words win.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use super::defaults;
use super::draft::{Origin, Tracked};
use super::table::{self, Class, Sections};
use super::values::{number, positive_time, time};
use super::way::WayDraft;
use crate::endpoint::Weight;
use crate::lb::Protocol;

/// What `default-server`, `server_options` and a registration's options have said so far.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerDraft {
    pub(super) check: Option<Tracked<bool>>,
    pub(super) backup: Option<Tracked<bool>>,
    pub(super) disabled: Option<Tracked<bool>>,
    pub(super) inter: Option<Tracked<Duration>>,
    pub(super) fast_inter: Option<Tracked<Duration>>,
    pub(super) down_inter: Option<Tracked<Duration>>,
    pub(super) rise: Option<Tracked<NonZeroU32>>,
    pub(super) fall: Option<Tracked<NonZeroU32>>,
    pub(super) port: Option<Tracked<u16>>,
    pub(super) addr: Option<Tracked<IpAddr>>,
    pub(super) weight: Option<Tracked<Weight>>,
    pub(super) max_connections: Option<Tracked<Option<NonZeroU32>>>,
    pub(super) shutdown_sessions: Option<Tracked<bool>>,
    pub(super) min_connections: Option<Tracked<Option<NonZeroU32>>>,
    pub(super) max_queue: Option<Tracked<Option<NonZeroU32>>>,
    pub(super) slow_start: Option<Tracked<Duration>>,
    pub(super) id: Option<Tracked<u32>>,
    pub(super) cookie: Option<Tracked<String>>,
    pub(super) protocol: Option<Tracked<Protocol>>,
    pub(super) way: WayDraft,
}

impl ServerDraft {
    /// The check's interval.
    pub(super) fn interval(&self) -> Duration {
        self.inter.as_ref().map_or(defaults::INTER, |it| it.value)
    }
}

/// What is odd about a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Issue {
    /// It cannot be used.
    Wrong(String),
    /// It is known but does nothing yet.
    NotYet(String),
}

/// Applies `words` to `draft`. Every issue is told; the words after it are still applied.
pub(super) fn apply_words(
    draft: &mut ServerDraft,
    words: &[String],
    origin: &Origin,
    tell: &mut dyn FnMut(Issue),
) {
    let mut rest = words;
    while let [word, after @ ..] = rest {
        rest = after;
        let Some(directive) = table::find(std::slice::from_ref(word), Sections::SERVER) else {
            tell(Issue::Wrong(unknown(word, Sections::SERVER)));
            // The value of a mistyped word is not a second mistake.
            let meant = table::nearest(std::slice::from_ref(word), Sections::SERVER);
            rest = rest.get(meant.map_or(0, |directive| directive.args)..).unwrap_or_default();
            continue;
        };
        let Some((args, after)) = rest.split_at_checked(directive.args) else {
            tell(Issue::Wrong(format!("`{word}` needs a value")));
            return;
        };
        rest = after;
        match directive.class {
            Class::Harmless => {}
            Class::NotYet { meanwhile } => tell(Issue::NotYet(not_yet(word, meanwhile))),
            Class::Refused { reason, instead } => {
                tell(Issue::Wrong(refused(word, reason, instead)));
            }
            Class::Supported => {
                let value = args.first().map_or("", String::as_str);
                if let Err(error) = apply(draft, directive.keyword, value, origin) {
                    tell(Issue::Wrong(format!("`{word}`: {error}")));
                }
            }
        }
    }
}

/// Text about a word that is not in the table.
pub(super) fn unknown(word: &str, sections: Sections) -> String {
    match table::nearest(&[word.to_owned()], sections) {
        Some(near) => format!("unknown word {word:?}, did you mean `{}`?", near.keyword),
        None => format!("unknown word {word:?}"),
    }
}

/// Text about a keyword that is accepted without effect.
pub(super) fn not_yet(keyword: &str, meanwhile: &str) -> String {
    format!("`{keyword}` is not supported yet: {meanwhile}")
}

/// Text about a keyword that is refused.
pub(super) fn refused(keyword: &str, reason: &str, instead: &str) -> String {
    format!("`{keyword}` is refused: {reason}; instead: {instead}")
}

fn apply(
    draft: &mut ServerDraft,
    keyword: &str,
    value: &str,
    origin: &Origin,
) -> Result<(), String> {
    if let Some(outcome) = draft.way.apply(keyword, value, origin) {
        return outcome;
    }
    match keyword {
        "check" => draft.check = Some(Tracked::new(true, origin)),
        "no-check" => draft.check = Some(Tracked::new(false, origin)),
        "backup" => draft.backup = Some(Tracked::new(true, origin)),
        "no-backup" => draft.backup = Some(Tracked::new(false, origin)),
        "disabled" => draft.disabled = Some(Tracked::new(true, origin)),
        "enabled" | "no-disabled" => draft.disabled = Some(Tracked::new(false, origin)),
        "inter" => draft.inter = Some(Tracked::new(positive_time(value)?, origin)),
        "fastinter" => draft.fast_inter = Some(Tracked::new(positive_time(value)?, origin)),
        "downinter" => draft.down_inter = Some(Tracked::new(positive_time(value)?, origin)),
        "rise" => draft.rise = Some(Tracked::new(count(value)?, origin)),
        "fall" => draft.fall = Some(Tracked::new(count(value)?, origin)),
        "port" => draft.port = Some(Tracked::new(number(value, 1..=u16::MAX)?, origin)),
        "addr" => draft.addr = Some(Tracked::new(address(value)?, origin)),
        "weight" => {
            let weight = Weight::saturating(number(value, 0..=u64::from(Weight::MAX))?);
            draft.weight = Some(Tracked::new(weight, origin));
        }
        "on-marked-down" if value == "shutdown-sessions" => {
            draft.shutdown_sessions = Some(Tracked::new(true, origin));
        }
        "on-marked-down" => return Err(format!("{value:?} is not `shutdown-sessions`")),
        "maxconn" => draft.max_connections = Some(Tracked::new(limit(value)?, origin)),
        "minconn" => draft.min_connections = Some(Tracked::new(limit(value)?, origin)),
        "maxqueue" => draft.max_queue = Some(Tracked::new(limit(value)?, origin)),
        "slowstart" => draft.slow_start = Some(Tracked::new(time(value)?, origin)),
        "id" => draft.id = Some(Tracked::new(number(value, 1..=MAX_INT)?, origin)),
        "cookie" => draft.cookie = Some(Tracked::new(value.to_owned(), origin)),
        "proto" => draft.protocol = Some(Tracked::new(protocol(value)?, origin)),
        other => {
            return Err(format!("supported, but {other:?} has no rule; this is a bug"));
        }
    }
    Ok(())
}

/// haproxy keeps most numbers in a signed int.
pub(super) const MAX_INT: u32 = i32::MAX.unsigned_abs();

fn count(value: &str) -> Result<NonZeroU32, String> {
    number(value, NonZeroU32::MIN..=NonZeroU32::MIN.saturating_add(MAX_INT - 1))
}

fn protocol(value: &str) -> Result<Protocol, String> {
    match value {
        "h1" => Ok(Protocol::Http1),
        "h2" => Ok(Protocol::Http2),
        _ => Err(format!("{value:?} is not spoken to servers; use h1 or h2")),
    }
}

/// 0 is haproxy's "no limit".
fn limit(value: &str) -> Result<Option<NonZeroU32>, String> {
    number(value, 0..=MAX_INT).map(NonZeroU32::new)
}

fn address(value: &str) -> Result<IpAddr, String> {
    let plain = value.strip_prefix("ipv4@").or_else(|| value.strip_prefix("ipv6@"));
    let plain = plain.unwrap_or(value).trim_matches(['[', ']']);
    plain.parse().map_err(|_| format!("{value:?} is not an ip address"))
}
