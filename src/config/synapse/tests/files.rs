//! File, directory and overlay.

use super::*;
use crate::config::document::tests::TestDir;

const OVERLAID: [(&str, &str); 4] = [
    (
        "main.yaml",
        "service_conf_dir: s.d
haproxy: {defaults: [timeout connect 1s, timeout client 1s, timeout server 1s]}",
    ),
    (
        "s.d/cart.yaml",
        "discovery: {method: zookeeper, hosts: [\"<%= ENV['ZK'] || 'zk1:2181' %>\"], path: /cart}
haproxy: {port: 3300}",
    ),
    ("s.d/bad.json", r#"{"discovery": {"method": "file", "path": "/f"}, "haproxy": {"port": -1}}"#),
    ("o.yaml", "services: {cart: {haproxy: {port: 3310}, proxy: {mode: udp}}}"),
];

fn overlaid(dir: &TestDir) -> LoadOptions {
    LoadOptions {
        file: dir.0.join("main.yaml"),
        overlay: Some(dir.0.join("o.yaml")),
        ..options(false)
    }
}

#[test]
fn complaints_name_the_file_to_edit() {
    let dir = TestDir::new(&OVERLAID);
    let complaints = load(&overlaid(&dir)).unwrap_err().complaints;
    let prefix = format!("{}/", dir.0.display());
    let texts: Vec<_> = complaints.iter().map(|c| c.to_string().replace(&prefix, "")).collect();
    assert_eq!(texts.len(), 2, "{texts:#?}");
    assert!(texts[0].starts_with("s.d/bad.json: haproxy.port: -1 is not a port"), "{texts:#?}");
    assert!(
        texts[1].starts_with("o.yaml: services.cart.proxy.mode: \"udp\" is not one of"),
        "{texts:#?}"
    );
}

#[test]
fn file_directory_and_overlay_make_one_configuration() {
    let dir = TestDir::new(&OVERLAID);
    std::fs::remove_file(dir.0.join("s.d/bad.json")).unwrap();
    std::fs::write(dir.0.join("o.yaml"), "services: {cart: {haproxy: {port: 3310}}}").unwrap();
    let loaded = load(&overlaid(&dir)).unwrap();
    let cart = &loaded.config.services[0];
    assert!(
        cart.listener.as_ref().unwrap().addrs.iter().all(|a| a.addr.tcp().unwrap().port() == 3310)
    );
    let path = cart.origins.iter().find(|o| o.setting == "discovery.path").unwrap();
    assert!(path.origin.ends_with("s.d/cart.yaml: discovery.path"), "{}", path.origin);
}

#[test]
fn a_missing_file_is_one_complaint() {
    let mut options = options(false);
    options.file = "/nonexistent/synapse.json".into();
    let complaints = load(&options).unwrap_err().complaints;
    assert_eq!(complaints.len(), 1);
    assert!(complaints[0].to_string().starts_with("/nonexistent/synapse.json: cannot be read: "));
}
