//! Where definitions come from beside the one file: a directory, an overlay, a command.

use serde_json::json;

use super::*;
use crate::config::document::tests::TestDir;

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
