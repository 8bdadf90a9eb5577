//! One measurement: a case's load against one proxy for a while.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::case::{Case, Spans, Traffic};
use crate::engine::World;
use crate::engine::client::PATIENCE;
use crate::engine::pace::Pace;
use crate::proxies::{Logs, Proxy};
use crate::receiver::Receiver;
use crate::{Outcome, machine, streams};

/// A client that has waited so long when the window ends (or since it began) has been forgotten by the proxy.
const FORGOTTEN: Duration = Duration::from_secs(2);

/// What one proxy did in one window.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measure {
    /// CPU time of the proxy per request (us) or per GB (ms).
    pub(crate) cost: f64,
    /// The part of it in user space.
    pub(crate) user: f64,
    /// Requests, messages or Gbit per second.
    pub(crate) rate: f64,
    /// Half of the exchanges took no longer, in us. 0 for bulk.
    pub(crate) p50: f64,
    /// 99 % of them, in us. 0 for bulk.
    pub(crate) p99: f64,
    /// Share of its core that the proxy used.
    pub(crate) share: f64,
    /// Share of the other core that load and origins used.
    pub(crate) load_share: f64,
    /// Resident memory after the window, in MB.
    pub(crate) rss: f64,
    /// Log lines that arrived, per request.
    pub(crate) logged: f64,
    /// Failed exchanges, warm-up included.
    pub(crate) errors: u64,
}

/// Runs the load against a proxy.
pub(crate) fn measure(
    case: &Case,
    world: &mut World,
    proxy: &Proxy,
    receiver: &Receiver,
    spans: Spans,
) -> Outcome<Measure> {
    match case.traffic {
        Traffic::Idle | Traffic::Parked => return idle(case, world, proxy),
        Traffic::Start => return started(world, proxy),
        Traffic::Streams(streams) | Traffic::Streams2(streams) => {
            return streams::measure((case, streams), world, proxy, spans);
        }
        Traffic::KeepAlive(_)
        | Traffic::Close(_)
        | Traffic::Paced(_)
        | Traffic::Bulk
        | Traffic::PingPong
        | Traffic::Session
        | Traffic::Headed => {}
    }
    let front = proxy.site.front();
    world.is_awake = case.is_awake;
    proxy.forget_lines()?;
    case.begin(world, front)?;
    let before = (world.shared.tally.errors, world.shared.tally.total, receiver.lines());
    let mut pace = case.pace(front);
    world.run(Instant::now() + spans.warm_up, pace.as_mut())?;
    world.shared.tally.begin();
    let (cpu, own) = (machine::cpu(proxy.pid())?, machine::own_cpu()?);
    let begun = Instant::now();
    watch(case, world, (begun, spans), pace.as_mut())?;
    let took = begun.elapsed().as_secs_f64();
    let cpu = machine::cpu(proxy.pid())?.since(cpu);
    let own = (machine::own_cpu()? - own).as_secs_f64();
    for _ in 0..forgotten(world, spans) {
        world.shared.tally.fail("no answer");
    }
    let work = work_of(case, world);
    let tally = &mut world.shared.tally;
    if work == 0.0 {
        let (name, proxy) = (&case.name, proxy.setup.name());
        let why = tally.first_error.clone().unwrap_or_default();
        return Err(format!("{name}: {proxy}: nothing got through: {why}").into());
    }
    let cost = cpu.total.as_secs_f64() / work * if case.is_bulk() { 1e3 } else { 1e6 };
    let (errors, total, lines) = before;
    let mut measure = Measure {
        cost,
        user: cost * cpu.user_share(),
        rate: work / took * if case.is_bulk() { 8.0 } else { 1.0 },
        p50: micros(tally.latency(50.0)),
        p99: micros(tally.latency(99.0)),
        share: cpu.total.as_secs_f64() / took,
        load_share: own / took,
        rss: float(machine::rss(proxy.pid())?) / 1e6,
        logged: 0.0,
        errors: tally.errors - errors,
    };
    world.end_clients();
    // The proxy closes what belonged to them, and the origins notice, before it is the other's turn.
    world.run(Instant::now() + spans.warm_up / 4, None)?;
    if proxy.setup.logs != Logs::Off {
        let requests = world.shared.tally.total - total;
        measure.logged =
            float(logged(world, (proxy, receiver), lines, requests)?) / float(requests.max(1));
    }
    Ok(measure)
}

/// Until the window is over and something got through: a very short one may pass while the machine gives the proxy no
/// time at all.
fn watch(
    case: &Case,
    world: &mut World,
    (begun, spans): (Instant, Spans),
    mut pace: Option<&mut Pace>,
) -> Outcome<()> {
    world.run(begun + spans.window, pace.as_deref_mut())?;
    while work_of(case, world) == 0.0 && begun.elapsed() < spans.window + PATIENCE {
        world.run(Instant::now() + spans.window, pace.as_deref_mut())?;
    }
    Ok(())
}

/// What got through in this window: GB, or requests.
fn work_of(case: &Case, world: &World) -> f64 {
    let tally = &world.shared.tally;
    if case.is_bulk() { float(tally.bytes) / 1e9 } else { float(tally.done) }
}

/// Lines about so many requests that have arrived; `before` are older. The last ones may be on their way.
fn logged(
    world: &mut World,
    (proxy, receiver): (&Proxy, &Receiver),
    before: u64,
    requests: u64,
) -> Outcome<u64> {
    let end = Instant::now() + LATE;
    loop {
        let lines = match proxy.setup.logs {
            Logs::Off | Logs::Udp => receiver.lines() - before,
            Logs::Stdout => proxy.lines()?,
        };
        if lines >= requests || Instant::now() > end {
            return Ok(lines);
        }
        world.run(Instant::now() + Duration::from_millis(20), None)?;
    }
}

/// A line that is not there by then is lost.
const LATE: Duration = Duration::from_secs(1);

/// Looks at the memory when the start is over.
fn started(world: &mut World, proxy: &Proxy) -> Outcome<Measure> {
    world.run(Instant::now() + AFTER_IDLE, None)?;
    let rss = float(machine::rss(proxy.pid())?) / 1e6;
    Ok(Measure { cost: rss, rss, ..Measure::default() })
}

/// Opens the connections, one request on each, and looks at the memory.
fn idle(case: &Case, world: &mut World, proxy: &Proxy) -> Outcome<Measure> {
    let errors = world.shared.tally.errors;
    let front = proxy.site.front();
    // What the first connections bring with them is not theirs.
    Case { clients: WARM, ..case.clone() }.begin(world, front)?;
    settle(world, WARM)?;
    let before = machine::rss(proxy.pid())?;
    let all = WARM + case.clients;
    for begun in (WARM..all).step_by(WAVE) {
        let clients = WAVE.min(all - begun);
        Case { clients, ..case.clone() }.begin(world, front)?;
        settle(world, begun + clients)?;
    }
    let after = machine::rss(proxy.pid())?;
    world.end_clients();
    world.run(Instant::now() + AFTER_IDLE, None)?;
    let connections = float(u64::try_from(case.clients)?);
    Ok(Measure {
        cost: (float(after) - float(before)) / 1e3 / connections,
        rss: float(after) / 1e6,
        errors: world.shared.tally.errors - errors,
        ..Measure::default()
    })
}

/// Connections before the ones that are counted.
const WARM: usize = 64;

/// Connections that are opened at once.
const WAVE: usize = 100;

/// Until a proxy has closed its connections, or has nothing to do after its start.
const AFTER_IDLE: Duration = Duration::from_millis(500);

/// Until so many clients have their answer.
fn settle(world: &mut World, clients: usize) -> Outcome<()> {
    let end = Instant::now() + PATIENCE;
    while world.busy() > 0 {
        world.run(Instant::now() + Duration::from_millis(2), None)?;
        if Instant::now() > end {
            return Err(format!("{} of {clients} connections without answer", world.busy()).into());
        }
    }
    if world.clients() == clients {
        return Ok(());
    }
    let why = world.shared.tally.first_error.clone().unwrap_or_default();
    Err(format!("{} of {clients} connections are left: {why}", world.clients()).into())
}

/// Clients that wait in vain.
fn forgotten(world: &World, spans: Spans) -> usize {
    let patience = PATIENCE.min(spans.window).max(FORGOTTEN);
    Instant::now().checked_sub(patience).map_or(0, |since| world.stalled(since))
}

impl Measure {
    /// The part of its CPU time in the kernel.
    pub(crate) fn kernel(&self) -> f64 {
        self.cost - self.user
    }

    /// For the results.
    pub(crate) fn json(&self) -> Value {
        json!({
            "cost": round(self.cost), "user": round(self.user), "kernel": round(self.kernel()),
            "rate": round(self.rate), "p50_us": round(self.p50), "p99_us": round(self.p99),
            "proxy_core_share": round(self.share), "load_core_share": round(self.load_share),
            "rss_mb": round(self.rss), "log_lines_per_request": round(self.logged), "errors": self.errors
        })
    }
}

/// Three decimals are more than anything here means.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// For arithmetic with counts.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// For people.
pub(crate) fn micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}
