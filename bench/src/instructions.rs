//! Instructions in user space per request, counted by callgrind: the same each time, however busy the machine is.
//!
//! synapse serves so many requests on one connection, then more of them; the difference is what the additional ones
//! took. Start, stop and the control plane's housekeeping cancel out, nearly: a promise has 3 % to spare.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::client::{Client, PATIENCE, Task};
use crate::engine::http::Exchange;
use crate::engine::origin::{Listener, Work};
use crate::engine::tally::Seen;
use crate::engine::{Peer, World};
use crate::machine::{self, Cores};
use crate::measure::float;
use crate::proxies::{BACKENDS, Kind, Logs, Programs, Proxy, SITE, Setup};
use crate::report::Table;
use crate::{Outcome, Verdict, case, rows};

/// What is counted.
const ROWS: &[(&str, Exchange, Logs)] = &[
    ("keepalive_128", Exchange::SMALL, Logs::Off),
    ("keepalive_128_stdout", Exchange::SMALL, Logs::Stdout),
    ("keepalive_128_udp", Exchange::SMALL, Logs::Udp),
    ("post_16k", rows::POST_16K, Logs::Off),
    ("body_16k", Exchange::get(16 << 10), Logs::Off),
];

/// Requests of the two runs whose difference counts.
const REQUESTS: [u64; 2] = [500, 2_500];

/// A count may be so many times the recorded one.
const MARGIN: f64 = 1.03;

/// Fewer allocations per request than this are none: a table that grows, a timer of the thread.
const NONE: f64 = 0.01;

/// The same with access logs: the thread that writes allocates for a batch of lines, never for one.
const FEW: f64 = 0.2;

/// Functions of the C library that allocate.
const ALLOCATORS: &[&str] = &["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"];

/// How long a wait for an answer may take before the clock is looked at.
const TURN: Duration = Duration::from_millis(100);

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The synapse that is counted.
    pub(crate) synapse: PathBuf,
    /// What was counted before.
    pub(crate) recorded: PathBuf,
    /// Replace it.
    pub(crate) is_update: bool,
    /// Where callgrind's own files go, if anybody wants them.
    pub(crate) profiles: Option<PathBuf>,
}

/// Counts, compares with what was recorded, prints.
pub(crate) fn run(plan: &Plan, dir: &Path) -> Outcome<Verdict> {
    let cores = Cores::choose()?;
    machine::check_port_range(10_000)?;
    let recorded = match fs::read_to_string(&plan.recorded) {
        Ok(text) => parse(&text)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => return Err(format!("{}: {error}", plan.recorded.display()).into()),
    };
    let profiles = plan.profiles.as_deref().unwrap_or(dir);
    fs::create_dir_all(profiles)?;
    let is_empty = plan.profiles.is_none() || fs::read_dir(profiles)?.next().is_none();
    if !is_empty {
        return Err(format!("{}: not empty: files of another run", profiles.display()).into());
    }
    let mut counts = BTreeMap::new();
    let mut verdict = Verdict::default();
    let mut table = Table::new(&[
        "row",
        "instructions per request",
        "recorded",
        "ratio",
        "allocations per request",
    ]);
    for (name, exchange, logs) in ROWS {
        let [few, many] = REQUESTS;
        let count = |requests| {
            let profile = profiles.join(format!("callgrind.{name}.{requests}"));
            eprintln!("{name}: {requests} requests");
            total(plan, (*exchange, *logs), requests, (dir, &profile), cores)
        };
        let (before, after) = (count(few)?, count(many)?);
        let more = float(many - few);
        let instructions = after.instructions.saturating_sub(before.instructions) / (many - few);
        let allocations = (float(after.allocations) - float(before.allocations)) / more;
        counts.insert((*name).to_owned(), instructions);
        let ratio = recorded.get(*name).map(|recorded| float(instructions) / float(*recorded));
        let show = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        table.row(vec![
            (*name).to_owned(),
            instructions.to_string(),
            show(recorded.get(*name).map(u64::to_string)),
            show(ratio.map(|r| format!("{r:.3}"))),
            format!("{allocations:.3}"),
        ]);
        let (most, promised) = if *logs == Logs::Off { (NONE, "none") } else { (FEW, "few") };
        let text = format!("{name}: {allocations:.3} allocations per request, promised {promised}");
        verdict.promise(allocations < most, text);
        if !plan.is_update {
            compare(name, ratio, &mut verdict);
        }
    }
    print!("{table}");
    if plan.is_update {
        fs::write(&plan.recorded, render(&counts))?;
        println!("recorded: {}", plan.recorded.display());
    }
    Ok(verdict)
}

fn compare(name: &str, ratio: Option<f64>, verdict: &mut Verdict) {
    let text = ratio.map_or_else(
        || format!("{name}: nothing recorded to compare with"),
        |r| format!("{name}: instructions x{r:.3} of the recorded, promised at most x{MARGIN}"),
    );
    verdict.promise(ratio.is_some_and(|r| r <= MARGIN), text);
}

/// All instructions of a synapse that serves so many requests, one after the other on one connection.
fn total(
    plan: &Plan,
    (exchange, logs): (Exchange, Logs),
    requests: u64,
    (dir, profile): (&Path, &Path),
    cores: Cores,
) -> Outcome<Count> {
    let setup = Setup { is_pinned: false, logs, ..Setup::of(Kind::Synapse) };
    let origins = case::origins(BACKENDS);
    let mut world = World::new(Arc::new(Seen::new(0)))?;
    for addr in &origins {
        world.add(Peer::Listener(Listener::bind(*addr, Work::Http(exchange), None)?))?;
    }
    let synapse = under_callgrind(&plan.synapse, dir, profile)?;
    let none = PathBuf::new;
    let programs = Programs { synapse, before: none(), envoy: none(), pingora: none() };
    let proxy = Proxy::start(setup, SITE, &programs, (dir, "http", &origins), cores)?;
    let client = Client::connect(SITE.front(), Task::Kept, exchange.ask(false), Instant::now())?;
    world.add(Peer::Client(client))?;
    for number in 1..=requests {
        let begun = Instant::now();
        while world.busy() > 0 {
            world.turn(TURN)?;
            if begun.elapsed() > PATIENCE {
                return Err(format!("request {number}: no answer").into());
            }
        }
        if number < requests && !world.again(Instant::now()) {
            let why = world.shared.tally.first_error.clone().unwrap_or_default();
            return Err(format!("request {number}: {why}").into());
        }
    }
    if let Some(error) = &world.shared.tally.first_error {
        return Err(error.clone().into());
    }
    world.end_clients();
    proxy.stop()?;
    data_plane(profile)
}

/// Keeps glibc from copying with `rep movsb`, each byte of which valgrind counts as an instruction.
const NO_STRING_MOVES: &str = "glibc.cpu.x86_rep_movsb_threshold=0x7fffffff";

/// What threads did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    instructions: u64,
    allocations: u64,
}

/// Everything but the first thread: that is the control plane's, which also waits for clocks. Each has a file of its own.
fn data_plane(profile: &Path) -> Outcome<Count> {
    let mut sum = Count::default();
    for thread in 2.. {
        let mut file = profile.as_os_str().to_owned();
        file.push(format!("-{thread:02}"));
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(_) if thread > 2 => break,
            Err(error) => return Err(format!("{}: {error}", file.display()).into()),
        };
        let count = count(&text)?;
        sum.instructions += count.instructions;
        sum.allocations += count.allocations;
    }
    Ok(sum)
}

/// Reads a file of callgrind. A function is named once, with its number; later the number must do.
fn count(text: &str) -> Outcome<Count> {
    let mut allocators = BTreeSet::new();
    let mut is_allocator = false;
    let mut count = Count::default();
    for line in text.lines() {
        let named = line.strip_prefix("cfn=").map(|name| (true, name));
        let named = named.or_else(|| line.strip_prefix("fn=").map(|name| (false, name)));
        if let Some((is_called, name)) = named {
            let (number, name) = name.split_once(' ').unwrap_or((name, ""));
            if ALLOCATORS.contains(&name) {
                allocators.insert(number);
            }
            is_allocator = is_called && allocators.contains(number);
        } else if let Some(calls) = line.strip_prefix("calls=") {
            if is_allocator {
                count.allocations += calls.split(' ').next().unwrap_or_default().parse::<u64>()?;
            }
        } else if let Some(total) = line.strip_prefix("totals:") {
            count.instructions = total.trim().parse()?;
        }
    }
    if count.instructions == 0 { Err("callgrind: no totals".into()) } else { Ok(count) }
}

/// A program that runs synapse under callgrind.
fn under_callgrind(synapse: &Path, dir: &Path, profile: &Path) -> Outcome<PathBuf> {
    let script = dir.join("synapse-under-callgrind");
    let text = format!(
        "#!/bin/sh\nGLIBC_TUNABLES={NO_STRING_MOVES} exec valgrind --tool=callgrind --separate-threads=yes \
         --callgrind-out-file='{}' '{}' \"$@\"\n",
        profile.display(),
        synapse.canonicalize()?.display()
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(script)
}

/// `name = number` lines.
fn parse(text: &str) -> Outcome<BTreeMap<String, u64>> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines
        .map(|line| {
            let (name, count) = line.split_once('=').ok_or_else(|| format!("no `=`: {line}"))?;
            Ok((name.trim().to_owned(), count.trim().parse()?))
        })
        .collect()
}

fn render(counts: &BTreeMap<String, u64>) -> String {
    let mut text = "# Instructions in user space per request: `bench/instructions` compares (--check: at most 3 % more), \
         --update rewrites.\n"
        .to_owned();
    for (name, count) in counts {
        text.push_str(&format!("{name} = {count}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_allocators_are_counted_whoever_makes_them() {
        let text = "fn=(1) a\n5 7\ncfn=(2) malloc\ncalls=3 0\n5 90\ncfn=(3) b\ncalls=4 0\n5 1\n\
                    fn=(2)\n1 90\nfn=(3)\ncfn=(2)\ncalls=2 0\n9 9\n\ntotals: 1234\n";
        assert_eq!(count(text).unwrap(), Count { instructions: 1_234, allocations: 5 });
        assert!(count("fn=(1) a\n").is_err());
    }

    #[test]
    fn what_is_recorded_is_read_back() {
        let counts = BTreeMap::from([("a".to_owned(), 1), ("b_2".to_owned(), 34_000)]);
        assert_eq!(parse(&render(&counts)).unwrap(), counts);
        assert!(parse("a 1").is_err());
        assert!(parse("a = x").is_err());
    }
}
