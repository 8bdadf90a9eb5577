//! Memory of a process, as the kernel counts it, and what it may take.

use std::process::Command;

use super::oracle::need;

/// Resident now, in bytes.
pub(crate) fn resident(pid: u32) -> u64 {
    line(pid, "VmRSS:")
}

/// Most that was resident since [`forget_peak`], in bytes.
pub(crate) fn peak(pid: u32) -> u64 {
    line(pid, "VmHWM:")
}

/// Begins anew to look for the peak.
pub(crate) fn forget_peak(pid: u32) {
    // proc(5): 5 resets the peak resident set size to what is resident now.
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("our own process");
}

fn line(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("still running");
    let line = status.lines().find(|l| l.starts_with(name)).expect("the line");
    let kilobytes = line.split_whitespace().nth(1).expect("a number");
    kilobytes.parse::<u64>().expect("a number") * 1024
}

/// Limits what a running process may take: `prlimit`'s option, `--nofile=3:1024`.
pub(crate) fn limit(pid: u32, option: &str) {
    need("prlimit", "util-linux");
    let set = Command::new("prlimit").args(["--pid", &pid.to_string(), option]).status();
    assert!(set.expect("prlimit").success(), "{option}");
}
