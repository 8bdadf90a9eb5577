//! What the supported directives of the proxy sections do to a draft.

use std::num::NonZeroU32;
use std::time::Duration;

use super::defaults;
use super::draft::{Draft, Level, Origin, Side, Tracked};
use super::httpchk;
use super::log;
use super::routing::Sides;
use super::server::{self, Issue, MAX_INT};
use super::statement::Statement;
use super::values::{MAX_KEEPALIVE_COUNT, network, number, seconds, time};
use crate::config::balance;
use crate::config::report::Report;
use crate::dial::KeepAlive;
use crate::health::ProbeSettings;
use crate::proxy::{CloseMode, ForwardFor, Mode, Redispatch, Reuse};

/// Applies a supported statement to the sides it was routed to.
pub(super) fn apply(
    draft: &mut Draft,
    statement: &Statement<'_>,
    sides: Sides,
    level: Level,
    report: &mut Report,
) {
    let origin = Origin::of(statement.line, level);
    let keyword = statement.directive.keyword;
    let logged = log::apply(&mut draft.log, statement, sides.front, &origin);
    // What is wrong with the line has just been said.
    drop(log::apply(&mut draft.state_log, statement, sides.back, &origin));
    let outcome = if keyword == "default-server" {
        return default_server(draft, statement, &origin, report);
    } else if let Some(outcome) = logged {
        outcome
    } else if let Some(option) = keyword.strip_prefix("option ") {
        apply_option(draft, statement, option, sides, &origin)
    } else if statement.negated {
        Err(format!("`no` cannot be combined with `{keyword}`; remove the line"))
    } else {
        apply_value(draft, statement, sides, &origin)
    };
    if let Err(error) = outcome {
        statement.complain(&error, report);
    }
}

fn apply_value(
    draft: &mut Draft,
    statement: &Statement<'_>,
    sides: Sides,
    origin: &Origin,
) -> Result<(), String> {
    let args = statement.args();
    if let Some(outcome) = draft.way.apply(statement.directive.keyword, args, origin) {
        return outcome;
    }
    let timeouts = &mut draft.timeouts;
    match statement.directive.keyword {
        "mode" => {
            let mode = mode(one(args)?)?;
            each_side(draft, sides, |side| side.mode.set(mode, origin));
        }
        // haproxy takes the bare word as well.
        keyword if keyword == "balance" || keyword.starts_with("balance ") => {
            draft.algorithm.set(balance::algorithm(statement.after(1))?, origin);
        }
        "hash-type" => draft.hash_type.set(balance::hash_type(args)?, origin),
        "hash-balance-factor" => draft.factor.set(balance::factor(one(args)?)?, origin),
        "retries" => draft.retries.set(number(one(args)?, 0..=MAX_INT)?, origin),
        "redispatch" | "redisp" => {
            let on = Redispatch::On { every: defaults::REDISPATCH_EVERY };
            draft.redispatch = plain(args, on, origin)?;
        }
        // 0 is haproxy's "not set".
        "maxconn" => {
            let max = number(one(args)?, 0..=MAX_INT)?;
            draft.max_connections.set((max > 0).then_some(max), origin);
        }
        "fullconn" => {
            let full = number(one(args)?, 0..=MAX_INT)?;
            draft.full_connections.set((full > 0).then_some(full), origin);
        }
        "backlog" => {
            let length = number(one(args)?, 0..=MAX_INT)?;
            draft.backlog.set(if length > 0 { length } else { defaults::BACKLOG }, origin);
        }
        "clitcpka-cnt" | "clitcpka-idle" | "clitcpka-intvl" => {
            let detail = keepalive(draft.keepalive.detail.value, statement)?;
            draft.keepalive.detail.set(detail, origin);
        }
        "timeout connect" | "contimeout" | "timeout contimeout" => {
            timeouts.connect.set(timeout(args)?, origin);
        }
        "timeout client" | "clitimeout" | "timeout clitimeout" => {
            timeouts.client.set(timeout(args)?, origin);
        }
        "timeout server" | "srvtimeout" | "timeout srvtimeout" => {
            timeouts.server.set(timeout(args)?, origin);
        }
        "timeout queue" => timeouts.queue.set(timeout(args)?, origin),
        "timeout check" => timeouts.check.set(timeout(args)?, origin),
        "timeout http-request" => timeouts.http_request.set(timeout(args)?, origin),
        "timeout http-keep-alive" => timeouts.http_keep_alive.set(timeout(args)?, origin),
        "timeout tunnel" => timeouts.tunnel.set(timeout(args)?, origin),
        "timeout client-fin" => timeouts.client_fin.set(timeout(args)?, origin),
        "timeout server-fin" => timeouts.server_fin.set(timeout(args)?, origin),
        "timeout tarpit" => timeouts.tarpit.set(timeout(args)?, origin),
        "http-reuse" => draft.reuse.set(reuse(one(args)?)?, origin),
        other => {
            return Err(format!("supported, but {other:?} has no rule; this is a bug"));
        }
    }
    Ok(())
}

fn apply_option(
    draft: &mut Draft,
    statement: &Statement<'_>,
    option: &str,
    sides: Sides,
    origin: &Origin,
) -> Result<(), String> {
    let args = statement.args();
    let on = !statement.negated;
    match option {
        "http-keep-alive" => close_mode(draft, sides, (CloseMode::KeepAlive, on), origin),
        "http-server-close" => close_mode(draft, sides, (CloseMode::ServerClose, on), origin),
        "httpclose" | "forceclose" => close_mode(draft, sides, (CloseMode::Close, on), origin),
        "forwardfor" => {
            let value = if on { Some(forward_for(args)?) } else { None };
            each_side(draft, sides, |side| side.forward_for.set(value.clone(), origin));
            return Ok(());
        }
        "redispatch" => {
            let value = if on { redispatch(args)? } else { Redispatch::Off };
            draft.redispatch.set(value, origin);
            return Ok(());
        }
        "httpchk" => {
            let probe = if on { httpchk::parse(args)? } else { ProbeSettings::Tcp };
            draft.probe.set(probe, origin);
            return Ok(());
        }
        "tcp-check" => {
            if on {
                draft.probe.set(ProbeSettings::Tcp, origin);
            }
        }
        "clitcpka" => draft.keepalive.is_on.set(on, origin),
        "allbackups" => draft.all_backups.set(on, origin),
        "abortonclose" => draft.abort_on_close.set(on, origin),
        "http-ignore-probes" => draft.ignore_probes.set(on, origin),
        "srvtcpka" => draft.way.keep_alive.set(on, origin),
        "tcpka" => {
            if sides.front {
                draft.keepalive.is_on.set(on, origin);
            }
            if sides.back {
                draft.way.keep_alive.set(on, origin);
            }
        }
        other => {
            return Err(format!("supported, but option {other:?} has no rule; this is a bug"));
        }
    }
    nothing_after(args)
}

fn each_side(draft: &mut Draft, sides: Sides, mut change: impl FnMut(&mut Side)) {
    if sides.front {
        change(&mut draft.front);
    }
    if sides.back {
        change(&mut draft.back);
    }
}

/// Within a section the last option wins; `no option X` undoes X only.
fn close_mode(draft: &mut Draft, sides: Sides, (mode, on): (CloseMode, bool), origin: &Origin) {
    each_side(draft, sides, |side| {
        if on {
            side.close.set(mode, origin);
        } else if side.close.value == mode {
            side.close.set(defaults::CLOSE_MODE, origin);
        }
    });
}

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "tcp" => Ok(Mode::Tcp),
        "http" => Ok(Mode::Http),
        _ => Err(format!("{text:?} is not a mode that is served; use tcp or http")),
    }
}

fn reuse(text: &str) -> Result<Reuse, String> {
    match text {
        "never" => Ok(Reuse::Never),
        "safe" => Ok(Reuse::Safe),
        "aggressive" => Ok(Reuse::Aggressive),
        "always" => Ok(Reuse::Always),
        _ => Err(format!("{text:?} is not a way to reuse; use never, safe, aggressive or always")),
    }
}

fn timeout(args: &[String]) -> Result<Option<Duration>, String> {
    // haproxy: 0 = no timeout.
    Ok(Some(time(one(args)?)?).filter(|time| !time.is_zero()))
}

/// 0 is haproxy's "not set".
fn keepalive(mut so_far: KeepAlive, statement: &Statement<'_>) -> Result<KeepAlive, String> {
    let value = one(statement.args())?;
    match statement.directive.keyword {
        "clitcpka-cnt" => {
            so_far.count = NonZeroU32::new(number(value, 0..=MAX_KEEPALIVE_COUNT)?);
        }
        "clitcpka-idle" => so_far.idle = seconds(value)?,
        _ => so_far.interval = seconds(value)?,
    }
    Ok(so_far)
}

fn redispatch(args: &[String]) -> Result<Redispatch, String> {
    let every = match args {
        [] => defaults::REDISPATCH_EVERY,
        args => number(one(args)?, -i32::MAX..=i32::MAX)?,
    };
    Ok(match every {
        0 => Redispatch::Off,
        every => Redispatch::On { every },
    })
}

fn forward_for(args: &[String]) -> Result<ForwardFor, String> {
    let mut it =
        ForwardFor { header: defaults::FORWARD_FOR_HEADER.into(), except: None, if_none: false };
    let mut rest = args;
    while let [word, after @ ..] = rest {
        rest = after;
        if word == "if-none" {
            it.if_none = true;
            continue;
        }
        if word != "except" && word != "header" {
            return Err(format!("unknown word {word:?}; use except, header or if-none"));
        }
        let (value, after) = rest.split_first().ok_or_else(|| format!("`{word}` needs a value"))?;
        rest = after;
        if word == "except" {
            it.except = Some(network(value)?);
        } else if httpchk::is_token(value) {
            it.header = value.as_str().into();
        } else {
            return Err(format!("{value:?} is not the name of a header"));
        }
    }
    Ok(it)
}

fn default_server(
    draft: &mut Draft,
    statement: &Statement<'_>,
    origin: &Origin,
    report: &mut Report,
) {
    if statement.negated {
        statement
            .complain("`no` cannot be combined with `default-server`; remove the line", report);
        return;
    }
    let place = &statement.line.place;
    server::apply_words(&mut draft.server, statement.args(), origin, &mut |issue| match issue {
        Issue::Wrong(text) => report.complain(place, format!("`default-server`: {text}")),
        Issue::NotYet(text) => report.warn(place, format!("`default-server`: {text}")),
    });
}

/// The only argument.
fn one(args: &[String]) -> Result<&str, String> {
    let (first, rest) = args.split_first().ok_or("the value is missing")?;
    nothing_after(rest)?;
    Ok(first)
}

fn plain<T>(args: &[String], value: T, origin: &Origin) -> Result<Tracked<T>, String> {
    nothing_after(args)?;
    Ok(Tracked::new(value, origin))
}

fn nothing_after(args: &[String]) -> Result<(), String> {
    match args.first() {
        None => Ok(()),
        Some(word) => Err(format!("the word {word:?} is too much")),
    }
}
