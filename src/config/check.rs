//! `synapse check`: what the configuration really means, value by value, with where each value comes from.
//!
//! Text for people: remarks first, then the process, then every service, then one line that sums it up. Places in the
//! main file are shown without its name.

use std::fmt::Write as _;

use super::synapse::Loaded;
use super::{Complaint, EffectiveValue, ServiceConfig};

/// The text about a good configuration. `file` is the main file's name as it was given.
pub fn describe(loaded: &Loaded, file: &str) -> String {
    let mut out = String::new();
    for warning in &loaded.config.warnings {
        line(&mut out, format_args!("warning: {warning}"));
    }
    if !loaded.config.warnings.is_empty() {
        out.push('\n');
    }
    line(&mut out, format_args!("process"));
    values(&mut out, &loaded.process_origins, file);
    for service in &loaded.config.services {
        out.push('\n');
        line(&mut out, format_args!("service {}", headline(service)));
        values(&mut out, &service.origins, file);
    }
    out.push('\n');
    let (services, remarks) = (loaded.config.services.len(), loaded.config.warnings.len());
    let listening = loaded
        .config
        .services
        .iter()
        .filter(|s| s.listener.is_some())
        .count();
    line(
        &mut out,
        format_args!(
            "{file}: valid, {}, {listening} listening, {}",
            counted(services, "service"),
            counted(remarks, "warning")
        ),
    );
    out
}

/// The text about a bad one.
pub fn describe_complaints(complaints: &[Complaint], file: &str) -> String {
    let mut out = String::new();
    for complaint in complaints {
        line(&mut out, format_args!("error: {complaint}"));
    }
    line(
        &mut out,
        format_args!("{file}: invalid, {}", counted(complaints.len(), "error")),
    );
    out
}

fn headline(service: &ServiceConfig) -> String {
    let state = match (&service.listener, service.disabled) {
        (_, true) => "disabled".to_owned(),
        (None, false) => "backend only".to_owned(),
        (Some(listener), false) => {
            let addrs: Vec<_> = listener.addrs.iter().map(|a| a.addr.to_string()).collect();
            addrs.join(", ")
        }
    };
    format!("{} ({state})", service.name)
}

fn values(out: &mut String, values: &[EffectiveValue], file: &str) {
    let width = |text: fn(&EffectiveValue) -> &str, most: usize| {
        let longest = values.iter().map(|v| text(v).chars().count()).max();
        longest.unwrap_or_default().min(most)
    };
    let settings = width(|v| &v.setting, 32);
    let texts = width(|v| &v.value, 40);
    let main = format!("{file}: ");
    for value in values {
        let origin = value.origin.strip_prefix(&main).unwrap_or(&value.origin);
        let (setting, text) = (&value.setting, &value.value);
        line(
            out,
            format_args!("  {setting:settings$} = {text:texts$}  ({origin})"),
        );
    }
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    if writeln!(out, "{text}").is_err() {
        debug_assert!(false, "writing to a String cannot fail");
    }
}
