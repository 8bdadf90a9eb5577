//! The one-word and one-line answers: what state is this in, is it as it should be, and what is it waiting for.

use std::time::Duration;

use super::desk::{ProcessStatus, ServiceStatus};
use crate::registration::{Phase, Wanted};
use crate::registry::SessionState;

/// How long a nerve that has just started is given to reach the registry before it calls itself ready without. Who starts a
/// nerve beside another one and stops that when the new one is ready must not do so between two packets; a registry that
/// is away for longer must not make a supervisor restart nerve.
const FIRST_ATTEMPTS: Duration = Duration::from_secs(5);

/// State of a service: `UP`, `DOWN`, `MAINT` (a downtime is announced), `HELD` (up, its return is held back by damping)
/// or `CHECKING` (no verdict yet).
pub(super) fn state(service: &ServiceStatus) -> &'static str {
    let watch = &service.watch;
    match watch.is_up {
        _ if watch.down.is_some() => "MAINT",
        None => "CHECKING",
        Some(false) => "DOWN",
        Some(true) if watch.suppressed_until.is_some() => "HELD",
        Some(true) => "UP",
    }
}

/// The word for what is wanted.
pub(super) fn wanted(wanted: Wanted) -> &'static str {
    match wanted {
        Wanted::Undecided => "undecided",
        Wanted::Present => "present",
        Wanted::Absent => "absent",
    }
}

/// The word for how far a registration is.
pub(super) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Unknown => "unknown",
        Phase::Absent => "absent",
        Phase::Registered => "registered",
        Phase::Unconfirmed => "unconfirmed",
        Phase::Changing => "changing",
        Phase::Blocked => "blocked",
    }
}

/// It stands in the registry as far as is known.
pub(super) fn is_registered(service: &ServiceStatus) -> bool {
    matches!(service.registration.phase, Phase::Registered | Phase::Unconfirmed)
}

/// The registry has acknowledged what is wanted.
pub(super) fn is_settled(service: &ServiceStatus) -> bool {
    service.watch.wanted.is_met_by(service.registration.phase)
}

/// What `/ready` says about the services: what is missing, and what is merely waited for with a reason that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Readiness {
    /// Not ready, one line each.
    pub(super) missing: Vec<String>,
    /// Ready, but somebody may want to know.
    pub(super) waiting: Vec<String>,
}

pub(super) fn readiness(process: &ProcessStatus, services: &[ServiceStatus]) -> Readiness {
    let mut said = Readiness { missing: process.missing.clone(), waiting: Vec::new() };
    for service in services {
        let name = &service.name;
        if service.watch.is_up.is_none() && service.watch.down.is_none() {
            said.missing.push(format!("service {name}: no verdict yet"));
        } else if let Some(reason) = waiting_for(service).filter(|_| !is_starting(service)) {
            said.waiting.push(format!("service {name}: {reason}"));
        } else if !is_settled(service) {
            let (wanted, phase) = (wanted(service.watch.wanted), phase(service.registration.phase));
            let missing = format!("service {name}: wanted {wanted}, registration {phase}");
            said.missing.push(missing);
        }
    }
    said
}

/// There was hardly time yet for a session, or for a registration since there is one. What the reporter waited for before
/// explains nothing in this time, and it may not have said anything newer.
fn is_starting(service: &ServiceStatus) -> bool {
    matches!(service.registration.phase, Phase::Unknown | Phase::Changing)
        && service.session.as_ref().is_some_and(|session| {
            matches!(session.state, SessionState::Connecting | SessionState::Connected)
                && session.since.elapsed() < FIRST_ATTEMPTS
        })
}

/// Why what is wanted is not so, when that is known.
fn waiting_for(service: &ServiceStatus) -> Option<String> {
    if is_settled(service) {
        return None;
    }
    let registration = &service.registration;
    let phase = phase(registration.phase);
    match (&registration.trouble, registration.phase) {
        (Some(trouble), _) => Some(format!("registration {phase}: {trouble}")),
        (None, Phase::Blocked) => {
            Some(String::from("registration blocked: somebody else's node stands in its place"))
        }
        (None, Phase::Unconfirmed) => {
            Some(String::from("registration unconfirmed: the registry cannot be reached"))
        }
        (None, Phase::Unknown | Phase::Absent | Phase::Registered | Phase::Changing) => None,
    }
}

/// Why a service is in its state, one line: the watcher's reason, and the reporter's trouble.
pub(super) fn reason(service: &ServiceStatus) -> String {
    let reason = &service.watch.reason;
    match waiting_for(service) {
        Some(trouble) if reason.is_empty() => trouble,
        Some(trouble) => format!("{reason}; {trouble}"),
        None => reason.to_string(),
    }
}
