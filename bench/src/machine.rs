//! The machine: cores, CPU time, memory.

use std::fs;
use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setpriority_process, setrlimit};
use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity};
use serde_json::{Value, json};

use crate::Outcome;
use crate::measure::float;

/// Who runs where. With one core only, both are the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// The proxy's.
    pub(crate) proxy: usize,
    /// The load's and the origins'.
    pub(crate) load: usize,
}

impl Cores {
    /// The first two cores that this process may use.
    pub(crate) fn choose() -> Outcome<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let proxy = cores.next().ok_or("no core at all")?;
        let load = cores.next().unwrap_or(proxy);
        Ok(Self { proxy, load })
    }
}

/// Binds this thread, and what it starts from now on, to these cores.
pub(crate) fn pin(cores: &[usize]) -> Outcome<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// This thread, and what it starts from now on, yields to the load: it stands for other machines.
pub(crate) fn step_back() -> Outcome<()> {
    Ok(setpriority_process(Some(gettid()), 5)?)
}

/// As many descriptors as we may have, for us and what we start.
pub(crate) fn all_descriptors() -> Outcome<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// Timers of this thread fire when they are due, not up to 50 us later.
pub(crate) fn precise_timers() -> Outcome<()> {
    Ok(rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?)
}

/// CPU time of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    /// User and system time of all its threads, precisely.
    pub(crate) total: Duration,
    /// Ticks in user space and in the kernel: the kernel samples, so only their relation over seconds means something.
    ticks: [u64; 2],
}

impl Cpu {
    /// What came after `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        let [user, kernel] = self.ticks;
        let [user_before, kernel_before] = before.ticks;
        Self {
            total: self.total.saturating_sub(before.total),
            ticks: [user.saturating_sub(user_before), kernel.saturating_sub(kernel_before)],
        }
    }

    /// The part in user space; 0 when there was no tick.
    pub(crate) fn user_share(self) -> f64 {
        let [user, kernel] = self.ticks.map(float);
        if user + kernel == 0.0 { 0.0 } else { user / (user + kernel) }
    }
}

/// User and system time of all threads of a process so far.
pub(crate) fn cpu(pid: u32) -> Outcome<Cpu> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path();
        match run_time(&path.join("schedstat")) {
            Ok(time) => nanos += time,
            // It has ended since it was listed, and its time with it.
            Err(_) if !path.exists() => {}
            Err(error) => return Err(error),
        }
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Behind the name, which may contain anything: state is the first field, utime the 12th, stime the 13th.
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in stat")?;
    let mut ticks = fields.split_whitespace().skip(11).map(str::parse);
    let mut next = || ticks.next().ok_or("no times in stat");
    Ok(Cpu { total: Duration::from_nanos(nanos), ticks: [next()??, next()??] })
}

/// The same of this thread.
pub(crate) fn own_cpu() -> Outcome<Duration> {
    let nanos = run_time(Path::new("/proc/thread-self/schedstat"))?;
    Ok(Duration::from_nanos(nanos))
}

fn run_time(path: &Path) -> Outcome<u64> {
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let first = text.split_whitespace().next().unwrap_or_default();
    Ok(first.parse()?)
}

/// Resident memory of a process in bytes.
pub(crate) fn rss(pid: u32) -> Outcome<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|l| l.split_whitespace().next());
    Ok(kilobytes.ok_or("no VmRSS")?.parse::<u64>()? * 1024)
}

/// Open descriptors of a process.
pub(crate) fn descriptors(pid: u32) -> Outcome<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// What a reader has to know of the machine.
pub(crate) fn describe(cores: Cores) -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo")
        .lines()
        .find_map(|l| l.strip_prefix("model name")?.split_once(": "))
        .map_or_else(String::new, |(_, name)| name.to_owned());
    let loads = read("/proc/loadavg");
    json!({
        "cpu": model,
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "proxy_core": cores.proxy,
        "load_core": cores.load,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "congestion_control": read("/proc/sys/net/ipv4/tcp_congestion_control").trim(),
        "own_network_namespace": std::env::var_os("SMARTSTACK_BENCH_NETNS").is_some(),
        "load_average_before": loads.split_whitespace().next().unwrap_or_default(),
    })
}

/// Ports of clients begin here: listeners must stay below, or now and then one finds its port taken.
pub(crate) fn check_port_range(highest: u16) -> Outcome<()> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    let first: u16 = range.split_whitespace().next().unwrap_or("0").parse()?;
    if first <= highest {
        return Err(format!(
            "net.ipv4.ip_local_port_range begins at {first}: listeners up to port {highest} would be inside"
        )
        .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_has_used_time() {
        let own = std::process::id();
        assert!(rss(own).unwrap() > 100_000);
        let used = cpu(own).unwrap();
        assert!(used.total > Duration::ZERO);
        assert!((0.0..=1.0).contains(&used.user_share()));
        assert!(own_cpu().unwrap() <= used.total + Duration::from_secs(1));
        assert!(descriptors(own).unwrap() >= 3);
    }
}
