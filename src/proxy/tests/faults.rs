//! Panics, want of descriptors, a backend killed. What needs a process of its own runs this test binary again.

use std::io::BufRead;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::rig::{Client, Origin, Rig, Setup, until};
use crate::lb::PickContext;
use crate::lb::snapshot::{Member, Picker};
use crate::proxy::Mode;
use crate::proxy::accept::SHORTAGE_PAUSE;

/// Tells the copy of this binary that it is one.
const CHILD: &str = "SMARTSTACK_TEST_CHILD";

fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    command
}

/// Panics at every other pick.
#[derive(Debug, Default)]
struct Panicky(AtomicBool);

impl Picker for Panicky {
    fn pick(&self, _members: &[Member], _cx: PickContext<'_>) -> Option<usize> {
        assert!(self.0.fetch_xor(true, Ordering::SeqCst), "on purpose");
        Some(0)
    }
}

#[tokio::test]
async fn a_panic_ends_one_connection_only() {
    for mode in [Mode::Tcp, Mode::Http] {
        let origin = Origin::echo("a").await;
        let mut setup = Setup::new(mode, &[origin.addr]);
        setup.picker = Some(Box::new(Panicky::default()));
        let rig = setup.start().await;
        let mut first = rig.client().await;
        first.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
        first.rest().await;
        assert_eq!(rig.client().await.get("/").await.status, 200);
        assert_eq!(rig.workers().panics(), 1);
        until("closed", || rig.workers().open_connections() == 0).await;
    }
}

#[test]
fn want_of_descriptors_pauses_and_recovers() {
    if std::env::var_os(CHILD).is_some() {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(starve());
    } else {
        let test = "proxy::tests::faults::want_of_descriptors_pauses_and_recovers";
        let output = child(test).output().unwrap();
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

async fn starve() {
    let origin = Origin::echo("a").await;
    let rig = Rig::http(&[origin.addr]).await;
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = Some(256);
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    let mut plugs = Vec::new();
    while let Ok(plug) = std::fs::File::open("/dev/null") {
        plugs.push(plug);
    }
    plugs.pop();
    // The kernel completes the connection; accepting it needs a descriptor more than there is.
    let mut client = rig.client().await;
    until("paused", || rig.workers().accept_pauses() >= 2).await;
    let pauses = rig.workers().accept_pauses();
    tokio::time::sleep(SHORTAGE_PAUSE * 3).await;
    let more = rig.workers().accept_pauses() - pauses;
    assert!((1..=5).contains(&more), "spinning or stuck: {more}");
    drop(plugs);
    assert_eq!(client.get("/").await.status, 200);
}

/// An origin in a process that can be killed.
struct Process(Child, SocketAddr);

impl Process {
    fn start() -> Self {
        let test = "proxy::tests::faults::a_killed_backend_fails_no_get";
        let mut child = child(test).stdout(Stdio::piped()).spawn().unwrap();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let addr = lines
            .map(Result::unwrap)
            .find_map(|line| line.rsplit_once("origin at ")?.1.parse().ok())
            .unwrap();
        Self(child, addr)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// 500 requests a second, half on kept connections, half each on its own; one of three backends is killed -9 under
/// them. The pool learns nothing: every later pick of the dead one must be mended on the spot.
#[test]
fn a_killed_backend_fails_no_get() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if std::env::var_os(CHILD).is_some() {
        runtime.block_on(async {
            let origin = Origin::echo("a").await;
            println!("origin at {}", origin.addr);
            std::future::pending::<()>().await;
        });
    }
    let mut origins: Vec<_> = (0..3).map(|_| Process::start()).collect();
    let addrs: Vec<_> = origins.iter().map(|p| p.1).collect();
    runtime.block_on(async {
        let mut setup = Setup::new(Mode::Http, &addrs);
        setup.workers = 2;
        let rig = setup.start().await;
        let done = Arc::new(AtomicUsize::new(0));
        let mut users = tokio::task::JoinSet::new();
        for user in 0..10 {
            users.spawn(load(rig.addr, user % 2 == 0, Arc::clone(&done)));
        }
        until("half", || done.load(Ordering::SeqCst) > 250).await;
        drop(origins.pop());
        let results = users.join_all().await;
        assert_eq!(results.iter().sum::<usize>(), 0, "failed requests");
        assert_eq!(done.load(Ordering::SeqCst), 500);
        assert_eq!(rig.in_flight(), 0);
    });
}

/// 50 requests in a second; how many failed.
async fn load(addr: SocketAddr, keep: bool, done: Arc<AtomicUsize>) -> usize {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let connect = || async {
        let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
        Client(stream, Vec::new())
    };
    let mut client = connect().await;
    let mut failed = 0;
    for _ in 0..50 {
        tick.tick().await;
        if !keep {
            client = connect().await;
        }
        let answer = client.get("/").await;
        if answer.status != 200 {
            println!("{answer:?}");
            failed += 1;
        }
        done.fetch_add(1, Ordering::SeqCst);
    }
    failed
}
