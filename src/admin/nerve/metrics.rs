//! `/metrics` of nerve, in the order of `telemetry::names`.
//!
//! Series are bounded by what is configured or pushed: a service and its checks; they vanish with it. Results are counted
//! per service and not per check.

use crate::admin::metrics::{SessionFamilies, process_families, registry_families};
use crate::admin::process::Usage;
use crate::admin::when::Now;
use crate::telemetry::cold::ColdMetrics;
use crate::telemetry::names::{self, Metric};
use crate::telemetry::render::{Exposition, Labels};

use super::desk::{ProcessStatus, ServiceStatus};
use super::diagnosis;

const SESSION_FAMILIES: SessionFamilies = [
    &names::NERVE_REGISTRY_CONNECTED,
    &names::NERVE_REGISTRY_SESSIONS,
    &names::NERVE_REGISTRY_STATE_AGE,
];

/// The whole answer.
pub(super) fn render(
    process: &ProcessStatus,
    services: &[ServiceStatus],
    cold: &ColdMetrics,
) -> String {
    let mut out = Exposition::new();
    process_families(&mut out, &names::NERVE_BUILD_INFO, &process.about, Usage::read());
    families(&mut out, process, services, Now::read());
    out.append(&cold.render_for_nerve());
    out.finish()
}

/// Everything but what the kernel says.
pub(super) fn families(
    out: &mut Exposition,
    process: &ProcessStatus,
    services: &[ServiceStatus],
    now: Now,
) {
    let none = Labels::none();
    let ready = diagnosis::readiness(process, services).missing.is_empty();
    out.family(&names::NERVE_READY).sample(&none, u8::from(ready));
    out.family(&names::NERVE_CONFIG_WARNINGS).sample(&none, process.warnings.len());
    out.family(&names::NERVE_CONFIG_REFUSED).sample(&none, process.refused.len());
    let differs = u8::from(process.config_on_disk_differs);
    out.family(&names::NERVE_CONFIG_ON_DISK_DIFFERS).sample(&none, differs);
    out.family(&names::NERVE_SERVICES).sample(&none, services.len());
    registry_families(out, &SESSION_FAMILIES, &process.sessions, now);
    let rows: Vec<Row<'_>> = services
        .iter()
        .map(|service| (Labels::none().with(names::SERVICE, service.name.as_str()), service))
        .collect();
    state_families(out, &rows);
    check_families(out, &rows);
    each(out, &names::NERVE_REGISTRY_WRITES, &rows, |s| Some(s.registration.writes));
}

type Row<'s> = (Labels, &'s ServiceStatus);

fn state_families(out: &mut Exposition, rows: &[Row<'_>]) {
    each(out, &names::NERVE_SERVICE_UP, rows, |s| s.watch.is_up.map(u8::from));
    each(out, &names::NERVE_SERVICE_REGISTERED, rows, |s| {
        Some(u8::from(diagnosis::is_registered(s)))
    });
    each(out, &names::NERVE_SERVICE_SETTLED, rows, |s| Some(u8::from(diagnosis::is_settled(s))));
    each(out, &names::NERVE_SERVICE_DOWN_ANNOUNCED, rows, |s| {
        Some(u8::from(s.watch.down.is_some()))
    });
    each(out, &names::NERVE_SERVICE_SUPPRESSED, rows, |s| {
        Some(u8::from(s.watch.suppressed_until.is_some()))
    });
    each(out, &names::NERVE_SERVICE_PUSHED, rows, |s| Some(u8::from(s.pushed_until.is_some())));
    each(out, &names::NERVE_FLAP_PENALTY, rows, |s| Some(s.watch.penalty));
    each(out, &names::NERVE_SERVICE_TRANSITIONS, rows, |s| Some(s.watch.transitions));
    each(out, &names::NERVE_SERVICE_THROTTLED, rows, |s| Some(s.watch.throttled));
}

fn check_families(out: &mut Exposition, rows: &[Row<'_>]) {
    let mut family = out.family(&names::NERVE_CHECK_RESULTS);
    for (labels, service) in rows {
        let down = service.watch.failed_passes;
        let up = service.watch.passes.saturating_sub(down);
        family.split(labels, names::RESULT, "up", up);
        family.split(labels, names::RESULT, "down", down);
    }
    let mut family = out.family(&names::NERVE_CHECK_UP);
    for (labels, service) in rows {
        for (name, check) in checks(service) {
            if let Some(is_up) = check.is_up {
                family.split(labels, names::CHECK, &name, u8::from(is_up));
            }
        }
    }
    let mut family = out.family(&names::NERVE_CHECK_DURATION);
    for (labels, service) in rows {
        for (name, check) in checks(service).filter(|(_, check)| check.last.is_some()) {
            family.split(labels, names::CHECK, &name, check.took.as_secs_f64());
        }
    }
}

/// The checks under names that differ: two of one name would be one series twice, and the whole scrape be refused.
fn checks(
    service: &ServiceStatus,
) -> impl Iterator<Item = (String, &crate::registration::view::CheckView)> {
    let all = &service.watch.checks;
    all.iter().enumerate().map(move |(index, check)| {
        let is_taken = all.iter().take(index).any(|earlier| earlier.name == check.name);
        let name =
            if is_taken { format!("{}#{}", check.name, index + 1) } else { check.name.to_string() };
        (name, check)
    })
}

fn each<T: std::fmt::Display>(
    out: &mut Exposition,
    metric: &'static Metric,
    rows: &[Row<'_>],
    value: impl Fn(&ServiceStatus) -> Option<T>,
) {
    let mut family = out.family(metric);
    for (labels, service) in rows {
        if let Some(value) = value(service) {
            family.sample(labels, value);
        }
    }
}
