//! Single keys: defaults, bounds and shapes.

use super::*;
use crate::health::local::{LocalProbe, Target};
use crate::registration::RateSettings;
use crate::registry::writer::NodeKind;
use crate::telemetry::statsd::StatsdSettings;

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
