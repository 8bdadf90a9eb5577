//! What is accepted, what is refused, and how that is said.

mod golden;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{get, sequence};
use crate::support::lab::Lab;
use crate::support::synapse::{Output, Synapse, config, fixed, run};

const PATIENCE: Duration = Duration::from_secs(10);
const G1: &str = include_str!("../golden/g1_synapse_minimal.json");
const G2: &str = include_str!("../golden/g2_synapse_zk.json");

async fn check(file: &Path) -> Output {
    run("synapse", &["check", "-c", &file.to_string_lossy()], &[]).await
}

/// Runs `synapse -c` on a config that must be refused.
async fn refused(lab: &Lab, config: &Value) -> String {
    let file = lab.write("refused.json", &format!("{config:#}"));
    let path = file.to_string_lossy();
    let output = run("synapse", &["-c", &path], &[]).await;
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    let checked = check(&file).await;
    assert_eq!(checked.code, Some(1), "check must agree: {}", checked.stdout);
    output.stderr
}

/// A config that is fine, to spoil.
fn good(lab: &Lab) -> Value {
    let front = lab.free_addr();
    let mut config =
        config(json!({"web": fixed(front, "http", &[], &[("a", lab.free_addr(), "")])}));
    config["admin"] = json!({"listen": lab.free_addr().to_string()});
    config["state_dir"] = json!(lab.dir().join("state"));
    config
}

#[tokio::test]
async fn native_keys_may_stand_in_an_overlay() {
    let lab = Lab::new().await;
    let file = lab.write("synapse.json", G1);
    let admin = lab.free_addr();
    let overlay =
        lab.write("native.json", &json!({"workers": 0, "admin": {"listen": admin}}).to_string());
    let (file, overlay) = (file.to_string_lossy(), overlay.to_string_lossy());
    let output = run("synapse", &["check", "-c", &file, "--overlay", &overlay], &[]).await;
    assert_eq!(output.code, Some(1), "workers: 0 in the overlay is a mistake: {}", output.stdout);
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(said.contains("native.json: workers"), "{said}");
}

#[tokio::test]
async fn every_mistake_is_reported_at_once_and_nothing_is_bound() {
    let lab = Lab::new().await;
    let mut config = good(&lab);
    let services = &mut config["services"];
    let bad = |change: &dyn Fn(&mut Value)| {
        let mut service = fixed(lab.free_addr(), "http", &[], &[("a", lab.free_addr(), "")]);
        change(&mut service);
        service
    };
    services["s1"] = bad(&|s| s["haproxy"]["port"] = json!(70_000));
    services["s2"] = bad(&|s| s["discovery"] = json!({"method": "telepathy"}));
    services["s3"] = bad(&|s| s["discovery"] = json!({"method": "zookeeper", "path": "/x"}));
    services["s4"] = bad(&|s| s["haproxy"]["listen"] = json!(["timeout client 5parsecs"]));
    services["s5"] = bad(&|s| s["backend_port_override"] = json!("abc"));
    services["s6"] = bad(&|s| s["default_servers"][0]["port"] = json!("http"));
    services["s7"] = bad(&|s| s["haproxy"]["server_options"] = json!("check inter never"));
    services["s8"] = bad(&|s| {
        s["discovery"]["label_filters"] = json!([{"label": "a", "value": 1, "condition": "like"}]);
    });
    // Would be reported as taken if anybody tried to bind it.
    let taken = SocketAddr::new(lab.ip(), services_port(services));
    let _holder = TcpListener::bind(taken).expect("hold the good service's port");
    let said = refused(&lab, &config).await;
    for wrong in [
        "services.s1.haproxy.port: ",
        "services.s2.discovery.method: ",
        "services.s3.discovery",
        "services.s4.haproxy.listen[0]: ",
        "services.s5.backend_port_override: ",
        "services.s6.default_servers[0].port: ",
        "services.s7.haproxy.server_options",
        "services.s8.discovery.label_filters[0]",
    ] {
        let line = said.lines().find(|l| l.contains(wrong));
        let line = line.unwrap_or_else(|| panic!("nothing about {wrong} in\n{said}"));
        assert!(line.contains("refused.json: "), "the file is named: {line}");
    }
    for value in ["70000", "telepathy", "parsecs", "abc", "never", "like"] {
        assert!(said.contains(value), "the value {value} is shown:\n{said}");
    }
    assert!(!said.contains(&taken.to_string()), "bound before the config was judged:\n{said}");
}

#[tokio::test]
async fn six_mistakes_in_six_layers_are_all_said() {
    let lab = Lab::new().await;
    let mut config = good(&lab);
    config["worker"] = json!(2);
    config["admin"]["listen"] = json!("localhost");
    config["haproxy"]["defaults"] = json!(["timeout conect 5s"]);
    let web = &mut config["services"]["web"];
    web["discovery"] = json!({"method": "zookeper"});
    web["default_servers"][0]["haproxy_server_options"] = json!("bakup");
    web["haproxy"]["server_options"] = json!("check intre 2s");
    let said = refused(&lab, &config).await;
    for (place, part) in [
        ("worker: ", "did you mean \"workers\"?"),
        ("admin.listen: ", "127.0.0.1:3210"),
        ("haproxy.defaults[0]: ", "did you mean `timeout connect`?"),
        ("services.web.discovery.method: ", "did you mean \"zookeeper\"?"),
        ("services.web.default_servers[0].haproxy_server_options: ", "did you mean `backup`?"),
        ("services.web.haproxy.server_options: ", "did you mean `inter`?"),
    ] {
        let line = said.lines().find(|l| l.contains(&format!("refused.json: {place}")));
        let line = line.unwrap_or_else(|| panic!("nothing about {place} in\n{said}"));
        assert!(line.contains(part), "{part} in {line}");
    }
    assert_eq!(said.matches("services.web.haproxy.server_options").count(), 1, "{said}");
}

fn services_port(services: &Value) -> u16 {
    let port = services["web"]["haproxy"]["port"].as_u64().expect("a port");
    u16::try_from(port).expect("a port")
}

#[tokio::test]
async fn two_services_on_one_port_are_both_named() {
    let lab = Lab::new().await;
    let mut config = good(&lab);
    config["services"]["billing"] = config["services"]["web"].clone();
    let said = refused(&lab, &config).await;
    let port = services_port(&config["services"]).to_string();
    let line = said.lines().find(|l| l.contains("billing") && l.contains("web"));
    assert!(line.is_some_and(|l| l.contains(&port)), "{said}");
}

#[tokio::test]
async fn a_taken_port_is_named_and_ends_the_start() {
    let lab = Lab::new().await;
    let config = good(&lab);
    let taken = SocketAddr::new(lab.ip(), services_port(&config["services"]));
    let _holder = TcpListener::bind(taken).expect("hold it");
    let file = lab.write("taken.json", &config.to_string());
    let output = run("synapse", &["-c", &file.to_string_lossy()], &[]).await;
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    assert!(output.stderr.contains(&taken.to_string()), "{}", output.stderr);
    assert!(output.stderr.contains("web"), "the service is named: {}", output.stderr);
}

#[tokio::test]
async fn a_refused_directive_says_line_reason_and_what_to_use() {
    let lab = Lab::new().await;
    let mut config = good(&lab);
    config["services"]["web"]["haproxy"]["server_options"] = json!("check ssl verify none");
    let said = refused(&lab, &config).await;
    let line = said.lines().find(|l| l.contains("services.web.haproxy.server_options"));
    let line = line.unwrap_or_else(|| panic!("not reported:\n{said}"));
    assert!(line.contains("ssl"), "{line}");
    assert!(line.split_whitespace().count() > 6, "a reason and a way out: {line}");
}

#[tokio::test]
async fn an_unknown_key_is_a_warning_with_the_nearest_one_and_strict_makes_it_an_error() {
    let lab = Lab::new().await;
    let mut config = good(&lab);
    config["services"]["web"]["haproxy"]["server_option"] = json!("check");
    let file = lab.write("typo.json", &config.to_string());
    let path = file.to_string_lossy();
    let output = check(&file).await;
    let said = format!("{}{}", output.stdout, output.stderr);
    assert_eq!(output.code, Some(0), "{said}");
    let line = said.lines().find(|l| l.contains("services.web.haproxy.server_option"));
    let line = line.unwrap_or_else(|| panic!("no warning:\n{said}"));
    assert!(line.contains("server_options"), "{line}");
    let strict = run("synapse", &["check", "-c", &path, "--strict"], &[]).await;
    assert_eq!(strict.code, Some(1), "{}", strict.stdout);
    let strict = run("synapse", &["-c", &path, "--strict"], &[]).await;
    assert_eq!(strict.code, Some(1), "{}", strict.stderr);
}

#[tokio::test]
async fn check_shows_each_value_with_its_origin() {
    let lab = Lab::new().await;
    let output = check(&lab.write("g2.json", G2)).await;
    for part in ["search", "users-db", "timeout", "300s", "haproxy.defaults[", "leastconn"] {
        assert!(output.stdout.contains(part), "{part} in\n{}", output.stdout);
    }
}

#[tokio::test]
async fn erb_reads_the_environment() {
    let lab = Lab::new().await;
    let a = lab.origin("A").await;
    let (front, admin) = (lab.free_addr(), lab.free_addr());
    let text = format!(
        "services:\n  web:\n    default_servers:\n      - {{name: a, host: \"<%= ENV['ORIGIN_HOST'] %>\", \
         port: <%= ENV.fetch('ORIGIN_PORT') %>}}\n    discovery: {{method: base}}\n    haproxy:\n      \
         port: <%= ENV['UNSET_PORT'] || '{}' %>\n      bind_address: <%= ENV.fetch('UNSET', '{}') %>\n      \
         listen: ['mode http']\nhaproxy:\n  do_writes: no\n  do_reloads: off\n  do_socket: false\n  \
         global: []\n  defaults: ['timeout connect 1s', 'timeout client 5s', 'timeout server 5s']\n\
         admin: {{listen: '{admin}'}}\nstate_dir: {}\nworkers: 1\n",
        front.port(),
        front.ip(),
        lab.dir().join("state").display(),
    );
    let file = lab.write("erb.yaml", &text);
    let (host, port) = (lab.ip().to_string(), a.port().to_string());
    let env = [("ORIGIN_HOST", host.as_str()), ("ORIGIN_PORT", port.as_str())];
    let synapse = Synapse::start_file(admin, &file, &env).await;
    synapse.until_ready().await;
    assert_eq!(sequence(front, 3).await, "AAA");
    drop(synapse);
    let unset = run("synapse", &["check", "-c", &file.to_string_lossy()], &[]).await;
    assert_eq!(unset.code, Some(1), "ENV.fetch without a default must fail: {}", unset.stdout);
    assert!(unset.stderr.contains("ORIGIN_PORT"), "{}", unset.stderr);
}

#[tokio::test]
async fn service_conf_dir_adds_services_named_by_their_files() {
    let lab = Lab::new().await;
    let (a, b) = (lab.origin("A").await, lab.origin("B").await);
    let (one, two) = (lab.free_addr(), lab.free_addr());
    let service = fixed(one, "http", &[], &[("a", a.addr(), "")]);
    lab.write("services.d/cart.json", &service.to_string());
    let yaml = format!(
        "default_servers:\n- {{name: b, host: {}, port: {}}}\ndiscovery: {{method: base}}\nhaproxy:\n  \
         port: {}\n  bind_address: {}\n  listen:\n  - mode http\n",
        b.addr().ip(),
        b.port(),
        two.port(),
        two.ip()
    );
    lab.write("services.d/ledger.yaml", &yaml);
    lab.write("services.d/README.txt", "not a service");
    let mut config = config(json!({}));
    config["service_conf_dir"] = json!(lab.dir().join("services.d"));
    let synapse = lab.synapse(config).await;
    assert_eq!(sequence(one, 2).await, "AA");
    assert_eq!(sequence(two, 2).await, "BB");
    let shown = get(synapse.admin(), "/services").await.expect("admin").text();
    assert!(
        shown.contains("cart") && shown.contains("ledger") && !shown.contains("README"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_broken_file_is_named_with_the_place() {
    let lab = Lab::new().await;
    for (name, text, part) in [
        ("torn.json", "{\"services\": {", "torn.json"),
        ("torn.yaml", "services:\n  a: [1, 2\n", "torn.yaml"),
        ("list.json", "[1, 2]", "list.json"),
        ("empty.json", "", "empty.json"),
    ] {
        let output = check(&lab.write(name, text)).await;
        assert_eq!(output.code, Some(1), "{name}: {}", output.stdout);
        assert!(output.stderr.contains(part), "{name}: {}", output.stderr);
        assert!(!output.stderr.contains("panicked"), "{name}: {}", output.stderr);
    }
    let missing = lab.dir().join("missing.json");
    let output = check(&missing).await;
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("missing.json"), "{}", output.stderr);
}
