//! Files, a directory of services and an overlay become one document.

use super::*;

/// A directory of its own for a test, removed at the end.
pub(in crate::config) struct TestDir(pub(in crate::config) PathBuf);

impl TestDir {
    pub(in crate::config) fn new(files: &[(&str, &str)]) -> Self {
        let unique = format!("smartstack-{}-{:x}", std::process::id(), fastrand::u64(..));
        let dir = std::env::temp_dir().join(unique);
        for (name, text) in files {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self(dir)
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn load(dir: &TestDir, overlay: Option<&str>) -> (Option<Document>, Report) {
    let mut report = Report::default();
    let overlay = overlay.map(|name| dir.0.join(name));
    let file = dir.0.join("main.yaml");
    let document =
        Document::load(&file, overlay.as_deref(), &Reading::synapse(&Env::empty()), &mut report);
    (document, report)
}

fn service_names(document: &Document) -> Vec<&str> {
    let services = document.root["services"].as_object().unwrap();
    services.keys().map(String::as_str).collect()
}

#[test]
fn service_files_replace_and_append_json_first() {
    let dir = TestDir::new(&[
        ("main.yaml", "service_conf_dir: s.d\nservices: {z: {x: 1}, cart: {x: 1}}\n"),
        ("s.d/b.yaml", "x: 2"),
        ("s.d/a.yaml", "x: 2"),
        ("s.d/ledger.json", "{\"x\": 2}"),
        ("s.d/cart.yaml", "y: <%= 'three' %>"),
        ("s.d/no.yml", "x: 2"),
        ("s.d/.hidden.yaml", "x: 2"),
    ]);
    let (document, report) = load(&dir, None);
    let document = document.unwrap();
    assert_eq!(service_names(&document), ["z", "cart", "ledger", "a", "b"]);
    assert_eq!(document.root["services"]["cart"], serde_json::json!({"y": "three"}));
    assert!(report.complaints.is_empty());
    // Found beside the file, not in the working directory: said so.
    assert!(report.warnings[0].text.contains("beside"));
}

#[test]
fn nerve_has_no_templates_and_reads_yaml_first() {
    let dir = TestDir::new(&[
        ("main.json", "{\"service_conf_dir\": \"s.d\"}"),
        ("s.d/b.yaml", "x: <% ruby %>"),
        ("s.d/both.yaml", "x: yaml"),
        ("s.d/both.json", "{\"x\": \"json \\ud83d\\ude00\"}"),
        ("s.d/a.json", "{}"),
    ]);
    let mut report = Report::default();
    let reading = Reading::nerve(&Env::empty());
    let document = Document::load(&dir.0.join("main.json"), None, &reading, &mut report);
    let document = document.unwrap();
    assert!(report.complaints.is_empty(), "{report:?}");
    assert_eq!(service_names(&document), ["b", "both", "a"]);
    assert_eq!(document.root["services"]["b"]["x"], "<% ruby %>");
    assert_eq!(document.root["services"]["both"]["x"], "json 😀");
}

#[test]
fn values_know_the_file_they_stand_in() {
    let dir = TestDir::new(&[
        ("main.yaml", "service_conf_dir: s.d\nservices: {a: {haproxy: {port: 1, listen: [x]}}}\n"),
        ("s.d/b.yaml", "haproxy: {port: 2, listen: [y]}"),
        ("o.yaml", "services: {a: {haproxy: {port: 3}}, b: {haproxy: {listen: [z]}}, c: {}}"),
    ]);
    let (document, report) = load(&dir, Some("o.yaml"));
    assert!(report.complaints.is_empty(), "{report:?}");
    let document = document.unwrap();
    let mut report = Report::default();
    let place = |path: &[&str]| {
        let mut cursor = document.root();
        for key in path {
            cursor = cursor
                .entries(&mut Report::default())
                .into_iter()
                .find(|(k, _)| k == key)
                .unwrap()
                .1;
        }
        let place = cursor.place().clone();
        format!("{}:{}", Path::new(&*place.file).file_name().unwrap().display(), place.path)
    };
    assert_eq!(place(&["services", "a", "haproxy", "port"]), "o.yaml:services.a.haproxy.port");
    assert_eq!(
        place(&["services", "a", "haproxy", "listen"]),
        "main.yaml:services.a.haproxy.listen"
    );
    assert_eq!(place(&["services", "b", "haproxy", "port"]), "b.yaml:haproxy.port");
    assert_eq!(place(&["services", "b", "haproxy", "listen"]), "o.yaml:services.b.haproxy.listen");
    assert_eq!(place(&["services", "c"]), "o.yaml:services.c");
    assert_eq!(service_names(&document), ["a", "b", "c"]);
    assert!(document.root().section(&["services", "service_conf_dir"], &mut report).is_some());
}

#[test]
fn every_unreadable_file_is_reported() {
    let dir = TestDir::new(&[
        ("main.yaml", "service_conf_dir: s.d\n"),
        ("s.d/a.json", "{\"x\": ]"),
        ("s.d/b.yaml", "x: <% code %>"),
        ("s.d/c.yaml", "[1]"),
        ("s.d/d.yaml", ""),
    ]);
    let (_, report) = load(&dir, Some("missing.yaml"));
    let texts: Vec<_> = report.complaints.iter().map(|c| c.text.as_str()).collect();
    assert_eq!(texts.len(), 5, "{texts:?}");
    assert!(texts[0].contains("cannot be read"));
    assert!(texts[1].contains("JSON") && texts[1].contains("line 1"));
    assert!(texts[2].contains("not understood"));
    assert!(texts[3].contains("must hold a map"));
    assert!(texts[4].contains("empty"));
}

#[test]
fn a_missing_directory_is_a_complaint() {
    let dir = TestDir::new(&[("main.yaml", "service_conf_dir: nowhere.d\n")]);
    let (_, report) = load(&dir, None);
    assert!(report.complaints[0].text.contains("nowhere.d"));
    assert_eq!(report.complaints[0].path, "service_conf_dir");
}
