//! Instructions in user space per request, counted by callgrind: the same each time, however busy the machine is.
//!
//! synapse serves so many requests on one connection, then more of them; the difference is what the additional ones
//! took. Start, stop and the control plane's housekeeping cancel out, nearly: a promise has 3 % to spare.

use std::collections::BTreeMap;
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
use crate::measure::{float, round};
use crate::proxies::{BACKENDS, Kind, Programs, Proxy, SITE, Setup};
use crate::report::Table;
use crate::{Outcome, Verdict, case};

/// What is counted.
const ROWS: &[(&str, Exchange)] = &[
    ("keepalive_128", Exchange::SMALL),
    ("post_16k", case::POST_16K),
    ("body_16k", Exchange::get(16 << 10)),
];

/// Requests of the two runs whose difference counts.
const REQUESTS: [u64; 2] = [500, 2_500];

/// A count may be so many times the recorded one.
const MARGIN: f64 = 1.03;

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
    let mut table = Table::new(&["row", "instructions per request", "recorded", "ratio"]);
    for (name, exchange) in ROWS {
        let [few, many] = REQUESTS;
        let count = |requests| {
            let profile = profiles.join(format!("callgrind.{name}.{requests}"));
            eprintln!("{name}: {requests} requests");
            total(plan, *exchange, requests, (dir, &profile), cores)
        };
        let (few_took, many_took) = (count(few)?, count(many)?);
        let count = (many_took.saturating_sub(few_took)) / (many - few);
        counts.insert((*name).to_owned(), count);
        let before = recorded.get(*name).copied();
        let ratio = before.map(|before| float(count) / float(before));
        let show = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        table.row(vec![
            (*name).to_owned(),
            count.to_string(),
            show(before.map(|b| b.to_string())),
            show(ratio.map(|r| round(r).to_string())),
        ]);
        match ratio {
            Some(ratio) => {
                let text = format!(
                    "{name}: instructions x{ratio:.3} of the recorded, promised at most x{MARGIN}"
                );
                verdict.promise(ratio <= MARGIN || plan.is_update, text);
            }
            None => {
                verdict.promise(plan.is_update, format!("{name}: recorded to be compared with"))
            }
        }
    }
    print!("{table}");
    if plan.is_update {
        fs::write(&plan.recorded, render(&counts))?;
        println!("recorded: {}", plan.recorded.display());
    }
    Ok(verdict)
}

/// All instructions of a synapse that serves so many requests, one after the other on one connection.
fn total(
    plan: &Plan,
    exchange: Exchange,
    requests: u64,
    (dir, profile): (&Path, &Path),
    cores: Cores,
) -> Outcome<u64> {
    let setup = Setup { is_pinned: false, ..Setup::of(Kind::Synapse) };
    let origins = case::origins(BACKENDS);
    let mut world = World::new(Arc::new(Seen::new(0)))?;
    for addr in &origins {
        world.add(Peer::Listener(Listener::bind(*addr, Work::Http(exchange), None)?))?;
    }
    let synapse = under_callgrind(&plan.synapse, dir, profile)?;
    let programs = Programs { synapse, envoy: PathBuf::new(), pingora: PathBuf::new() };
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

/// All instructions but those of the first thread: that is the control plane's, which also waits for clocks. Each
/// thread has a file of its own.
fn data_plane(profile: &Path) -> Outcome<u64> {
    let mut sum = 0;
    for thread in 2.. {
        let mut file = profile.as_os_str().to_owned();
        file.push(format!("-{thread:02}"));
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(_) if thread > 2 => break,
            Err(error) => return Err(format!("{}: {error}", file.display()).into()),
        };
        let line = text.lines().rev().find_map(|line| line.strip_prefix("totals:"));
        sum += line.ok_or("callgrind: no totals")?.trim().parse::<u64>()?;
    }
    Ok(sum)
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
    fn what_is_recorded_is_read_back() {
        let counts = BTreeMap::from([("a".to_owned(), 1), ("b_2".to_owned(), 34_000)]);
        assert_eq!(parse(&render(&counts)).unwrap(), counts);
        assert!(parse("a 1").is_err());
        assert!(parse("a = x").is_err());
    }
}
