//! The process in the kernel's words, for the standard `process_*` metrics. Linux only; absent elsewhere.

use std::fs;

/// What `/proc/self` says; each is `None` when it cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// User and system time in seconds.
    pub(super) cpu_seconds: Option<f64>,
    /// Resident memory in bytes.
    pub(super) resident_bytes: Option<u64>,
    /// Open descriptors.
    pub(super) open_fds: Option<usize>,
    /// Limit of descriptors.
    pub(super) max_fds: Option<u64>,
}

/// Clock ticks per second in `/proc`: fixed at 100 in the kernel's user interface on every architecture Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

impl Usage {
    /// Reads the numbers of this moment. Blocks for some microseconds (more with many descriptors).
    pub(super) fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").ok();
        let status = fs::read_to_string("/proc/self/status").ok();
        Self {
            cpu_seconds: stat.as_deref().and_then(cpu_seconds),
            resident_bytes: status.as_deref().and_then(resident_bytes),
            open_fds: fs::read_dir("/proc/self/fd").ok().map(Iterator::count),
            max_fds: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        }
    }
}

/// Fields 14 and 15, counted after the program's name, which may contain blanks and parentheses.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let stat = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
    }

    #[test]
    fn nonsense_is_none() {
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(cpu_seconds("1 (x) S"), None);
        assert_eq!(resident_bytes("VmRSS: many kB"), None);
        assert_eq!(resident_bytes("VmRSS:\t  12 kB\n"), Some(12_288));
    }

    #[test]
    fn this_process_has_all_of_them() {
        let usage = Usage::read();
        assert!(usage.resident_bytes.is_some_and(|bytes| bytes > 100_000));
        assert!(usage.open_fds.is_some_and(|open| open > 2));
        assert!(usage.cpu_seconds.is_some());
    }
}
