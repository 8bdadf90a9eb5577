//! Who may be picked and why (not): one decision, used for the snapshot and for people.

use std::sync::Arc;

use super::book::Record;
use crate::health::Health;
use crate::lb::handle::BackendView;
use crate::lb::limits::Limits;
use crate::lb::snapshot::Member;

/// What keeps a backend out, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Eligible,
    Disabled,
    WeightZero,
    NoAddress,
    Down,
    /// A backup while an active one is usable.
    Backup,
    /// A backup after the first usable one.
    LaterBackup,
}

/// The standing of each record, in order: all usable actives; without any, the first usable backup or all of them.
pub(super) fn standings(records: &[Record], all_backups: bool) -> Vec<Standing> {
    let mut standings: Vec<Standing> = records.iter().map(alone).collect();
    let usable = |backup: bool| {
        records
            .iter()
            .zip(&standings)
            .position(|(r, s)| *s == Standing::Eligible && r.settings.backup == backup)
    };
    let (active, first_backup) = (usable(false), usable(true));
    for (at, (record, standing)) in records.iter().zip(&mut standings).enumerate() {
        if *standing != Standing::Eligible || !record.settings.backup {
            continue;
        }
        if active.is_some() {
            *standing = Standing::Backup;
        } else if !all_backups && first_backup != Some(at) {
            *standing = Standing::LaterBackup;
        }
    }
    standings
}

/// The standing without regard to the others.
fn alone(record: &Record) -> Standing {
    if record.settings.disabled {
        Standing::Disabled
    } else if record.settings.weight.is_zero() {
        Standing::WeightZero
    } else if record.address.is_err() {
        Standing::NoAddress
    } else {
        match record.health {
            Health::Down => Standing::Down,
            Health::Up | Health::Unchecked => Standing::Eligible,
        }
    }
}

/// Active ones and backups that may be used, whoever else may: haproxy's numbers of servers.
pub(super) fn usable(records: &[Record]) -> (usize, usize) {
    let usable = records.iter().filter(|record| alone(record) == Standing::Eligible);
    usable.fold((0, 0), |(active, backup), record| match record.settings.backup {
        true => (active, backup + 1),
        false => (active + 1, backup),
    })
}

/// Counted as up in [`crate::lb::PickError`]: would serve if its weight allowed it.
pub(super) fn is_up(record: &Record) -> bool {
    !record.settings.disabled && record.address.is_ok() && record.health != Health::Down
}

/// The record as a worker sees it; `None` without an address.
pub(super) fn member(record: &Record) -> Option<Member> {
    let settings = &record.settings;
    Some(Member {
        backend: record.backend.clone(),
        number: record.number,
        addr: record.address.as_ref().ok()?.clone(),
        way: settings.way.clone(),
        weight: settings.weight,
        max_connections: settings.max_connections.map(|max| record.warmth.of(max)),
        limits: Limits {
            elastic: settings.elastic,
            max_queue: settings.max_queue,
            ramp: record.warmth.ramp,
        },
        protocol: settings.protocol,
    })
}

/// The record as people see it.
pub(super) fn backend_view(record: &Record, standing: Standing) -> BackendView {
    BackendView {
        backend: record.backend.clone(),
        addr: record.address.as_ref().ok().cloned(),
        settings: Arc::clone(&record.settings),
        health: record.health,
        eligible: standing == Standing::Eligible,
        reason: reason(record, standing),
        ramp: record.warmth.ramp,
        since: record.since,
        last_check: record.last_check.clone(),
    }
}

fn reason(record: &Record, standing: Standing) -> String {
    match standing {
        Standing::Eligible if record.warmth.is_partial() => {
            format!("{}; slow start, {} %", in_use(record), record.warmth.ramp.percent())
        }
        Standing::Eligible => in_use(record),
        Standing::Disabled => "disabled".to_owned(),
        Standing::WeightZero => "weight 0".to_owned(),
        Standing::NoAddress => match &record.address {
            Ok(_) => "no address".to_owned(),
            Err(reason) => reason.clone(),
        },
        Standing::Down => match &record.last_check {
            Some(check) => format!("down: {}: {}", check.code, check.detail),
            None => "down".to_owned(),
        },
        Standing::Backup => "backup, actives are up".to_owned(),
        Standing::LaterBackup => "backup, an earlier backup is in use".to_owned(),
    }
}

fn in_use(record: &Record) -> String {
    let state = match record.health {
        Health::Unchecked => "no check".to_owned(),
        Health::Up | Health::Down => match &record.last_check {
            None => "up, not checked yet".to_owned(),
            Some(check) if record.standing.contains('/') => {
                format!("{}: {}: {}", record.standing.to_lowercase(), check.code, check.detail)
            }
            Some(_) => "up".to_owned(),
        },
    };
    if record.settings.backup {
        format!("backup in use, no active is usable; {state}")
    } else {
        state
    }
}
