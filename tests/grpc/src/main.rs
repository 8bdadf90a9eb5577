//! gRPC by tonic through synapse: `scripts/grpc`.
//!
//! Three tonic servers, synapse in front of them (HTTP/2 on both sides), tonic clients. First calls in all their details,
//! then load: who is asked how often, also while backends are drained, removed and restarted. Exit code 1: a call failed,
//! an answer was not what it should be, or the shares differ by more than 5 %.

mod calls;
mod details;
mod load;
mod proxy;
mod service;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use calls::{Client, Kind};
use load::{Tally, Until, load};
use proxy::Proxy;
use service::Backend;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// All of 127/8 is loopback; nothing else of this repository uses this one.
const IP: Ipv4Addr = Ipv4Addr::new(127, 94, 0, 1);
const FRONT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(IP), 20_000);
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(IP), 20_001);
const FIRST_BACKEND: u16 = 20_010;

/// Most that a share may differ from an equal one, percent.
const UNEVEN: f64 = 5.0;

/// Calls of each kind in the rounds of one kind.
const CALLS: usize = 3000;

/// How long the load of the other rounds goes on between changes.
const WHILE: Duration = Duration::from_millis(1000);

/// As good as no end.
const MANY: usize = usize::MAX / 2;

#[tokio::main(worker_threads = 2)]
async fn main() -> std::process::ExitCode {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(binary), Some(dir), None) = (args.next(), args.next(), args.next()) else {
        eprintln!("usage: smartstack-grpc SYNAPSE DIRECTORY");
        return 2.into();
    };
    match Box::pin(all(binary, dir)).await {
        Ok(true) => 0.into(),
        Ok(false) => 1.into(),
        Err(error) => {
            eprintln!("grpc: {error}");
            1.into()
        }
    }
}

struct World {
    backends: Vec<Backend>,
    proxy: Proxy,
    is_good: bool,
}

async fn all(binary: PathBuf, dir: PathBuf) -> Result<bool, Failure> {
    tokio::fs::create_dir_all(&dir).await?;
    let mut backends = Vec::new();
    for (port, name) in (FIRST_BACKEND..).zip(["A", "B", "C"]) {
        let mut backend = Backend::new(name, SocketAddr::from((IP, port)));
        backend.start()?;
        backends.push(backend);
    }
    let proxy = Proxy::start((&binary, &dir), (FRONT, ADMIN), &backends).await?;
    let mut world = World { backends, proxy, is_good: true };
    println!("details");
    for (name, wrong) in details::all(&world.backends).await? {
        println!("  {name:<58} {}", wrong.as_deref().unwrap_or("ok"));
        world.is_good &= wrong.is_none();
    }
    println!(
        "\n{:<36} {:>7} {:>6} {:>20} {:>7} {:>8} {:>7} {:>7}",
        "load, 32 streams at a time",
        "calls",
        "errors",
        "A / B / C",
        "uneven",
        "calls/s",
        "p50 ms",
        "p99 ms"
    );
    let one = [calls::client(FRONT).await?];
    let mut eight = Vec::new();
    for _ in 0..8 {
        eight.push(calls::client(FRONT).await?);
    }
    for (name, clients) in [("1 connection", &one[..]), ("8 connections", &eight[..])] {
        for kind in Kind::ALL {
            world.of_one_kind(kind, name, clients).await;
        }
    }
    world.drained(&eight).await?;
    world.removed(&eight).await?;
    world.restarted(&eight).await?;
    Ok(world.is_good)
}

/// The kinds, to be pointed at.
fn only(kind: Kind) -> &'static [Kind] {
    Kind::ALL.iter().position(|it| *it == kind).map_or(&[], |at| &KINDS[at..=at])
}

static KINDS: [Kind; 4] = Kind::ALL;

impl World {
    fn calls(&self) -> Vec<usize> {
        self.backends.iter().map(Backend::calls).collect()
    }

    async fn of_one_kind(&mut self, kind: Kind, name: &str, clients: &[Client]) {
        let before = self.calls();
        let tally = load(clients, only(kind), &Until::calls(CALLS)).await;
        self.report(&format!("{}, {name}", kind.name()), &tally, &before, &[0, 1, 2]);
    }

    /// The last backend is drained, with a call under way that goes on.
    async fn drained(&mut self, clients: &[Client]) -> Result<(), Failure> {
        let mut long = details::until_at(&mut clients[0].clone(), "C").await?;
        let (until, task) = self.begin(clients);
        tokio::time::sleep(WHILE).await;
        let Self { backends, proxy, .. } = self;
        proxy.serve(&[&backends[0], &backends[1]], Some(&backends[2])).await?;
        self.measured(&until, "C drained", &[0, 1]).await;
        long.goes_on().await?;
        let Self { backends, proxy, .. } = self;
        proxy.serve(&[&backends[0], &backends[1], &backends[2]], None).await?;
        self.measured(&until, "C back", &[0, 1, 2]).await;
        long.ends().await?;
        until.stop();
        self.report_all("drained and back, all calls", &task.await?);
        Ok(())
    }

    /// The last backend is removed, with a call under way that goes on.
    async fn removed(&mut self, clients: &[Client]) -> Result<(), Failure> {
        let mut long = details::until_at(&mut clients[0].clone(), "C").await?;
        let (until, task) = self.begin(clients);
        tokio::time::sleep(WHILE).await;
        let Self { backends, proxy, .. } = self;
        proxy.serve(&[&backends[0], &backends[1]], None).await?;
        self.measured(&until, "C removed", &[0, 1]).await;
        long.goes_on().await?;
        let Self { backends, proxy, .. } = self;
        proxy.serve(&[&backends[0], &backends[1], &backends[2]], None).await?;
        self.measured(&until, "C registered again", &[0, 1, 2]).await;
        long.ends().await?;
        until.stop();
        self.report_all("removed and back, all calls", &task.await?);
        Ok(())
    }

    /// One backend after the other goes away (GOAWAY), and comes back.
    async fn restarted(&mut self, clients: &[Client]) -> Result<(), Failure> {
        let (until, task) = self.begin(clients);
        for index in 0..self.backends.len() {
            tokio::time::sleep(WHILE / 2).await;
            self.backends[index].stop().await;
            tokio::time::sleep(WHILE / 2).await;
            self.backends[index].start()?;
            self.proxy.until_serving(self.backends.len(), false).await?;
        }
        self.measured(&until, "after a restart of each", &[0, 1, 2]).await;
        until.stop();
        self.report_all("restarted one by one, all calls", &task.await?);
        Ok(())
    }

    /// Load of all kinds, until it is stopped.
    fn begin(&self, clients: &[Client]) -> (Arc<Until>, tokio::task::JoinHandle<Tally>) {
        let until = Until::calls(MANY);
        let (clients, limit) = (clients.to_vec(), Arc::clone(&until));
        (until, tokio::spawn(async move { load(&clients, &KINDS, &limit).await }))
    }

    /// Shares while the load goes on.
    async fn measured(&mut self, load: &Until, name: &str, serving: &[usize]) {
        // Those had their pick before the change.
        load.under_way_end().await;
        let before = self.calls();
        // What is measured.
        tokio::time::sleep(WHILE).await;
        let shares = self.shares(&before);
        let uneven = uneven(&shares, serving);
        self.is_good &= uneven <= UNEVEN;
        println!(
            "{name:<36} {:>7} {:>6} {:>20} {uneven:>5.1} %",
            shares.iter().sum::<usize>(),
            "",
            show(&shares)
        );
    }

    fn shares(&self, before: &[usize]) -> Vec<usize> {
        self.calls().iter().zip(before).map(|(now, before)| now - before).collect()
    }

    fn report(&mut self, name: &str, tally: &Tally, before: &[usize], serving: &[usize]) {
        let shares = self.shares(before);
        let uneven = uneven(&shares, serving);
        self.is_good &= uneven <= UNEVEN && tally.errors.is_empty();
        println!(
            "{name:<36} {:>7} {:>6} {:>20} {uneven:>5.1} % {:>8.0} {:>7.2} {:>7.2}",
            tally.took.len() + tally.errors.len(),
            tally.errors.len(),
            show(&shares),
            tally.rate(),
            tally.percentile(50),
            tally.percentile(99)
        );
        complain(tally);
    }

    fn report_all(&mut self, name: &str, tally: &Tally) {
        self.is_good &= tally.errors.is_empty();
        println!(
            "{name:<36} {:>7} {:>6} {:>20} {:>7} {:>8.0} {:>7.2} {:>7.2}",
            tally.took.len() + tally.errors.len(),
            tally.errors.len(),
            "",
            "",
            tally.rate(),
            tally.percentile(50),
            tally.percentile(99)
        );
        complain(tally);
    }
}

fn complain(tally: &Tally) {
    for error in tally.errors.iter().take(5) {
        println!("  {error}");
    }
}

fn show(shares: &[usize]) -> String {
    let words: Vec<String> = shares.iter().map(ToString::to_string).collect();
    words.join(" / ")
}

/// Fewer calls per server show nothing.
const LEAST: f64 = 20.0;

/// How far the worst share is from an equal one, in percent; whoever does not serve must have none.
fn uneven(shares: &[usize], serving: &[usize]) -> f64 {
    let equal = shares.iter().sum::<usize>() as f64 / serving.len() as f64;
    if equal < LEAST {
        // A load that stands still is no even one.
        return f64::INFINITY;
    }
    let off = shares.iter().enumerate().map(|(index, share)| {
        let due = if serving.contains(&index) { equal } else { 0.0 };
        (*share as f64 - due).abs() / equal * 100.0
    });
    off.fold(0.0, f64::max)
}
