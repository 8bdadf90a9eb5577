use super::*;
use crate::config::document::{self, Document, Reading, tests::TestDir};
use crate::config::report::Report;
use crate::config::template::Env;
use crate::health::local::{LocalHttp, LocalProbe, Target};
use crate::registration::{Place, RateSettings, ZooKeeperPlace};
use crate::registry::path;
use crate::registry::writer::{MAX_DATA_BYTES, NodeKind};
use crate::telemetry::statsd::StatsdSettings;
use proptest::prelude::*;
use serde_json::{Value, json};

fn env() -> Env {
    Env::new(|name| (name == "STATE_DIRECTORY").then(|| "/run/state".to_owned()))
}

fn options() -> NerveLoadOptions {
    NerveLoadOptions { env: env(), ..NerveLoadOptions::new("nerve.yaml") }
}

fn load_with(text: &str, options: &NerveLoadOptions) -> Result<NerveConfig, Report> {
    let reading = Reading::nerve(&options.env);
    let value = document::parse_bytes(text.as_bytes(), false, &reading).unwrap();
    let Value::Object(map) = value else { panic!("not a map: {value}") };
    resolve(&Document::new("nerve.yaml", map), options, Report::default())
}

pub(super) fn good(text: &str) -> NerveConfig {
    load_with(text, &options()).unwrap_or_else(|report| panic!("{report:#?}"))
}

fn lines(complaints: &[Complaint]) -> Vec<String> {
    complaints.iter().map(ToString::to_string).collect()
}

fn complaints(text: &str) -> Vec<String> {
    lines(&load_with(text, &options()).unwrap_err().complaints)
}

/// One service with the keys that every one needs and `more`.
fn service_text(more: &str) -> String {
    format!(
        "instance_id: i-1\nservices: {{web: {{host: h, port: 80, zk_hosts: [zk:2181], zk_path: /web{more}}}}}"
    )
}

fn one(more: &str) -> NerveService {
    good(&service_text(more)).services.remove(0)
}

fn bytes(service: &NerveService) -> String {
    String::from_utf8(service.registration.record.encode()).unwrap()
}

pub(super) fn node(service: &NerveService) -> &ZooKeeperPlace {
    match &service.registration.place {
        Place::ZooKeeper(place) => place,
        Place::File { path } => panic!("{}", path.display()),
    }
}

fn names(service: &NerveService) -> Vec<&str> {
    service.checks.checks.iter().map(|check| &*check.name).collect()
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

const N1: &str = include_str!("../../../tests/golden/n1_nerve_minimal.json");
const N2: &str = include_str!("../../../tests/golden/n2_nerve_breadth.yaml");
const N3: &str = include_str!("../../../tests/golden/n3_nerve_yelp.json");
const N4: &str = include_str!("../../../tests/golden/n4_nerve_etcd.json");

fn golden(name: &str) -> NerveLoadOptions {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    NerveLoadOptions { env: env(), ..NerveLoadOptions::new(file) }
}

#[test]
fn n1_loads_unchanged() {
    let config = load(&golden("n1_nerve_minimal.json")).unwrap();
    assert!(config.warnings.is_empty() && config.refused.is_empty(), "{config:#?}");
    let [search] = config.services.as_slice() else { panic!("{:?}", config.services) };
    assert_eq!(search.name.as_str(), "search_9001");
    assert_eq!(bytes(search), r#"{"host":"10.0.1.11","port":9001,"name":"i-0aaa"}"#);
    let place = ZooKeeperPlace {
        ensemble: "zk1:2181,zk2:2181".into(),
        path: "/prod/services/search/services".into(),
        kind: NodeKind::EphemeralSequential,
        is_path_encoded: false,
        ttl: None,
    };
    assert_eq!(node(search), &place);
    let [check] = search.checks.checks.as_slice() else { panic!("{:?}", search.checks) };
    assert_eq!(&*check.name, "http-10.0.1.11:9001/health");
    assert_eq!(check.deadline, seconds(0.3));
    assert_eq!((check.rise.get(), check.fall.get()), (1, 1));
    let http = LocalHttp {
        target: Target { host: "10.0.1.11".into(), port: 9001 },
        uri: "/health".into(),
        headers: Vec::new(),
        expect: None,
        connect_timeout: seconds(0.2),
    };
    assert_eq!(check.probe, LocalProbe::Http(http));
}

#[test]
fn n2_loads_unchanged() {
    let config = load(&golden("n2_nerve_breadth.yaml")).unwrap();
    assert_eq!(config.process.heartbeat.as_deref(), Some("/var/run/nerve/heartbeat".as_ref()));
    let statsd = config.process.statsd.as_ref().unwrap();
    assert_eq!((statsd.host.as_str(), statsd.port), ("localhost", 8125));
    let [warning] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
    assert_eq!(warning.path, "max_repeated_report_failures");
    let [thrift, batch, queue, cache] = config.services.as_slice() else {
        panic!("{:?}", config.services)
    };
    let data = r#"{"host":"10.0.3.17","port":4567,"name":"web-17","weight":7,"haproxy_server_options":"backup","labels":{"az":"us-east-1a","region:uswest1":""}}"#;
    assert_eq!(bytes(thrift), data);
    assert_eq!(
        path::encode(data.as_bytes()).unwrap(),
        "base64_192_eyJob3N0IjoiMTAuMC4zLjE3IiwicG9ydCI6NDU2NywibmFtZSI6IndlYi0xNyIsIndlaWdodCI6NywiaGFwcm94eV9zZXJ2ZXJfb3B0aW9ucyI6ImJhY2t1cCIsImxhYmVscyI6eyJheiI6InVzLWVhc3QtMWEiLCJyZWdpb246dXN3ZXN0MSI6IiJ9fQ==_"
    );
    assert_eq!(node(batch).kind, NodeKind::Persistent);
    assert_eq!(node(batch).ttl, Some(seconds(60.0)));
    assert_eq!(names(batch), ["batch_persistent noop-10.0.3.17:7000"]);
    assert_eq!(names(queue), ["queue rabbitmq-10.0.3.17:5672"]);
    assert_eq!(names(cache), ["cache redis-10.0.3.17:6379"]);
    assert_eq!(cache.checks.checks[0].fall.get(), 3);
}

#[test]
fn n2_has_every_key_in_effect() {
    let config = load(&golden("n2_nerve_breadth.yaml")).unwrap();
    let thrift = &config.services[0];
    assert_eq!(&*node(thrift).ensemble, "zk1:2181,zk3:2181");
    assert!(node(thrift).is_path_encoded);
    assert_eq!(thrift.checks.interval, seconds(2.0));
    let rate = RateSettings { average_rate: 0.5, max_burst: 3.0, is_shadow: false };
    assert_eq!(thrift.limits.rate, rate);
    assert_eq!(names(thrift), ["thrift_main tcp-10.0.3.17:4567", "http-10.0.3.17:8422/health"]);
    let [tcp, http] = thrift.checks.checks.as_slice() else { panic!("{:?}", thrift.checks) };
    assert_eq!((tcp.deadline, tcp.rise.get(), tcp.fall.get()), (seconds(1.0), 5, 2));
    assert_eq!(http.deadline, seconds(1.5));
    let LocalProbe::Http(http) = &http.probe else { panic!("{http:?}") };
    assert_eq!(http.expect.as_deref(), Some("OK"));
    assert_eq!(http.headers, [("Host".into(), "thrift.local".into())]);
}

#[test]
fn n3_loads_unchanged() {
    let strict = NerveLoadOptions { strict: true, ..golden("n3_nerve_yelp.json") };
    let config = load(&strict).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let geocoder = &config.services[0];
    assert_eq!(geocoder.name.as_str(), "geocoder.main.westcoast-prod:10.1.0.1.31001.v2.new");
    assert_eq!(
        bytes(geocoder),
        r#"{"host":"10.1.0.1","port":31001,"name":"host-a.example.com","weight":10,"labels":{"deploy_group":"prod.everything","paasta_instance":"main","region:uswest1-prod":"","superregion:westcoast-prod":""}}"#
    );
    assert_eq!(names(geocoder), ["http-127.0.0.1:6666/http/geocoder.main/31001/status"]);
    assert_eq!(geocoder.checks.checks[0].deadline, seconds(2.0));
    assert_eq!(node(geocoder).path.as_ref(), "/smartstack/global/geocoder.main");
}

#[test]
fn n4_leaves_out_etcd_and_runs_the_rest() {
    let config = load(&golden("n4_nerve_etcd.json")).unwrap();
    let [refused] = config.refused.as_slice() else { panic!("{:?}", config.refused) };
    assert_eq!(refused.path, "services.edge.reporter_type");
    assert!(refused.text.contains("etcd") && refused.text.contains("left out"), "{refused}");
    let [admin] = config.services.as_slice() else { panic!("{:?}", config.services) };
    assert_eq!(admin.name.as_str(), "admin");
    assert_eq!(node(admin).kind, NodeKind::Ephemeral);
    assert_eq!(bytes(admin), r#"{"host":"10.0.4.3","port":9990,"name":"edge-3"}"#);
    let strict = NerveLoadOptions { strict: true, ..golden("n4_nerve_etcd.json") };
    assert!(load(&strict).unwrap_err().complaints.iter().any(|c| c.text.contains("etcd")));
}

/// The shapes that were measured on the original.
#[test]
fn registered_bytes_are_the_originals() {
    let data = |more: &str| {
        let text = bytes(&one(more));
        text.strip_prefix(r#"{"host":"h","port":80,"name":"i-1""#).unwrap_or(&text).to_owned()
    };
    for (more, expected) in [
        ("", "}"),
        (", weight: 10", r#","weight":10}"#),
        (", weight: '7'", r#","weight":7}"#),
        (", weight: 0", r#","weight":0}"#),
        (", labels: {}", r#","labels":{}}"#),
        (", labels: {b: 1, a: 2}", r#","labels":{"b":1,"a":2}}"#),
        (", labels: ~", r#","labels":null}"#),
        (
            ", haproxy_server_options: weight 5 inter 1s",
            r#","haproxy_server_options":"weight 5 inter 1s"}"#,
        ),
        (", haproxy_server_options: ~", r#","haproxy_server_options":null}"#),
        (", haproxy_server_options: 5", r#","haproxy_server_options":5}"#),
        (", port: '8080'", r#"{"host":"h","port":"8080","name":"i-1"}"#),
        (", labels: {u: \"é/<&\\u2028\\n\"}", ",\"labels\":{\"u\":\"é/<&\u{2028}\\n\"}}"),
    ] {
        assert_eq!(data(more), expected, "{more}");
    }
}

/// The original reads JSON as YAML: `1e+20` is text. Surrogate pairs, on which it dies, are read.
#[test]
fn json_labels_are_read_as_the_original_reads_them() {
    let service = r#"{"host": "h", "port": 80, "zk_hosts": ["z"], "zk_path": "/w",
        "labels": {"n": 1, "f": 1.0, "f2": 1e+20, "f3": 1.5e-07, "b": true, "nil": null, "arr": [1, "x"], "nest": {"a": {}},
        "p": "\ud83d\ude00", "erb": "<%= x %>"}}"#;
    let config = good(&format!(r#"{{"instance_id": "i", "services": {{"w": {service}}}}}"#));
    assert!(bytes(&config.services[0]).ends_with(
        r#""labels":{"n":1,"f":1.0,"f2":"1e+20","f3":1.5e-07,"b":true,"nil":null,"arr":[1,"x"],"nest":{"a":{}},"p":"😀","erb":"<%= x %>"}}"#
    ), "{}", bytes(&config.services[0]));
}

#[test]
fn defaults_are_nerves() {
    let config = good(&service_text(""));
    let web = &config.services[0];
    assert!(web.checks.checks.is_empty() && !web.checks.is_mocked);
    assert_eq!(web.checks.interval, seconds(0.5));
    assert_eq!(web.limits.rate, RateSettings::default());
    assert_eq!(web.limits.damping, Some(DampingSettings::DEFAULT));
    let place = ZooKeeperPlace {
        ensemble: "zk:2181".into(),
        path: "/web".into(),
        kind: NodeKind::EphemeralSequential,
        is_path_encoded: false,
        ttl: None,
    };
    assert_eq!(node(web), &place);
    let process = NerveProcess {
        admin_listen: "127.0.0.1:3211".parse().unwrap(),
        admin_push: false,
        state_dir: Some("/run/state".into()),
        session_timeout: seconds(30.0),
        heartbeat: None,
        drain_delay: Duration::ZERO,
        stop_timeout: seconds(5.0),
        log_format: LogFormat::Text,
        statsd: None,
    };
    assert_eq!(config.process, process);
    let process = good(
        "instance_id: i\nadmin: {listen: '[::1]:9', push: yes}\nstate_dir: /s\nzk_session_timeout: 10s\n\
         drain_delay: 0\nstop_timeout: 250ms\nlog: {format: json}\nstatsd: {}\nheartbeat_path: /h",
    )
    .process;
    assert_eq!(process.admin_listen.to_string(), "[::1]:9");
    assert!(process.admin_push && process.drain_delay.is_zero());
    assert_eq!(process.state_dir.as_deref(), Some("/s".as_ref()));
    assert_eq!(process.session_timeout, seconds(10.0));
    assert_eq!(process.stop_timeout, seconds(0.25));
    assert_eq!(process.log_format, LogFormat::Json);
    let statsd = StatsdSettings { host: "localhost".into(), port: 8125, sample_rates: Vec::new() };
    assert_eq!(process.statsd, Some(statsd));
    assert_eq!(process.heartbeat.as_deref(), Some("/h".as_ref()));
}

#[test]
fn checks_have_nerves_defaults() {
    let web = one(
        ", checks: [{type: tcp}, {type: redis, port: 6379, host: r}, {type: rabbitmq}, {type: noop, name: n}, \
         {type: exec, command: '/bin/true  -x y'}, {type: exec, command: [prog, 'a b', '']}, \
         {type: http, uri: /u, name: overwritten, read_timeout: 3, ssl: no}]",
    );
    let all = &web.checks.checks;
    assert_eq!(
        names(&web),
        [
            "web tcp-h:80",
            "web redis-r:6379",
            "web rabbitmq-h:80",
            "n",
            "web exec-h:80",
            "web exec-h:80",
            "http-h:80/u"
        ]
    );
    assert!(all[..6].iter().all(|check| check.deadline == seconds(0.1)));
    assert_eq!(all[6].deadline, seconds(3.2));
    assert_eq!(all[1].probe, LocalProbe::Redis(Target { host: "r".into(), port: 6379 }));
    let LocalProbe::RabbitMq { username, password, .. } = &all[2].probe else { panic!() };
    assert_eq!((&**username, password.reveal()), ("guest", "guest"));
    let exec = |at: usize| {
        let LocalProbe::Exec(exec) = &all[at].probe else { panic!("{:?}", all[at]) };
        (exec.program.to_str().unwrap(), exec.arguments.as_slice())
    };
    assert_eq!(exec(4), ("/bin/true", ["-x".to_owned(), "y".to_owned()].as_slice()));
    assert_eq!(exec(5), ("prog", ["a b".to_owned(), String::new()].as_slice()));
}

#[test]
fn infinity_is_no_limit_and_no_pause_is_one() {
    for infinite in [".inf", ".Inf", "+.INF", "Infinity"] {
        let limits = format!("{{average_rate: {infinite}, max_burst: {infinite}}}");
        let web = one(&format!(", check_interval: 0, rate_limiting: {limits}"));
        assert_eq!(web.limits.rate, RateSettings::default());
        assert_eq!(web.checks.interval, Duration::ZERO);
    }
    for wrong in ["-.inf", ".nan", "inf", "'5'"] {
        let said = complaints(&service_text(&format!(", rate_limiting: {{max_burst: {wrong}}}")));
        assert!(said[0].contains("is not a number from 1, or .inf"), "{said:?}");
    }
}

#[test]
fn a_ttl_below_a_second_is_raised() {
    let config = good(&service_text(", node_type: persistent, ttl_seconds: 0.001"));
    assert_eq!(node(&config.services[0]).ttl, Some(seconds(1.0)));
    let said = lines(&config.warnings);
    assert!(said[0].ends_with("ttl_seconds: 0.001 is raised to 1s: each is a write to ZooKeeper"));
}

#[test]
fn passwords_are_not_shown() {
    let said = complaints(&service_text(", checks: [{type: rabbitmq, password: [s3cret]}]"));
    assert!(said.len() == 1 && said[0].contains("checks[0].password"), "{said:?}");
    assert!(!said[0].contains("s3cret"), "{said:?}");
    let web = one(", checks: [{type: rabbitmq, password: s3cret}]");
    assert!(!format!("{web:?}").contains("s3cret"));
}

/// Everything that the original refuses (or crashes on), and the native keys.
const BAD: &str = include_str!("../../../tests/golden/nerve_bad.yaml");

/// How each complaint begins, one line each.
const EXPECTED: &str = include_str!("../../../tests/golden/nerve_bad.txt");

#[test]
fn every_mistake_is_reported_at_once() {
    let texts = complaints(BAD);
    for text in EXPECTED.lines() {
        let line = format!("nerve.yaml: {text}");
        let found = texts.iter().filter(|t| t.starts_with(&line)).count();
        assert_eq!(found, 1, "{line}\nin {texts:#?}");
    }
    assert_eq!(texts.len(), EXPECTED.lines().count(), "{texts:#?}");
    assert!(texts.iter().all(|text| !text.contains('\n')), "{texts:#?}");
}

#[test]
fn the_command_lines_instance_id_wins_unless_empty() {
    let id = |given: &str| {
        let options = NerveLoadOptions { instance_id: Some(given.to_owned()), ..options() };
        load_with(&service_text(""), &options).map(|config| config.instance_id)
    };
    assert_eq!(id("cli").unwrap(), "cli");
    assert_eq!(id("").unwrap(), "i-1");
    assert!(id("a/b").unwrap_err().complaints[0].text.contains("-i"));
    for bad in ["''", "a/b", "\"a\\nb\"", "' '", "[1]"] {
        assert_eq!(complaints(&format!("instance_id: {bad}")).len(), 1, "{bad}");
    }
    let config = good("instance_id: 17");
    assert_eq!(config.instance_id, "17");
    assert!(config.warnings[0].text.contains("quote it"), "{:?}", config.warnings);
}

#[test]
fn what_is_odd_is_said_and_refused_under_strict() {
    let text = "
instance_id: i
instanc_id: j
listen_port: 1
services:
  a: {host: h, port: 1, zk_hosts: z, zk_path: /a/, use_path_encoding: 'true', ttl_seconds: 5, zk_cluster_name: c, zk_pth: x}
  b: {host: h, port: 1, zk_hosts: [z], zk_path: /b, rate_limiting: {average_rate: ~}, haproxy_server_options: [1]}
  c: {host: h, port: 1, zk_hosts: [z], zk_path: /c, checks: [{type: http, uri: u}]}
";
    let config = good(text);
    let texts = lines(&config.warnings);
    let expected = [
        "instanc_id: unknown key, ignored; did you mean \"instance_id\"?",
        "services.a.zk_pth: unknown key, ignored; did you mean \"zk_path\"?",
        "services.a.zk_path: \"/\" at the end is ignored",
        "services.a.use_path_encoding: \"true\" is not true: nothing is encoded",
        "services.a.ttl_seconds: no effect with node_type ephemeral_sequential",
        "services.b.rate_limiting.average_rate: null counts as not set",
        "services.b: registered as it is, but synapse skips such a registration: haproxy_server_options is [1]",
        "services.c.checks[0].uri: \"u\" does not begin with \"/\": it is asked as \"/u\"",
    ];
    for text in expected {
        let line = format!("nerve.yaml: {text}");
        assert!(texts.iter().any(|t| t.starts_with(&line)), "{line}\nin {texts:#?}");
    }
    assert_eq!(texts.len(), expected.len(), "{texts:#?}");
    let a = &config.services[0];
    let place = node(a);
    assert_eq!((&*place.ensemble, &*place.path, place.ttl), ("z:2181", "/a", None));
    assert!(!place.is_path_encoded);
    let strict = NerveLoadOptions { strict: true, ..options() };
    assert_eq!(load_with(text, &strict).unwrap_err().complaints.len(), expected.len());
}

#[test]
fn one_remark_about_many_services_is_one_line() {
    let service =
        |i: u16| format!("  s{i}: {{host: h, port: {i}, zk_hosts: [z], zk_path: /p, xyz: 1}}\n");
    let services: String = (1..=300).map(service).collect();
    let warnings = good(&format!("instance_id: i\nservices:\n{services}")).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].text.ends_with("(299 more, the last at services.s300.xyz)"));
}

#[test]
fn two_services_on_one_node_are_refused() {
    let two = |kind: &str, more: &str| {
        let service = |port: u16, hosts: &str| {
            format!(
                "{{host: h, port: {port}, zk_hosts: {hosts}, zk_path: /p, node_type: {kind}{more}}}"
            )
        };
        let (a, b) = (service(1, "[y, z]"), service(2, "[z, y]"));
        load_with(&format!("instance_id: i\nservices: {{a: {a}, b: {b}}}"), &options())
    };
    for kind in ["ephemeral", "persistent"] {
        let report = two(kind, "").unwrap_err();
        let texts = lines(&report.complaints);
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(
            texts[0].starts_with("nerve.yaml: services.b: service \"a\" has the same node /p/i_;"),
            "{texts:?}"
        );
        // Named by their data, and those differ.
        assert_eq!(two(kind, ", use_path_encoding: true").unwrap().services.len(), 2);
    }
    assert_eq!(two("ephemeral_sequential", "").unwrap().services.len(), 2);
    let copies = service_text(", node_type: ephemeral, load_test_concurrency: 50");
    assert_eq!(complaints(&copies).len(), 1);
    let file = "{host: h, port: 1, reporter_type: file, file_path: /f}";
    let texts = complaints(&format!("instance_id: i\nservices: {{a: {file}, b: {file}}}"));
    assert!(texts[0].contains("the same line h:1 in /f"), "{texts:?}");
}

#[test]
fn a_record_that_no_node_takes_is_refused() {
    let label = |bytes: usize| service_text(&format!(", labels: {{l: {}}}", "x".repeat(bytes)));
    let texts = complaints(&label(MAX_DATA_BYTES));
    assert!(texts[0].starts_with("nerve.yaml: services.web: 10000"), "{texts:?}");
    assert_eq!(good(&label(MAX_DATA_BYTES - 100)).services.len(), 1);
}

#[test]
fn https_checks_leave_the_service_out() {
    let config = good(&service_text(", checks: [{type: http, uri: /, ssl: true}]"));
    assert!(config.services.is_empty());
    assert_eq!(config.refused[0].path, "services.web.checks[0].ssl");
}

#[test]
fn the_file_reporter_needs_no_zookeeper() {
    let text = "instance_id: i\nservices: {a: {host: h, port: 1, reporter_type: file, file_path: /run/web.json}}";
    let place = Place::File { path: "/run/web.json".into() };
    assert_eq!(good(text).services[0].registration.place, place);
    let texts = complaints(&text.replace("host: h", "host: h, labels: [1]"));
    assert!(texts[0].contains("services.a: synapse cannot read this: labels is"), "{texts:?}");
}

#[test]
fn damping_is_inherited_key_by_key_and_can_be_switched_off() {
    let damping = |top: &str, own: &str| {
        let text =
            format!("flap_damping: {top}\n{}", service_text(&format!(", flap_damping: {own}")));
        good(&text).services.remove(0).limits.damping
    };
    assert_eq!(damping("~", "~"), Some(DampingSettings::DEFAULT));
    assert_eq!(damping("false", "~"), None);
    assert_eq!(damping("~", "false"), None);
    assert_eq!(damping("false", "true"), Some(DampingSettings::DEFAULT));
    let both = damping("{flaps: 2, half_life: 1m}", "{flaps: 3}").unwrap();
    assert_eq!((both.flaps, both.half_life), (3, seconds(60.0)));
    assert_eq!(both.window, DampingSettings::DEFAULT.window);
}

#[test]
fn load_test_concurrency_makes_copies() {
    let text = service_text(", checks: [{type: tcp}], xyz: 1, load_test_concurrency: '3'");
    let config = good(&text);
    let found: Vec<_> = config.services.iter().map(|s| (s.name.as_str(), names(s)[0])).collect();
    assert_eq!(
        found,
        [("web_0", "web_0 tcp-h:80"), ("web_1", "web_1 tcp-h:80"), ("web_2", "web_2 tcp-h:80")]
    );
    assert_eq!(config.warnings.len(), 1);
    let twice = format!(
        "{}\n",
        text.replace("web: {", "web_1: {host: h, port: 1, zk_hosts: [z], zk_path: /x}, web: {")
    );
    assert!(complaints(&twice)[0].contains("there are two services web_1"));
}

#[test]
fn service_files_and_overlay_make_one_configuration() {
    let dir = TestDir::new(&[
        (
            "nerve.json",
            r#"{"instance_id": "i", "service_conf_dir": "s.d", "services": {"a": {"host": 5}}}"#,
        ),
        ("s.d/a.yaml", "{host: h, port: 1, zk_hosts: [z], zk_path: /a, labels: {erb: <% x %>}}"),
        ("s.d/b.json", r#"{"host": "h", "port": "x", "zk_hosts": ["z"], "zk_path": "/b"}"#),
        ("o.yaml", "admin: {listen: 4000}\nservices: {a: {flap_damping: false}}"),
    ]);
    let options = NerveLoadOptions {
        overlay: Some(dir.0.join("o.yaml")),
        env: env(),
        ..NerveLoadOptions::new(dir.0.join("nerve.json"))
    };
    let texts = lines(&load(&options).unwrap_err().complaints);
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].contains("s.d/b.json: port: \"x\" is not a port"), "{texts:?}");
    std::fs::remove_file(dir.0.join("s.d/b.json")).unwrap();
    let config = load(&options).unwrap();
    assert_eq!(config.process.admin_listen.port(), 4000);
    assert_eq!(config.services[0].limits.damping, None);
    assert!(bytes(&config.services[0]).contains("<% x %>"));
    std::fs::remove_dir_all(dir.0.join("s.d")).unwrap();
    let texts = lines(&load(&options).unwrap_err().complaints);
    assert!(texts.iter().any(|t| t.contains("service_conf_dir: no directory")), "{texts:?}");
}

#[test]
fn a_definition_from_outside_has_no_exec() {
    let defaults = ServiceDefaults::default();
    let definition = json!({"host": "h", "port": 1, "zk_hosts": ["z"], "zk_path": "/p",
        "checks": [{"type": "exec", "command": "true"}]});
    assert_eq!(service("s", &definition, "i", &defaults, true).unwrap().len(), 1);
    let report = service("s", &definition, "i", &defaults, false).unwrap_err();
    let texts = lines(&report.complaints);
    assert!(texts[0].starts_with("definition of \"s\": checks[0].type: exec checks"), "{texts:?}");
    let report =
        service("s", &json!({"reporter_type": "etcd", "host": "h"}), "i", &defaults, false);
    assert_eq!(report.unwrap_err().complaints.len(), 2);
    assert!(service("", &json!([]), "i", &defaults, false).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_panic_the_loader(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(Value::Object(map)) =
            document::parse_bytes(&bytes, false, &Reading::nerve(&Env::empty()))
        {
            drop(resolve(&Document::new("f", map), &options(), Report::default()));
        }
    }

    /// A golden file with any one value replaced by something of the wrong kind.
    #[test]
    fn no_mutated_config_panics_the_loader(which in 0_usize..4, at in 0_usize..150, junk in 0_usize..9) {
        let reading = Reading::nerve(&Env::empty());
        let mut value = document::parse_bytes([N1, N2, N3, N4][which].as_bytes(), false, &reading).unwrap();
        let junk = [
            json!(null), json!(-1), json!(1e300), json!("/"), json!([]), json!({}), json!([[{}]]),
            json!("\u{0}\n é"), json!(true),
        ][junk].clone();
        let mut left = at;
        crate::config::synapse::tests::mutate(&mut value, &mut left, &junk);
        if let Value::Object(map) = value {
            drop(resolve(&Document::new("f", map), &options(), Report::default()));
        }
        drop(service("s", &junk, "i", &ServiceDefaults::default(), false));
    }
}
