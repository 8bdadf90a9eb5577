//! HTTP/2: many requests at a time on few connections. The load is nghttp2's `h2load`, the origins are the bench's own.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::case::{Case, Spans};
use crate::engine::World;
use crate::measure::{Measure, float};
use crate::proxies::Proxy;
use crate::{Outcome, machine};

/// How often the load is asked whether it has ended; the origins answer all the time.
const STEP: Duration = Duration::from_millis(5);

/// What `h2load` says at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Report {
    succeeded: u64,
    /// Failed, broken off, not answered with 2xx.
    failed: u64,
}

/// So many streams at a time on each of the case's connections.
pub(crate) fn measure(
    (case, streams): (&Case, u16),
    world: &mut World,
    proxy: &Proxy,
    spans: Spans,
) -> Outcome<Measure> {
    run(world, &mut load(case, streams, proxy, spans.warm_up)?)?;
    let (cpu, own) = (machine::cpu(proxy.pid())?, machine::own_cpu()?);
    let begun = Instant::now();
    let report = run(world, &mut load(case, streams, proxy, spans.window)?)?;
    let took = begun.elapsed().as_secs_f64();
    let cpu = machine::cpu(proxy.pid())?.since(cpu);
    let own = (machine::own_cpu()? - own).as_secs_f64();
    if report.succeeded == 0 {
        return Err(format!("{}: {}: nothing got through", case.name, proxy.setup.name()).into());
    }
    let cost = cpu.total.as_secs_f64() / float(report.succeeded) * 1e6;
    Ok(Measure {
        cost,
        user: cost * cpu.user_share(),
        rate: float(report.succeeded) / took,
        share: cpu.total.as_secs_f64() / took,
        load_share: own / took,
        rss: float(machine::rss(proxy.pid())?) / 1e6,
        errors: report.failed,
        ..Measure::default()
    })
}

fn load(case: &Case, streams: u16, proxy: &Proxy, time: Duration) -> Outcome<Child> {
    // It takes whole seconds only.
    let seconds = time.as_secs().max(1).to_string();
    let url = format!("http://{}/", proxy.site.front());
    let (clients, streams) = (case.clients.to_string(), streams.to_string());
    let args = ["-t", "1", "-D", &seconds, "-c", &clients, "-m", &streams, &url];
    let child =
        Command::new("h2load").args(args).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    Ok(child.map_err(|e| format!("h2load (package nghttp2-client): {e}"))?)
}

/// Lets the origins answer until the load has ended.
fn run(world: &mut World, load: &mut Child) -> Outcome<Report> {
    let status = loop {
        world.run(Instant::now() + STEP, None)?;
        if let Some(status) = load.try_wait()? {
            break status;
        }
    };
    let mut text = String::new();
    if let Some(out) = &mut load.stdout {
        out.read_to_string(&mut text)?;
    }
    match report(&text) {
        Some(report) if status.success() => Ok(report),
        _ => Err(format!("h2load: {status}: {text}").into()),
    }
}

/// `requests: 9 total, 9 started, 9 done, 9 succeeded, 0 failed, 0 errored, 0 timeout`.
fn report(text: &str) -> Option<Report> {
    let line = text.lines().find_map(|line| line.strip_prefix("requests: "))?;
    let of = |word: &str| {
        let part = line.split(", ").find_map(|part| part.strip_suffix(word))?;
        part.trim().parse::<u64>().ok()
    };
    Some(Report {
        succeeded: of("succeeded")?,
        failed: of("failed")? + of("errored")? + of("timeout")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_read() {
        let text = "finished in 1.00s, 9.00 req/s\nrequests: 11 total, 11 started, 10 done, 9 succeeded, 1 failed, 2 errored, 3 timeout\nstatus codes: 9 2xx\n";
        assert_eq!(report(text), Some(Report { succeeded: 9, failed: 6 }));
        assert_eq!(report("requests: none"), None);
    }
}
