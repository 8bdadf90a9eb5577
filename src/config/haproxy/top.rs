//! The top-level `haproxy:` section: `global`, `defaults`, `extra_sections`, `shared_frontend`.

use std::net::SocketAddr;

use super::apply::apply;
use super::bind;
use super::bind_options::permission;
use super::draft::{Draft, Level, Origin};
use super::routing::Sides;
use super::server::MAX_INT;
use super::statement::{Parsed, Statement, unknown_directive};
use super::table::Sections;
use super::values::{number, time};
use super::{Top, TopSection, UnixBind, words};
use crate::config::report::{Line, Place, Report};

/// Both halves of `defaults`.
const EVERYWHERE: Sides = Sides { front: true, back: true };

/// Resolves the top-level section; every mistake is reported, and the rest is still resolved.
pub fn resolve_top(top: &TopSection, report: &mut Report) -> Top {
    let mut resolved = Top {
        bind_address: top.bind_address.clone(),
        use_nerve_weights: top.use_nerve_weights,
        server_order_seed: top.server_order_seed,
        ..Top::default()
    };
    for line in &top.global {
        if let Some(statement) = known(line, Sections::GLOBAL, "global", report)
            && statement.judge(report)
            && let Err(error) = global(&mut resolved, &statement)
        {
            statement.complain(&error, report);
        }
    }
    resolved.draft = defaults(&top.defaults, report);
    for (title, lines) in &top.extra_sections {
        let binds = extra_section(title, lines, report);
        resolved.extra_binds.extend(binds);
    }
    if let Some(line) = top.shared_frontend.first() {
        report.warn(
            &line.place,
            "`shared_frontend` is not supported yet: nothing listens for it; use the services' own ports",
        );
    }
    resolved
}

/// haproxy refuses to start on anything it does not know; so do we.
fn known<'a>(
    line: &'a Line,
    sections: Sections,
    section: &str,
    report: &mut Report,
) -> Option<Statement<'a>> {
    match Statement::parse(line, sections, report) {
        Parsed::Known(statement) => Some(statement),
        Parsed::Blank => None,
        Parsed::Unknown(words) => {
            let text = unknown_directive(&words, sections);
            report.complain(&line.place, format!("{text} (in {section})"));
            None
        }
    }
}

fn global(top: &mut Top, statement: &Statement<'_>) -> Result<(), String> {
    if let Some(outcome) = top.log.apply(statement) {
        return outcome;
    }
    if statement.directive.keyword == "nosplice" {
        top.global.max_pipes = Some(0);
        return Ok(());
    }
    if statement.directive.keyword == "unix-bind" {
        return unix_bind(&mut top.unix_bind, statement.args());
    }
    let [value] = statement.args() else {
        return Err("one value is expected".to_owned());
    };
    let settings = &mut top.global;
    match statement.directive.keyword {
        "maxconn" => {
            let max: u32 = number(value, 0..=MAX_INT)?;
            settings.max_connections = (max > 0).then_some(max);
        }
        // Whichever comes first, `nosplice` stays.
        "maxpipes" if settings.max_pipes == Some(0) => {}
        "maxpipes" => settings.max_pipes = Some(number(value, 0..=MAX_INT)?),
        "spread-checks" => {
            settings.spread_percent = number(value, 0..=50)?;
            top.spread_origin = Some(Origin::of(statement.line, Level::Shared));
        }
        "user" => settings.user = Some(value.clone()),
        "group" => settings.group = Some(value.clone()),
        "hard-stop-after" => {
            settings.hard_stop_after = Some(time(value)?).filter(|time| !time.is_zero());
        }
        "tune.h2.header-table-size" => {
            settings.http2.header_table_bytes = number(value, 0..=65_535)?;
        }
        "tune.h2.initial-window-size" => {
            settings.http2.window_bytes = number(value, 0..=MAX_INT)?;
        }
        "tune.h2.max-concurrent-streams" => {
            settings.http2.max_streams = number(value, 1..=MAX_INT)?;
        }
        "tune.h2.max-frame-size" => {
            settings.http2.frame_bytes = number(value, 16_384..=16_777_215)?;
        }
        other => {
            return Err(format!("supported, but {other:?} has no rule; this is a bug"));
        }
    }
    Ok(())
}

fn unix_bind(unix: &mut UnixBind, mut rest: &[String]) -> Result<(), String> {
    while let [word, after @ ..] = rest {
        let (value, after) =
            after.split_first().ok_or_else(|| format!("`{word}` needs a value"))?;
        rest = after;
        match word.as_str() {
            "prefix" => unix.prefix.clone_from(value),
            "mode" | "user" | "group" | "uid" | "gid" => {
                let given = permission(&mut unix.permissions, word, value);
                given.map_err(|error| format!("`{word}`: {error}"))?;
            }
            _ => {
                return Err(format!(
                    "unknown word {word:?}; use prefix, mode, user, uid, group or gid"
                ));
            }
        }
    }
    Ok(())
}

fn defaults(lines: &[Line], report: &mut Report) -> Draft {
    let mut draft = Draft::default();
    for line in lines {
        if let Some(statement) = known(line, Sections::DEFAULTS, "defaults", report)
            && statement.judge(report)
        {
            apply(&mut draft, &statement, EVERYWHERE, Level::Shared, report);
        }
    }
    draft
}

/// Sections that do nothing by themselves.
const INERT: &[&str] = &[
    "peers",
    "mailers",
    "userlist",
    "resolvers",
    "cache",
    "http-errors",
    "ring",
    "log-forward",
    "log-profile",
    "crt-store",
    "traces",
    "acme",
];

/// Judges a section that Synapse would have copied into haproxy's file. Gives the addresses it would have bound.
fn extra_section(
    title: &Line,
    lines: &[Line],
    report: &mut Report,
) -> Vec<(SocketAddr, String, Place)> {
    let heading = match words::split(&title.text) {
        Ok(heading) => heading,
        Err(error) => {
            report.complain(&title.place, format!("section {:?}: {error}", title.text));
            return Vec::new();
        }
    };
    let kind = heading.first().map_or("", String::as_str);
    match kind {
        "listen" | "frontend" => listening_section(&heading, title, lines, report),
        "backend" => {
            report.complain(&title.place, refused_section(&title.text, "would not be served"));
            Vec::new()
        }
        "global" | "defaults" => {
            report.complain(
                &title.place,
                format!("section {kind:?} is refused here: put its lines into `haproxy.{kind}`"),
            );
            Vec::new()
        }
        kind if INERT.contains(&kind) => {
            report.warn(
                &title.place,
                format!("section {:?} is not supported yet: it is ignored", title.text),
            );
            Vec::new()
        }
        kind => {
            report.complain(&title.place, format!("unknown kind of section {kind:?}"));
            Vec::new()
        }
    }
}

fn refused_section(title: &str, why: &str) -> String {
    format!("section {title:?} is refused: it {why}; make it a service with `default_servers`")
}

fn listening_section(
    heading: &[String],
    title: &Line,
    lines: &[Line],
    report: &mut Report,
) -> Vec<(SocketAddr, String, Place)> {
    let mut binds = Vec::new();
    let mut is_stats = false;
    let mut serves = false;
    if let Some(address) = heading.get(2) {
        let words = std::slice::from_ref(address);
        binds.push((bind::line(words, &title.place, report), &title.place));
    }
    let sections = Sections::LISTEN;
    for line in lines {
        let Some(statement) = known(line, sections, &title.text, report) else {
            continue;
        };
        match statement.directive.keyword {
            "bind" => binds.push((bind::line(statement.args(), &line.place, report), &line.place)),
            "server" | "server-template" | "default_backend" | "use_backend" | "dispatch"
            | "transparent" | "option transparent" | "option http_proxy" => serves = true,
            keyword => {
                is_stats |= keyword.starts_with("stats ")
                    || statement.args().iter().any(|word| word == "prometheus-exporter");
            }
        }
    }
    if serves || !is_stats {
        report.complain(&title.place, refused_section(&title.text, "would not be served"));
        return Vec::new();
    }
    report.warn(
        &title.place,
        format!(
            "section {:?} is not supported yet: its statistics are not served there; use the admin listener",
            title.text
        ),
    );
    let owner = heading.iter().take(2).cloned().collect::<Vec<_>>().join(" ");
    binds
        .into_iter()
        .flat_map(|(bound, place)| bound.addrs.into_iter().map(move |bind| (bind.addr, place)))
        .filter_map(|(addr, place)| Some((addr.tcp()?, place)))
        .map(|(addr, place)| (addr, owner.clone(), place.clone()))
        .collect()
}
