//! The one-line answers: what state is this in, and why.
//!
//! Words for states are haproxy's. The reason of a backend comes from its pool; the reason of a service is worked out
//! here from the view.

use std::time::SystemTime;

use crate::discovery::{Membership, Memory, SourceSettings};
use crate::health::Health;
use crate::lb::handle::{BackendView, PoolView, SetOrigin};

use super::ServiceEntry;
use super::when::short;

/// haproxy's word for the state of a server.
pub(super) fn backend_state(backend: &BackendView) -> &'static str {
    if backend.settings.disabled {
        return "MAINT";
    }
    if backend.addr.is_none() {
        return "MAINT (resolution)";
    }
    match backend.health {
        Health::Down => "DOWN",
        Health::Up | Health::Unchecked if backend.settings.weight.is_zero() => "DRAIN",
        Health::Up => "UP",
        Health::Unchecked => "no check",
    }
}

/// True for a backend that works as far as is known, picked or not.
pub(super) fn is_up(backend: &BackendView) -> bool {
    !backend.settings.disabled && backend.addr.is_some() && backend.health != Health::Down
}

/// Numbers of backends: known, up, eligible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) known: usize,
    pub(super) up: usize,
    pub(super) eligible: usize,
}

/// Counts the backends of a view.
pub(super) fn counts(view: &PoolView) -> Counts {
    Counts {
        known: view.backends.len(),
        up: view.backends.iter().filter(|b| is_up(b)).count(),
        eligible: view.backends.iter().filter(|b| b.eligible).count(),
    }
}

/// State of a service: `UP`, `DOWN` (nobody to send traffic to) or `DISABLED`.
pub(super) fn service_state(entry: &ServiceEntry, counts: Counts) -> &'static str {
    if entry.disabled {
        "DISABLED"
    } else if counts.eligible > 0 {
        "UP"
    } else {
        "DOWN"
    }
}

/// Why a service is in its state, one line.
pub(super) fn service_reason(entry: &ServiceEntry, view: &PoolView, counts: Counts) -> String {
    let state = if entry.disabled {
        String::from("disabled in the configuration")
    } else if counts.known == 0 {
        nobody_known(entry, view)
    } else if counts.eligible == 0 {
        format!("no backend is eligible: {} known, {} up", counts.known, counts.up)
    } else {
        format!("{} of {} backends eligible", counts.eligible, counts.known)
    };
    let kept = match view.origin {
        SetOrigin::Previous => "; discovery says nobody, the previous set is kept",
        SetOrigin::DefaultServers if !is_fixed(entry) => "; default_servers are in use",
        SetOrigin::Nothing | SetOrigin::Discovered | SetOrigin::DefaultServers => "",
    };
    let kept = match stale(view) {
        Some(age) => format!("{kept}; {age}"),
        None => kept.to_owned(),
    };
    let trouble = match &view.discovered.trouble {
        Some(trouble) if counts.known == 0 => format!(": {trouble}"),
        Some(trouble) => format!("; discovery: {trouble}"),
        None => String::new(),
    };
    format!("{state}{kept}{trouble}")
}

/// For a set from before the start: "last known backends, confirmed 3m07s ago".
pub(super) fn stale(view: &PoolView) -> Option<String> {
    let stale = view.discovered.stale.as_ref()?;
    let age = short(stale.age(SystemTime::now()));
    let whose = match stale.memory {
        Memory::Own => "",
        Memory::SynapseStateFile => " (Synapse's state file)",
    };
    Some(format!("stale: last known backends{whose}, confirmed {age} ago"))
}

/// The word for whose memory a stale set comes from.
pub(super) fn memory(memory: Memory) -> &'static str {
    match memory {
        Memory::Own => "state_dir",
        Memory::SynapseStateFile => "state_file_path",
    }
}

/// What a service that is ready still waits for, one line.
pub(super) fn not_confirmed(entry: &ServiceEntry) -> Option<String> {
    let stale = stale(&entry.service.pool.view())?;
    Some(format!("service {}: {stale}", entry.service.name))
}

fn nobody_known(entry: &ServiceEntry, view: &PoolView) -> String {
    let place = place(&entry.source);
    match &view.discovered.membership {
        Membership::Pending => format!("discovery not heard yet ({place})"),
        Membership::Missing | Membership::Known(_) if view.discovered.former.is_some() => {
            format!("nobody was in use before the source was changed, and {place} is not heard yet")
        }
        Membership::Missing => format!("{place} does not exist"),
        Membership::Known(set) if set.is_empty() && view.discovered.malformed_total > 0 => {
            let malformed = view.discovered.malformed_total;
            format!("none of the {malformed} registrations at {place} can be used")
        }
        Membership::Known(set) if set.is_empty() => format!("nobody is registered at {place}"),
        Membership::Known(set) => format!(
            "none of the {} registered backends is accepted (filters, leader election)",
            set.len()
        ),
    }
}

/// Where a service's members are read from.
pub(super) fn place(source: &SourceSettings) -> String {
    match source {
        SourceSettings::Fixed => String::from("default_servers"),
        SourceSettings::File(file) => format!("file {}", file.path.display()),
        SourceSettings::ZooKeeper(zk) => format!("zookeeper {}{}", zk.ensemble, zk.path),
    }
}

/// True for services whose members stand in the configuration.
pub(super) fn is_fixed(entry: &ServiceEntry) -> bool {
    matches!(entry.source, SourceSettings::Fixed)
}

/// The word for a membership.
pub(super) fn membership(membership: &Membership) -> &'static str {
    match membership {
        Membership::Pending => "pending",
        Membership::Known(_) => "known",
        Membership::Missing => "missing",
    }
}

/// Members in the source's last word, before filters and policy.
pub(super) fn registered(membership: &Membership) -> Option<usize> {
    match membership {
        Membership::Known(set) => Some(set.len()),
        Membership::Pending | Membership::Missing => None,
    }
}

/// The word for where the set in use comes from.
pub(super) fn origin(origin: SetOrigin) -> &'static str {
    match origin {
        SetOrigin::Nothing => "nothing",
        SetOrigin::Discovered => "discovered",
        SetOrigin::DefaultServers => "default_servers",
        SetOrigin::Previous => "previous",
    }
}

/// What keeps the service from being ready: discovery was not heard and nobody can take traffic. A service that already
/// serves its `default_servers` is ready; a path that does not exist was heard.
pub(super) fn not_ready(entry: &ServiceEntry) -> Option<String> {
    if entry.disabled || !entry.awaited || is_fixed(entry) {
        return None;
    }
    let view = entry.service.pool.view();
    let pending = !view.discovered.is_heard();
    if !pending || entry.service.pool.eligible() > 0 {
        return None;
    }
    let place = place(&entry.source);
    let trouble = match &view.discovered.trouble {
        Some(trouble) => format!(": {trouble}"),
        None => String::new(),
    };
    Some(format!("service {}: discovery not heard yet ({place}){trouble}", entry.service.name))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use std::time::Duration;

    use crate::admin::fixture;
    use crate::discovery::Stale;
    use crate::endpoint::Weight;
    use crate::lb::made_up;

    #[test]
    fn states_are_haproxys_words() {
        let up = made_up::backend(1);
        assert_eq!(backend_state(&up), "UP");

        let mut unchecked = up.clone();
        unchecked.health = Health::Unchecked;
        assert_eq!(backend_state(&unchecked), "no check");

        let mut drained = up.clone();
        Arc::make_mut(&mut drained.settings).weight = Weight::saturating(0);
        assert_eq!(backend_state(&drained), "DRAIN");
        assert!(is_up(&drained));

        let mut down = drained;
        down.health = Health::Down;
        assert_eq!(backend_state(&down), "DOWN");

        let mut unresolved = up;
        unresolved.addr = None;
        assert_eq!(backend_state(&unresolved), "MAINT (resolution)");

        let mut disabled = down;
        Arc::make_mut(&mut disabled.settings).disabled = true;
        assert_eq!(backend_state(&disabled), "MAINT");
        assert!(!is_up(&disabled));
    }

    #[tokio::test(start_paused = true)]
    async fn an_unheard_service_says_where_it_listens_for_members() {
        let entry = fixture::pending("search");
        let view = entry.service.pool.view();
        assert_eq!(
            service_reason(&entry, &view, counts(&view)),
            "discovery not heard yet (zookeeper zk1:2181/services/search): connecting to zk1:2181"
        );
        assert_eq!(
            not_ready(&entry).unwrap(),
            "service search: discovery not heard yet (zookeeper zk1:2181/services/search): connecting to zk1:2181"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_path_is_heard_and_named() {
        let entry = fixture::with_membership("search", Membership::Missing);
        let view = entry.service.pool.view();
        assert!(not_ready(&entry).is_none());
        assert_eq!(
            service_reason(&entry, &view, counts(&view)),
            "zookeeper zk1:2181/services/search does not exist"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_remembered_set_is_ready_and_named_with_its_age() {
        let mut view = PoolView::clone(&fixture::search().service.pool.view());
        assert!(stale(&view).is_none());
        for (memory, whose) in
            [(Memory::Own, ""), (Memory::SynapseStateFile, " (Synapse's state file)")]
        {
            view.discovered.stale = Some(Stale {
                confirmed_at: SystemTime::now() - Duration::from_secs(7_505),
                memory,
            });
            let text = format!("stale: last known backends{whose}, confirmed 2h05m ago");
            assert_eq!(stale(&view).unwrap(), text);
            let reason = service_reason(&fixture::search(), &view, counts(&view));
            assert_eq!(reason, format!("1 of 2 backends eligible; {text}"));
        }
    }
}
