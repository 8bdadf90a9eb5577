//! Who has which number: haproxy's server ids.
//!
//! A consistent hash is made of them, so they are kept: a backend has its number as long as it is known, and one that
//! comes later gets the lowest that is free. When a service starts they are given as haproxy gives them to the lines of a
//! file. Hosts that have seen different histories agree only on numbers that registrations bring with them (`id`).

use std::collections::HashSet;

use super::book::Record;

/// Gives everybody a number: its own (`id`), of which the first holder counts; the one it has; one that is free.
pub(super) fn give(records: &mut [Record]) {
    let mut taken = HashSet::with_capacity(records.len());
    let is_start = records.iter().all(|record| record.number == 0);
    let former: Vec<u32> =
        records.iter_mut().map(|record| std::mem::take(&mut record.number)).collect();
    for record in &mut *records {
        if let Some(id) = record.settings.id.filter(|id| *id > 0)
            && taken.insert(id)
        {
            record.number = id;
        }
    }
    for (record, former) in records.iter_mut().zip(former) {
        if record.number == 0 && former > 0 && taken.insert(former) {
            record.number = former;
        }
    }
    let mut next = 1;
    for record in records {
        if record.number == 0 {
            while !taken.insert(next) {
                next += 1;
            }
            record.number = next;
        }
        // haproxy counts all lines, also those with an id of their own; later on, a gap is to be filled.
        if is_start {
            next += 1;
        }
    }
}
