//! Somebody who looks at the nodes all the time, through a client of its own at a member that works.
//!
//! A sample says of each place whether a node of ours stands in it. Samples that cannot be taken (the member dies at that
//! moment, nobody has a quorum) say nothing. Foreign nodes are known by their `czxid`, which no other node ever has, so one
//! that is deleted and made anew is missed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use zookeeper_client::{Client, Error};

use super::PATIENCE;
use crate::support::wait::eventually;

/// Pause between two looks.
const EVERY: Duration = Duration::from_millis(5);
/// A look that takes longer is given up.
const LOOK: Duration = Duration::from_millis(500);

/// Where a node of ours stands, and what it says.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) path: String,
    pub(super) data: String,
}

/// A node as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) path: String,
    pub(super) data: String,
    pub(super) owner: i64,
    /// Different for every node that was ever created.
    pub(super) czxid: i64,
}

/// A look: it saw the state of some moment in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) from: Instant,
    pub(super) to: Instant,
}

/// No node of ours stood in a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Absence {
    /// Index of the place.
    pub(super) place: usize,
    /// Which look says so.
    pub(super) look: Look,
    /// The first of the looks in a row that said so.
    pub(super) first: Look,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Looks that succeeded.
    pub(super) samples: usize,
    /// The longest time between two of them.
    pub(super) longest_gap: Duration,
    /// In the order of the looks.
    pub(super) absent: Vec<Absence>,
    /// Foreign nodes that were missed.
    pub(super) lost: Vec<Sight>,
    last: Option<Look>,
}

impl Report {
    /// Fails when any node was ever absent, or the looks were too few to tell.
    pub(super) fn assert_never_absent(&self, at_least: usize) {
        println!("{} looks, longest gap {:?}", self.samples, self.longest_gap);
        assert!(self.samples >= at_least, "only {} looks", self.samples);
        let missed: Vec<_> = self.absent.iter().map(|absence| absence.place).collect();
        assert!(missed.is_empty(), "{} times absent: places {missed:?}", missed.len());
    }
}

#[derive(Debug)]
struct Shared {
    places: Vec<Place>,
    foreign: Vec<Sight>,
    /// One per member: it may be asked.
    healthy: Vec<AtomicBool>,
    report: Mutex<Report>,
}

impl Shared {
    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().expect("no panic")
    }

    fn take(&self, look: Look, seen: &[Sight]) {
        let mut report = self.report();
        report.samples += 1;
        let last = report.last.replace(look);
        if let Some(last) = last {
            report.longest_gap = report.longest_gap.max(look.from - last.from);
        }
        for (place, what) in self.places.iter().enumerate() {
            if !ours(seen, what, &self.foreign).is_empty() {
                continue;
            }
            let before = report.absent.iter().rev().find(|absence| absence.place == place);
            let first = match before {
                Some(before) if Some(before.look) == last => before.first,
                Some(_) | None => look,
            };
            report.absent.push(Absence { place, look, first });
        }
        for node in self.foreign.iter().filter(|node| !seen.contains(node)) {
            if !report.lost.contains(node) {
                report.lost.push(node.clone());
            }
        }
    }
}

/// The nodes of ours at a place: those that say what we say, but for the foreign ones.
pub(super) fn ours(seen: &[Sight], place: &Place, foreign: &[Sight]) -> Vec<Sight> {
    let is_below = |node: &Sight| node.path.rsplit_once('/').is_some_and(|(p, _)| p == place.path);
    seen.iter()
        .filter(|node| is_below(node) && node.data == place.data && !foreign.contains(node))
        .cloned()
        .collect()
}

/// Looks until it is asked for its report.
#[derive(Debug)]
pub(super) struct Witness {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Witness {
    /// Looks at `places` through these servers, all of which are healthy now; `foreign` must stay as they are.
    pub(super) fn start(servers: Vec<String>, places: Vec<Place>, foreign: Vec<Sight>) -> Self {
        let healthy = servers.iter().map(|_| AtomicBool::new(true)).collect();
        let shared = Arc::new(Shared { places, foreign, healthy, report: Mutex::default() });
        let task = tokio::spawn(look_on(Arc::clone(&shared), servers));
        Self { shared, task }
    }

    /// Says whether a member may be asked.
    pub(super) fn set_healthy(&self, member: usize, is_healthy: bool) {
        self.shared.healthy[member].store(is_healthy, Ordering::SeqCst);
    }

    /// Waits for so many more looks.
    pub(super) async fn looks(&self, more: usize) {
        let wanted = self.shared.report().samples + more;
        eventually("the witness looks", PATIENCE, || async {
            let samples = self.shared.report().samples;
            if samples >= wanted { Ok(()) } else { Err(samples) }
        })
        .await;
    }

    /// Waits until every place has a node in a look from now on.
    pub(super) async fn all_present(&self) {
        eventually("everything is registered", PATIENCE, || async {
            self.looks(1).await;
            let report = self.shared.report();
            let last = report.last.expect("it has looked");
            let missed: Vec<_> = report.absent.iter().filter(|a| a.look == last).collect();
            if missed.is_empty() { Ok(()) } else { Err(format!("{missed:?}")) }
        })
        .await;
    }

    /// Ends it.
    pub(super) fn end(self) -> Report {
        self.task.abort();
        std::mem::take(&mut *self.shared.report())
    }
}

async fn look_on(shared: Arc<Shared>, servers: Vec<String>) {
    let paths: Vec<String> = {
        let mut paths: Vec<_> = shared.places.iter().map(|place| place.path.clone()).collect();
        paths.sort();
        paths.dedup();
        paths
    };
    let mut clients: Vec<Option<Client>> = servers.iter().map(|_| None).collect();
    loop {
        sleep(EVERY).await;
        let healthy = shared.healthy.iter().position(|healthy| healthy.load(Ordering::SeqCst));
        let Some(member) = healthy else {
            continue;
        };
        let client = match clients[member].take() {
            Some(client) => client,
            None => match timeout(LOOK, connect(&servers[member])).await {
                Ok(Ok(client)) => client,
                Ok(Err(_)) | Err(_) => continue,
            },
        };
        let from = Instant::now();
        if let Ok(Ok(seen)) = timeout(LOOK, look(&client, &paths)).await {
            shared.take(Look { from, to: Instant::now() }, &seen);
            clients[member] = Some(client);
        }
    }
}

/// A session with one server.
pub(super) async fn connect(server: &str) -> Result<Client, Error> {
    Client::connector().with_session_timeout(Duration::from_secs(10)).connect(server).await
}

/// All nodes below these paths. A node that goes between the list and its data may have had its successor all the time, in
/// a place that was listed before: then the path is read again.
pub(super) async fn look(client: &Client, paths: &[String]) -> Result<Vec<Sight>, Error> {
    let mut seen = Vec::new();
    for path in paths {
        let mut below = None;
        while below.is_none() {
            below = look_below(client, path).await?;
        }
        seen.extend(below.unwrap_or_default());
    }
    Ok(seen)
}

/// `None`: a node of the list was gone when its data were read.
async fn look_below(client: &Client, path: &str) -> Result<Option<Vec<Sight>>, Error> {
    let names = match client.list_children(path).await {
        Ok(names) => names,
        Err(Error::NoNode) => return Ok(Some(Vec::new())),
        Err(error) => return Err(error),
    };
    let mut seen = Vec::new();
    for name in names {
        let path = format!("{path}/{name}");
        match client.get_data(&path).await {
            Ok((data, stat)) => seen.push(Sight {
                path,
                data: String::from_utf8_lossy(&data).into_owned(),
                owner: stat.ephemeral_owner,
                czxid: stat.czxid,
            }),
            Err(Error::NoNode) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(seen))
}
