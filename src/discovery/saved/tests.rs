//! The file against damage of every kind, and the decorator against sources of every mood.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::format::{Refusal, checksum, decode, encode, millis_of};
use super::name::file_name;
use super::*;
use crate::discovery::{
    Decode, FileSourceSettings, GeneratorSource, MembershipPolicy, ZooKeeperSourceSettings,
};
use crate::disk;
use crate::endpoint::Endpoint;

fn service() -> ServiceName {
    ServiceName::new("search.main")
}

fn zookeeper(path: &str) -> SourceSettings {
    SourceSettings::ZooKeeper(ZooKeeperSourceSettings {
        ensemble: "zk1:2181".into(),
        path: path.into(),
        decode: Decode::Nerve,
        generator: GeneratorSource::Parent,
        jitter: Duration::ZERO,
    })
}

fn source() -> SourceIdentity {
    SourceIdentity::of(&zookeeper("/services/search")).unwrap()
}

fn set(hosts: &[&str]) -> EndpointSet {
    hosts.iter().map(|host| Endpoint::new(*host, 80)).collect()
}

fn record(hosts: &[&str]) -> Record {
    Record {
        service: service(),
        source: source(),
        said: Said::Known,
        confirmed_at: UNIX_EPOCH + Duration::from_millis(1_795_417_906_123),
        zxid: Some(0x1_0000_002f),
        generator: None,
        endpoints: set(hosts),
    }
}

fn refusal(bytes: &[u8]) -> Refusal {
    decode(bytes, &service(), &source()).unwrap_err()
}

/// The bytes of a document whose checksum is right, whatever stands in it.
fn sealed(document: &Value) -> Vec<u8> {
    let text = document.to_string();
    let rest = format!("{}\n", text.strip_prefix('{').unwrap());
    format!("{{\"checksum\":\"{:016x}\",{rest}", checksum(rest.as_bytes())).into_bytes()
}

fn document(hosts: &[&str]) -> Value {
    let mut value: Value = serde_json::from_slice(&encode(&record(hosts)).unwrap()).unwrap();
    value.as_object_mut().unwrap().shift_remove("checksum");
    value
}

#[test]
fn the_file_is_one_json_document_with_everything_in_it() {
    let bytes = encode(&record(&["10.0.0.1"])).unwrap();
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(value["version"], 1);
    assert_eq!(value["service"], "search.main");
    assert_eq!(value["source"]["path"], "/services/search");
    assert_eq!(value["said"], "known");
    assert_eq!(value["confirmed_at_ms"], 1_795_417_906_123_u64);
    assert_eq!(value["zxid"], 0x1_0000_002f_i64);
    assert_eq!(value["endpoints"], json!([{"host": "10.0.0.1", "port": 80}]));
    assert!(bytes.ends_with(b"\n"));
}

#[test]
fn the_checksum_is_fnv_1a() {
    // The published vectors.
    assert_eq!(checksum(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(checksum(b"a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(checksum(b"foobar"), 0x8594_4171_f739_67e8);
}

#[test]
fn a_file_with_any_byte_changed_is_refused() {
    let bytes = encode(&record(&["10.0.0.1", "10.0.0.2"])).unwrap();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x20, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            assert_eq!(refusal(&damaged).label(), "corrupt", "byte {at} ^ {flip}");
        }
    }
}

#[test]
fn a_torn_or_lengthened_file_is_refused() {
    let bytes = encode(&record(&["10.0.0.1"])).unwrap();
    for length in 0..bytes.len() {
        assert_eq!(refusal(&bytes[..length]).label(), "corrupt", "{length}");
    }
    let twice = [bytes.clone(), bytes.clone()].concat();
    assert!(matches!(refusal(&twice), Refusal::Checksum));
    assert!(matches!(refusal(&vec![0; bytes.len()]), Refusal::NoChecksum));
}

#[test]
fn a_file_of_another_service_or_source_is_foreign() {
    let bytes = encode(&record(&["a"])).unwrap();
    let other = ServiceName::new("search.other");
    let error = decode(&bytes, &other, &source()).unwrap_err();
    assert_eq!(error.label(), "foreign");
    assert_eq!(error.to_string(), "it belongs to service \"search.main\"");
    let file = SourceSettings::File(FileSourceSettings {
        path: "/services/search".into(),
        poll_interval: Duration::ZERO,
    });
    for elsewhere in [zookeeper("/services/search2"), file] {
        let elsewhere = SourceIdentity::of(&elsewhere).unwrap();
        let error = decode(&bytes, &service(), &elsewhere).unwrap_err();
        assert_eq!(error.label(), "foreign");
    }
}

#[test]
fn a_newer_version_is_refused_and_unknown_fields_are_not() {
    let mut newer = document(&["a"]);
    newer["version"] = json!(2);
    assert!(matches!(refusal(&sealed(&newer)), Refusal::Version(2)));
    let mut more = document(&["a"]);
    more["mood"] = json!({"good": true});
    more["source"]["colour"] = json!("blue");
    more["endpoints"][0]["zone"] = json!("a");
    let read = decode(&sealed(&more), &service(), &source()).unwrap();
    assert_eq!(read.endpoints.len(), 1);
}

#[test]
fn a_sealed_document_that_makes_no_sense_is_refused_whole() {
    let changes: [fn(&mut Value); 8] = [
        |d| d["version"] = json!(0),
        |d| d["version"] = json!("1"),
        |d| d["said"] = json!("perhaps"),
        |d| d["endpoints"] = json!([]),
        |d| d["endpoints"] = json!({}),
        |d| d["endpoints"][1]["port"] = json!(0),
        |d| d["endpoints"][1] = json!("10.0.0.1:80"),
        |d| d["confirmed_at_ms"] = json!(-1),
    ];
    for (at, change) in changes.iter().enumerate() {
        let mut broken = document(&["a", "b"]);
        change(&mut broken);
        let error = refusal(&sealed(&broken));
        assert!(matches!(error.label(), "corrupt" | "version"), "{at}: {error}");
    }
    let mut late = document(&["a"]);
    late["confirmed_at_ms"] = json!(u64::MAX);
    drop(decode(&sealed(&late), &service(), &source()));
}

#[test]
fn what_is_not_text_or_far_too_large_is_refused() {
    let rest = b"\"version\":1,\"service\":\"\xff\xfe\"}\n";
    let mut bytes = format!("{{\"checksum\":\"{:016x}\",", checksum(rest)).into_bytes();
    bytes.extend_from_slice(rest);
    assert!(matches!(refusal(&bytes), Refusal::Invalid(_)));
    let huge = vec![b' '; format::MAX_BYTES + 1];
    assert!(matches!(refusal(&huge), Refusal::TooLarge));
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let deep = (0..200).fold(json!(1), |inside, _| json!([inside]));
    let mut poisoned = record(&["a"]);
    let endpoint =
        Endpoint { labels: Arc::new([("deep".to_owned(), deep)].into()), ..Endpoint::new("a", 80) };
    poisoned.endpoints = EndpointSet::new([endpoint]);
    assert!(matches!(encode(&poisoned), Err(Refusal::Invalid(_))));
}

fn some_endpoint() -> impl Strategy<Value = Endpoint> {
    let text = proptest::option::of("[ -~äß世]{1,12}").prop_map(|t| t.map(Arc::from));
    let label = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        proptest::collection::vec(any::<u8>(), 0..3).prop_map(|v| json!({"list": v})),
    ];
    (
        ("[!-.0-~]{1,40}", 1_u16.., text.clone(), text),
        any::<(Option<u64>, Option<u64>)>(),
        proptest::collection::btree_map(any::<String>(), label, 0..4),
        proptest::option::of(1_u32..),
    )
        .prop_map(|((host, port, name, server_options), (id, weight), labels, server_id)| {
            Endpoint {
                name,
                id,
                weight,
                server_options,
                labels: Arc::new(labels),
                server_id,
                ..Endpoint::new(host, port)
            }
        })
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(
        endpoints in proptest::collection::vec(some_endpoint(), 1..8),
        service in ".{1,40}", path in ".{0,40}", generator in proptest::option::of(any::<String>()),
        zxid in any::<Option<i64>>(), said in 0..3_usize, at in 0..4_000_000_000_000_u64,
    ) {
        let written = Record {
            service: ServiceName::new(service.as_str()),
            source: SourceIdentity::of(&zookeeper(&path)).unwrap(),
            said: [Said::Known, Said::Empty, Said::Missing][said],
            confirmed_at: UNIX_EPOCH + Duration::from_millis(at),
            zxid,
            generator: generator.map(Arc::from),
            endpoints: EndpointSet::new(endpoints),
        };
        let bytes = encode(&written).unwrap();
        let read = decode(&bytes, &written.service, &written.source).unwrap();
        prop_assert_eq!(read.endpoints.as_slice(), written.endpoints.as_slice());
        prop_assert_eq!((read.said, read.zxid, read.generator), (written.said, written.zxid, written.generator));
        prop_assert_eq!(millis_of(read.confirmed_at), at);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), seal in any::<bool>()) {
        let bytes = if seal {
            let mut sealed = format!("{{\"checksum\":\"{:016x}\",", checksum(&bytes)).into_bytes();
            sealed.extend_from_slice(&bytes);
            sealed
        } else {
            bytes
        };
        prop_assert!(decode(&bytes, &service(), &source()).is_err());
    }
}

/// A directory for one test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        let name = format!("smartstack-saved-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join(file_name(service().as_str()))
    }

    fn put(&self, record: &Record) {
        std::fs::write(self.file(), encode(record).unwrap()).unwrap();
    }

    fn on_disk(&self) -> Option<Record> {
        let bytes = std::fs::read(self.file()).ok()?;
        Some(decode(&bytes, &service(), &source()).unwrap())
    }

    fn store(&self) -> Arc<Store> {
        Store::open(self.0.clone(), None).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
fn a_crash_before_the_rename_leaves_the_old_file() {
    let dir = Dir::new();
    dir.put(&record(&["old"]));
    let aside =
        disk::write_aside(&dir.0, &encode(&record(&["new"])).unwrap(), disk::PUBLIC).unwrap();
    assert_eq!(dir.on_disk().unwrap().endpoints.as_slice()[0].host.as_ref(), "old");
    // The next start removes it once it is surely abandoned, and nothing else.
    let _store = dir.store();
    assert!(aside.exists(), "perhaps somebody is writing it");
    let file = std::fs::File::options().write(true).open(&aside).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    let _store = dir.store();
    assert!(!aside.exists());
    assert!(dir.on_disk().is_some());
}

#[tokio::test]
async fn what_is_no_file_is_refused_without_waiting() {
    let dir = Dir::new();
    std::fs::create_dir(dir.file()).unwrap();
    assert!(dir.store().load(&service(), &source()).is_none());
    std::fs::remove_dir(dir.file()).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.file(),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    assert!(dir.store().load(&service(), &source()).is_none());
}

#[tokio::test]
async fn the_originals_state_is_used_only_without_a_file_of_our_own() {
    let dir = Dir::new();
    let path = dir.0.join("synapse-state.json");
    let now = millis_of(SystemTime::now()) / 1000;
    let entry = json!({"host": "seeded", "port": 80, "timestamp": now});
    std::fs::write(&path, json!({"search.main": {"x": entry}}).to_string()).unwrap();
    let seed = SeedFile { path: path.clone(), ttl: Duration::from_secs(60) };
    let open = || Store::open(dir.0.clone(), Some(&seed)).unwrap();
    let (seeded, memory) = open().load(&service(), &source()).unwrap();
    assert_eq!(memory, Memory::SynapseStateFile);
    assert_eq!(&*seeded.endpoints.as_slice()[0].host, "seeded");
    dir.put(&record(&["own"]));
    let (own, memory) = open().load(&service(), &source()).unwrap();
    assert_eq!((memory, own.endpoints.len()), (Memory::Own, 1));
    assert_eq!(&*own.endpoints.as_slice()[0].host, "own");
    assert!(path.exists());
}

/// A source that says what the test says.
struct Scripted(watch::Sender<Option<Membership>>);

impl Scripted {
    fn source(&self) -> Box<dyn Discovery> {
        Box::new(ScriptedSource(self.0.subscribe()))
    }

    fn says(&self, membership: Membership) {
        self.0.send_replace(Some(membership));
    }
}

struct ScriptedSource(watch::Receiver<Option<Membership>>);

impl Discovery for ScriptedSource {
    fn run(
        mut self: Box<Self>,
        out: watch::Sender<Discovered>,
        stop: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        use crate::discovery::publish::{Publisher, Reading};
        let publisher = Publisher::new(out);
        Box::pin(async move {
            loop {
                let word = self.0.borrow_and_update().clone();
                if let Some(word) = word {
                    publisher.members(Reading::new(word));
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = self.0.changed() => changed.unwrap(),
                }
            }
        })
    }
}

/// A running source with a memory.
struct Bench {
    script: Scripted,
    seen: watch::Receiver<Discovered>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Bench {
    async fn start(dir: &Dir, policy: MembershipPolicy) -> Self {
        let script = Scripted(watch::Sender::new(None));
        let settings =
            SavedSettings::new(&service(), &zookeeper("/services/search"), &policy).unwrap();
        let known = LastKnown::load(dir.store(), settings);
        let (out, seen) = watch::channel(Discovered::default());
        let stop = CancellationToken::new();
        let running = tokio::spawn(known.around(script.source()).run(out, stop.clone()));
        Self { script, seen, stop, running }
    }

    async fn until(&mut self, wanted: impl FnMut(&Discovered) -> bool) -> Discovered {
        let found = tokio::time::timeout(Duration::from_secs(60), self.seen.wait_for(wanted)).await;
        found.unwrap().unwrap().clone()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

fn keeping() -> MembershipPolicy {
    MembershipPolicy { use_previous_backends: true, ..MembershipPolicy::default() }
}

async fn until_on_disk(dir: &Dir, wanted: impl Fn(&Record) -> bool) -> Record {
    loop {
        if let Some(record) = dir.on_disk().filter(&wanted) {
            return record;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn hosts(discovered: &Discovered) -> Vec<String> {
    match &discovered.membership {
        Membership::Known(set) => set.as_slice().iter().map(|e| e.host.to_string()).collect(),
        Membership::Pending | Membership::Missing => vec![format!("{:?}", discovered.membership)],
    }
}

fn known(hosts: &[&str]) -> Membership {
    Membership::Known(set(hosts))
}

#[tokio::test(start_paused = true)]
async fn a_silent_source_is_stood_in_for_until_it_speaks() {
    let dir = Dir::new();
    dir.put(&record(&["a", "b"]));
    let mut bench = Bench::start(&dir, keeping()).await;
    let first = bench.until(|d| d.stale.is_some()).await;
    assert_eq!(hosts(&first), ["a", "b"]);
    assert!(first.verified.is_none(), "nobody has confirmed it");
    let stale = first.stale.unwrap();
    assert_eq!(stale.memory, Memory::Own);
    assert_eq!(millis_of(stale.confirmed_at), 1_795_417_906_123);
    let (was, is) = (stale.confirmed_at, stale.confirmed_at + Duration::from_secs(75));
    assert_eq!(stale.age(is), Duration::from_secs(75));
    assert_eq!(stale.age(was - Duration::from_secs(1)), Duration::ZERO, "clock set back");

    bench.script.says(known(&["b"]));
    let word = bench.until(|d| d.stale.is_none()).await;
    assert_eq!(hosts(&word), ["b"]);
    assert!(word.verified.is_some());
    bench.stop().await;
    assert_eq!(dir.on_disk().unwrap().endpoints.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_same_set_is_announced_when_it_is_confirmed() {
    let dir = Dir::new();
    dir.put(&record(&["a"]));
    let mut bench = Bench::start(&dir, keeping()).await;
    bench.until(|d| d.stale.is_some()).await;
    bench.script.says(known(&["a"]));
    bench.until(|d| d.stale.is_none()).await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_word_of_a_former_source_is_not_saved_as_the_new_ones() {
    let dir = Dir::new();
    let script = Scripted(watch::Sender::new(None));
    let policy = keeping();
    let settings = SavedSettings::new(&service(), &zookeeper("/services/search"), &policy);
    let (out, mut seen) = watch::channel(Discovered {
        membership: known(&["former"]),
        verified: Some(tokio::time::Instant::now()),
        ..Discovered::default()
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stop = CancellationToken::new();
    let source = LastKnown::load(dir.store(), settings.unwrap()).around(script.source());
    let running = tokio::spawn(source.run(out, stop.clone()));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(hosts(&seen.borrow()), ["former"], "it stays in use");
    assert!(dir.on_disk().is_none());
    script.says(known(&["new"]));
    seen.wait_for(|d| hosts(d) == ["new"]).await.unwrap();
    stop.cancel();
    running.await.unwrap();
    assert_eq!(dir.on_disk().unwrap().endpoints.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_file_the_source_is_as_it_was() {
    let dir = Dir::new();
    let mut bench = Bench::start(&dir, keeping()).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(hosts(&bench.seen.borrow()), ["Pending"]);
    bench.script.says(Membership::Missing);
    bench.until(|d| matches!(d.membership, Membership::Missing)).await;
    bench.stop().await;
    assert!(dir.on_disk().is_none(), "nobody to remember");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_file_is_not_used_and_is_replaced_by_the_next_word() {
    let dir = Dir::new();
    dir.put(&record(&["a"]));
    let mut bytes = std::fs::read(dir.file()).unwrap();
    bytes[60] ^= 1;
    std::fs::write(dir.file(), bytes).unwrap();
    let bench = Bench::start(&dir, keeping()).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(hosts(&bench.seen.borrow()), ["Pending"]);
    bench.script.says(known(&["b"]));
    // A damaged file would make this panic.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(&*dir.on_disk().unwrap().endpoints.as_slice()[0].host, "b");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn changes_are_saved_at_most_once_a_second() {
    let dir = Dir::new();
    let bench = Bench::start(&dir, keeping()).await;
    let begun = tokio::time::Instant::now();
    let (mut writes, mut last) = (0, None);
    for round in 0..500 {
        bench.script.says(known(&[&format!("h{round}")]));
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = std::fs::read(dir.file()).ok();
        writes += usize::from(now != last);
        last = now;
    }
    let seconds = begun.elapsed().as_secs();
    assert!((3..=7).contains(&writes), "{writes} writes in {seconds} s");
    bench.stop().await;
    let saved = dir.on_disk().unwrap();
    assert_eq!(&*saved.endpoints.as_slice()[0].host, "h499", "the last one is not lost by a stop");
}

#[tokio::test(start_paused = true)]
async fn the_age_is_refreshed_while_the_source_confirms_and_only_then() {
    let dir = Dir::new();
    dir.put(&record(&["a"]));
    let written = || dir.on_disk().unwrap().confirmed_at;
    let old = written();
    let bench = Bench::start(&dir, keeping()).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(written(), old, "silence confirms nothing");
    bench.script.says(known(&["a"]));
    tokio::time::sleep(Duration::from_secs(30)).await;
    bench.script.says(known(&["a"]));
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_ne!(written(), old);
    let last = written();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(written(), last, "no confirmation since");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_emptied_path_is_remembered_beside_the_last_backends() {
    for nothing in [Membership::Missing, known(&[])] {
        let dir = Dir::new();
        let bench = Bench::start(&dir, keeping()).await;
        bench.script.says(known(&["a", "b"]));
        until_on_disk(&dir, |r| r.said == Said::Known).await;
        bench.script.says(nothing);
        let saved = until_on_disk(&dir, |r| r.said != Said::Known).await;
        assert_eq!(saved.endpoints.len(), 2);
        bench.stop().await;

        // As before the restart: kept with use_previous_backends, ...
        let mut bench = Bench::start(&dir, keeping()).await;
        let word = bench.until(|d| d.stale.is_some()).await;
        assert_eq!(hosts(&word), ["a", "b"]);
        bench.stop().await;
        // ... gone without it, ...
        let mut bench = Bench::start(&dir, MembershipPolicy::default()).await;
        let word = bench.until(|d| d.stale.is_some()).await;
        assert_ne!(hosts(&word), ["a", "b"]);
        bench.stop().await;
        // ... and not before the default servers.
        let policy =
            MembershipPolicy { default_servers: vec![Endpoint::new("d", 80)], ..keeping() };
        let mut bench = Bench::start(&dir, policy).await;
        let word = bench.until(|d| d.stale.is_some()).await;
        assert_ne!(hosts(&word), ["a", "b"]);
        bench.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_refuses_is_survived_and_tried_again() {
    let dir = Dir::new();
    let mut bench = Bench::start(&dir, keeping()).await;
    // Nobody, not even root, can rename a file over a directory.
    std::fs::create_dir(dir.file()).unwrap();
    bench.script.says(known(&["a"]));
    bench.until(|d| hosts(d) == ["a"]).await;
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert!(!bench.running.is_finished());
    let left: Vec<_> = std::fs::read_dir(&dir.0).unwrap().collect();
    assert_eq!(left.len(), 1, "no unfinished files pile up: {left:?}");
    std::fs::remove_dir(dir.file()).unwrap();
    until_on_disk(&dir, |r| r.endpoints.len() == 1).await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_removed_directory_is_made_again() {
    let dir = Dir::new();
    let bench = Bench::start(&dir, keeping()).await;
    std::fs::remove_dir_all(&dir.0).unwrap();
    bench.script.says(known(&["a"]));
    until_on_disk(&dir, |r| r.endpoints.len() == 1).await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn refreshes_of_many_services_take_turns() {
    let store = Dir::new().store();
    let first = store.next_turn();
    for turn in 1..500_u32 {
        assert_eq!(store.next_turn() - first, turn * Duration::from_millis(500));
    }
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(store.next_turn(), tokio::time::Instant::now());
}

#[tokio::test]
async fn a_source_that_needs_no_memory_gets_none() {
    let policy = MembershipPolicy::default();
    assert!(SavedSettings::new(&service(), &SourceSettings::Fixed, &policy).is_none());
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error() {
    assert!(Store::open(Path::new("/proc/nowhere").to_owned(), None).is_err());
}
