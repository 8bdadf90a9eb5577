//! `synapse check`: what the configuration really means, value by value, with where each value comes from.
//!
//! Text for people: remarks first, then the process, then every service, then one line that sums it up. Origins are key
//! paths in the main file, or `file: path` for the others.

use std::fmt::Write as _;

use super::{EffectiveValue, ServiceConfig, SynapseConfig};

/// The text about a good configuration.
pub fn report(config: &SynapseConfig) -> String {
    let mut out = String::new();
    for warning in &config.warnings {
        line(&mut out, format_args!("warning: {warning}"));
    }
    if !config.warnings.is_empty() {
        out.push('\n');
    }
    line(&mut out, format_args!("process"));
    values(&mut out, &config.process_origins);
    for service in &config.services {
        out.push('\n');
        line(&mut out, format_args!("service {}", headline(service)));
        values(&mut out, &service.origins);
    }
    out.push('\n');
    let listening = config.services.iter().filter(|s| s.listener.is_some()).count();
    let (services, warnings) = (config.services.len(), config.warnings.len());
    line(
        &mut out,
        format_args!(
            "valid: {}, {listening} listening; {}",
            counted(services, "service"),
            counted(warnings, "warning")
        ),
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

fn values(out: &mut String, values: &[EffectiveValue]) {
    let width = |text: fn(&EffectiveValue) -> &str, most: usize| {
        let longest = values.iter().map(|v| text(v).chars().count()).max();
        longest.unwrap_or_default().min(most)
    };
    let settings = width(|v| &v.setting, 32);
    let texts = width(|v| &v.value, 40);
    for value in values {
        let (setting, text, origin) = (&value.setting, &value.value, &value.origin);
        line(out, format_args!("  {setting:settings$} = {text:texts$}  ({origin})"));
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
