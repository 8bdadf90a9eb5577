//! All rows, and the promises of issues 5 (HTTP) and 6 (TCP).

use crate::case::{Case, Entrant, Goals, Traffic};
use crate::engine::http::Exchange;
use crate::proxies::{Kind, Logs, Setup};

/// 16 kB there, 128 bytes back.
pub(crate) const POST_16K: Exchange = Exchange { request: 16 << 10, answer: 128 };

/// Idle connections need room on both sides of a proxy.
const MANY_CONNECTIONS: u32 = 6_000;

/// CPU of synapse beside Envoy's, where it is to be below nginx's: below a third.
const BESIDE_ENVOY: f64 = 1.0 / 3.0;

/// CPU with logs beside CPU without.
const LOGS_COST: f64 = 1.10;

/// CPU of two workers that share two cores with the load beside that of one.
const TWO_WORKERS_COST: f64 = 1.15;

/// Memory after a start with 20 services, in MB.
const START_COST: f64 = 12.0;

/// Memory of an idle HTTP connection, in kB.
const IDLE_COST: f64 = 2.5;

/// Memory of an idle TCP session, in kB.
const PARKED_COST: f64 = 3.0;

/// CPU per GB beside haproxy's when that copies, as it does without `option splice-auto`.
const BULK_COST: f64 = 0.30;

/// The same when it splices, too.
const SPLICED_COST: f64 = 0.65;

impl Goals {
    const NONE: Self = Self { cost: None, rate: None, p50: None, p99: None, is_below_nginx: false };

    const fn cost(cost: f64) -> Self {
        Self { cost: Some(cost), ..Self::NONE }
    }

    /// What synapse's CPU may be beside `peer`'s.
    fn beside(&self, peer: Kind) -> Option<f64> {
        match peer {
            Kind::Haproxy => self.cost,
            Kind::Nginx => self.is_below_nginx.then_some(1.0),
            Kind::Envoy => self.is_below_nginx.then_some(BESIDE_ENVOY),
            Kind::Synapse | Kind::Before | Kind::Pingora => None,
        }
    }
}

/// What is promised about HTTP, beside haproxy's CPU: less than nginx's.
const BELOW_NGINX: Goals = Goals { is_below_nginx: true, ..Goals::NONE };

/// Name, clients, traffic, goals.
type Row = (&'static str, usize, Traffic, Goals);

const ROWS: &[Row] = &[
    ("http_keepalive_1", 1, Traffic::KeepAlive(Exchange::SMALL), BELOW_NGINX),
    (
        "http_keepalive_32",
        32,
        Traffic::KeepAlive(Exchange::SMALL),
        Goals { cost: Some(0.92), rate: Some(1.05), ..BELOW_NGINX },
    ),
    (
        "http_keepalive_256",
        256,
        Traffic::KeepAlive(Exchange::SMALL),
        Goals { cost: Some(0.82), rate: Some(1.20), ..BELOW_NGINX },
    ),
    ("http_close_32", 32, Traffic::Close(Exchange::SMALL), Goals::cost(1.05)),
    ("http_post_16k", 32, Traffic::KeepAlive(POST_16K), Goals { cost: Some(0.50), ..BELOW_NGINX }),
    (
        "http_body_16k",
        32,
        Traffic::KeepAlive(Exchange::get(16 << 10)),
        Goals { cost: Some(0.90), ..BELOW_NGINX },
    ),
    (
        "http_body_256k",
        32,
        Traffic::KeepAlive(Exchange::get(256 << 10)),
        Goals { cost: Some(0.75), ..BELOW_NGINX },
    ),
    (
        "http_paced_4000",
        32,
        Traffic::Paced(4_000),
        Goals { p50: Some(1.10), p99: Some(1.25), ..BELOW_NGINX },
    ),
    ("tcp_bulk_1", 1, Traffic::Bulk, Goals::cost(BULK_COST)),
    ("tcp_bulk_8", 8, Traffic::Bulk, Goals::cost(BULK_COST)),
    ("tcp_pingpong_32", 32, Traffic::PingPong, Goals::cost(1.0)),
    ("tcp_close_32", 32, Traffic::Session, Goals::cost(1.0)),
];

/// All rows, beside these peers; with logs, each HTTP row once more for each kind of log.
pub(crate) fn cases(peers: &[Kind], logs: &[Logs]) -> Vec<Case> {
    let mut cases: Vec<Case> = ROWS.iter().map(|row| case(row, peers)).collect();
    let http = || ROWS.iter().filter(|(_, _, traffic, _)| traffic.mode() == "http");
    cases.extend(special(peers));
    for logs in logs {
        cases.extend(http().map(|row| logged(row, *logs, peers)));
    }
    cases
}

/// A row with everything as usual.
fn case(&(name, clients, traffic, goals): &Row, peers: &[Kind]) -> Case {
    let mut case = Case {
        name: name.to_owned(),
        traffic,
        clients,
        entrants: vec![Entrant { setup: Setup::of(Kind::Synapse), goal: None }],
        goals,
        is_awake: false,
    };
    let peers = peers.iter().filter(|kind| kind.can(traffic.mode()));
    case.entrants.extend(
        peers.clone().map(|kind| Entrant { setup: Setup::of(*kind), goal: goals.beside(*kind) }),
    );
    if traffic == Traffic::Bulk {
        let splicing = peers.filter(|kind| **kind == Kind::Haproxy).map(|kind| Entrant {
            setup: Setup { may_splice: true, ..Setup::of(*kind) },
            goal: Some(SPLICED_COST),
        });
        case.entrants.extend(splicing);
    }
    case
}

/// The same with access logs, and what they cost. Only haproxy logs as we do.
fn logged(row: &Row, logs: Logs, peers: &[Kind]) -> Case {
    let mut case = case(row, peers);
    case.name.push_str(logs.suffix());
    case.entrants.retain(is_configured_alike);
    // A proxy that is a tenth slower leaves the load time to sleep, and pays for waking it: that is not the log's cost.
    case.is_awake = case.is_saturating();
    for entrant in &mut case.entrants {
        entrant.setup.logs = logs;
    }
    // At a low rate a wake-up more or less decides, not the log.
    let goal = case.is_saturating().then_some(LOGS_COST);
    case.entrants.push(Entrant { setup: Setup::of(Kind::Synapse), goal });
    case
}

/// It understands the same lines as synapse.
fn is_configured_alike(entrant: &Entrant) -> bool {
    matches!(entrant.setup.kind, Kind::Synapse | Kind::Before | Kind::Haproxy)
}

/// The rows that are about something else than traffic.
fn special(peers: &[Kind]) -> Vec<Case> {
    let small = |name, clients, traffic| (name, clients, traffic, Goals::NONE);
    let keep_alive = Traffic::KeepAlive(Exchange::SMALL);
    let mut idle = case(&small("idle_5000", 5_000, Traffic::Idle), peers);
    for entrant in &mut idle.entrants {
        entrant.goal = (entrant.setup.kind == Kind::Synapse).then_some(IDLE_COST);
        entrant.setup.max_connections = MANY_CONNECTIONS;
    }
    let mut parked = case(&small("idle_tcp_4000", 4_000, Traffic::Parked), peers);
    for entrant in &mut parked.entrants {
        entrant.goal = (entrant.setup.kind == Kind::Synapse).then_some(PARKED_COST);
        entrant.setup.max_connections = MANY_CONNECTIONS;
    }
    let mut start = case(&small("start_20", 1, Traffic::Start), peers);
    start.entrants.retain(is_configured_alike);
    for entrant in &mut start.entrants {
        entrant.goal = (entrant.setup.kind == Kind::Synapse).then_some(START_COST);
        entrant.setup.services = 20;
    }
    let mut many = case(&small("many_backends_1000", 32, keep_alive), peers);
    let usual = many.entrants.clone();
    for entrant in &mut many.entrants {
        entrant.setup.backends = 1_000;
    }
    many.entrants.extend(
        usual.iter().filter(|e| is_configured_alike(e)).map(|e| Entrant { goal: None, ..*e }),
    );
    for entrant in &mut many.entrants {
        entrant.goal = None;
    }
    let mut streams = case(&small("h2_streams_8x16", 8, Traffic::Streams(16)), peers);
    alike(&mut streams, "", "");
    let mut streams2 = case(&small("h2_both_8x16", 8, Traffic::Streams2(16)), peers);
    alike(&mut streams2, "", "proto h2");
    let mut queue = case(&small("http_queue_64", 64, keep_alive), peers);
    alike(&mut queue, "", "maxconn 4");
    let mut headed = case(&small("tcp_proxy_32", 32, Traffic::Headed), peers);
    alike(&mut headed, "accept-proxy", "send-proxy-v2");
    let two = [
        ("two_workers_32", 32, keep_alive),
        ("two_workers_256", 256, keep_alive),
        ("two_workers_paced_4000", 32, Traffic::Paced(4_000)),
    ];
    let two = two.map(|(name, clients, traffic)| {
        two_workers(case(&small(name, clients, traffic), &[]), peers)
    });
    let mut all = vec![idle, parked, start, many, streams, streams2, queue, headed];
    all.extend(two);
    all
}

/// The same options for those who understand them.
fn alike(case: &mut Case, bind_options: &'static str, server_options: &'static str) {
    case.entrants.retain(is_configured_alike);
    for entrant in &mut case.entrants {
        entrant.goal = None;
        entrant.setup = Setup { bind_options, server_options, ..entrant.setup };
    }
}

/// Two workers, then one, both free to run on either core; and haproxy's threads, to know what the machine makes of it.
fn two_workers(mut two: Case, peers: &[Kind]) -> Case {
    let free = |kind, workers| Setup { is_pinned: false, workers, ..Setup::of(kind) };
    // At a low rate wake-ups decide.
    let goal = two.is_saturating().then_some(TWO_WORKERS_COST);
    two.entrants = vec![
        Entrant { setup: free(Kind::Synapse, 2), goal: None },
        Entrant { setup: free(Kind::Synapse, 1), goal },
    ];
    if peers.contains(&Kind::Haproxy) {
        let haproxy = [2, 1].map(|workers| free(Kind::Haproxy, workers));
        two.entrants.extend(haproxy.map(|setup| Entrant { setup, goal: None }));
    }
    two
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own_and_begins_with_synapse() {
        let all = cases(&[Kind::Haproxy, Kind::Nginx], &[Logs::Udp, Logs::Stdout]);
        let names: BTreeSet<&str> = all.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
        for case in &all {
            assert_eq!(case.entrants[0].setup.kind, Kind::Synapse, "{}", case.name);
            let names: BTreeSet<_> = case.entrants.iter().map(|e| e.setup.name()).collect();
            assert_eq!(names.len(), case.entrants.len(), "{names:?}");
        }
    }
}
