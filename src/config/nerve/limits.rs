//! `rate_limiting` and `flap_damping`.

use serde_json::Value;

use crate::config::reader::{Cursor, Section};
use crate::config::report::Report;
use crate::config::text::{BareNumber, show};
use crate::registration::{DampingSettings, RateSettings};

/// Keys of `rate_limiting`.
pub(super) const RATE_KEYS: [&str; 3] = ["average_rate", "max_burst", "shadow_mode"];

/// Keys of `flap_damping`.
pub(super) const DAMPING_KEYS: [&str; 6] =
    ["flaps", "window", "half_life", "suppress", "reuse", "max_suppress"];

/// Reads `rate_limiting` of a service.
pub(super) fn rate(service: &Section<'_>, report: &mut Report) -> RateSettings {
    let mut rate = RateSettings::default();
    let section = service.get("rate_limiting").and_then(|c| c.section(&RATE_KEYS, report));
    let Some(section) = section else {
        return rate;
    };
    rate.average_rate = number(&section, "average_rate", 0.0, report).unwrap_or(rate.average_rate);
    rate.max_burst = number(&section, "max_burst", 1.0, report).unwrap_or(rate.max_burst);
    rate.is_shadow = section.flag("shadow_mode", rate.is_shadow, report);
    if rate.average_rate == 0.0 && !rate.is_shadow {
        let text = "0 without shadow_mode: the service is never registered";
        report.warn(&section.place().key("average_rate"), text);
    }
    rate
}

/// A number (no text: nerve refuses it) from `least`. Infinity, the original's own default, is one.
fn number(section: &Section<'_>, key: &str, least: f64, report: &mut Report) -> Option<f64> {
    let cursor = section.raw(key)?;
    if cursor.is_null() {
        report.warn(cursor.place(), "null counts as not set: unlimited (the original crashes)");
        return None;
    }
    let number = infinity(cursor.value()).or_else(|| cursor.value().as_f64());
    let number = number.filter(|number| *number >= least);
    if number.is_none() {
        let text = format!("{} is not a number from {least}, or .inf", show(cursor.value()));
        report.complain(cursor.place(), text);
    }
    number
}

/// YAML's infinity, which is text here (no JSON value can hold it), and the name that Ruby writes for it.
fn infinity(value: &Value) -> Option<f64> {
    let text = value.as_str()?;
    let text = text.strip_prefix('+').unwrap_or(text);
    (text.eq_ignore_ascii_case(".inf") || text == "Infinity").then_some(f64::INFINITY)
}

/// Reads `flap_damping` of the top level or of a service. `inherited` is what holds without it.
pub(super) fn damping(
    section: &Section<'_>,
    inherited: Option<&DampingSettings>,
    report: &mut Report,
) -> Option<DampingSettings> {
    let Some(cursor) = section.get("flap_damping") else {
        return inherited.cloned();
    };
    let base = || inherited.cloned().unwrap_or(DampingSettings::DEFAULT);
    match cursor.value() {
        Value::Bool(false) => None,
        Value::Bool(true) => Some(base()),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            Some(damping_map(&cursor, base(), report).unwrap_or(DampingSettings::DEFAULT))
        }
    }
}

fn damping_map(
    cursor: &Cursor<'_>,
    base: DampingSettings,
    report: &mut Report,
) -> Option<DampingSettings> {
    let section = cursor.section(&DAMPING_KEYS, report)?;
    let time = |key: &str, report: &mut Report| {
        section.get(key).and_then(|c| c.duration(BareNumber::Seconds, report))
    };
    let flaps = section
        .get("flaps")
        .and_then(|c| c.integer(0..=u64::from(u32::MAX), "a number of flaps", report))
        .and_then(|flaps| u32::try_from(flaps).ok());
    let damping = DampingSettings {
        flaps: flaps.unwrap_or(base.flaps),
        window: time("window", report).unwrap_or(base.window),
        half_life: time("half_life", report).unwrap_or(base.half_life),
        suppress: penalty(&section, "suppress", report).unwrap_or(base.suppress),
        reuse: penalty(&section, "reuse", report).unwrap_or(base.reuse),
        max_suppress: time("max_suppress", report).unwrap_or(base.max_suppress),
    };
    if damping.reuse >= damping.suppress {
        let text = format!("reuse {} is not below suppress {}", damping.reuse, damping.suppress);
        report.complain(section.place(), text);
    }
    Some(damping)
}

fn penalty(section: &Section<'_>, key: &str, report: &mut Report) -> Option<f64> {
    let cursor = section.get(key)?;
    let penalty = cursor.value().as_f64().filter(|penalty| *penalty > 0.0);
    if penalty.is_none() {
        let text = format!("{} is not a penalty (a number above 0)", show(cursor.value()));
        report.complain(cursor.place(), text);
    }
    penalty
}
