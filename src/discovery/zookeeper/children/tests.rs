//! Which children are read, which count, and what is told of the malformed.

use super::*;

fn children() -> Children {
    Children::new(Decode::Nerve)
}

fn node(text: &str, created: i64, modified: i64) -> Option<Node> {
    Some(Node {
        data: text.into(),
        created_zxid: created,
        modified_zxid: modified,
        ephemeral_owner: 0,
        version: 0,
    })
}

fn record(host: &str) -> String {
    format!(r#"{{"host":"{host}","port":80}}"#)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn set(children: &Children) -> Vec<(String, Option<u64>)> {
    match children.reading().membership {
        Membership::Known(set) => {
            set.as_slice().iter().map(|e| (e.host.to_string(), e.id)).collect()
        }
        Membership::Pending | Membership::Missing => panic!("not known"),
    }
}

#[test]
fn sequential_children_are_read_once_and_others_every_time() {
    let mut children = children();
    assert!(children.set_names(names(&["a_0000000001", "fixed"])));
    assert_eq!(children.due(Doubt::Usual), ["a_0000000001", "fixed"]);
    children.store("a_0000000001", node(&record("a"), 1, 1));
    children.store("fixed", node(&record("f"), 2, 2));
    assert!(!children.set_names(names(&["fixed", "a_0000000001"])));
    assert_eq!(children.due(Doubt::Usual), ["fixed"]);
    assert_eq!(children.due(Doubt::All).len(), 2);
    children.store("fixed", node(&record("g"), 2, 3));
    assert_eq!(set(&children), [("a".into(), Some(1)), ("g".into(), None)]);
}

#[test]
fn records_in_names_are_never_read_unless_they_are_broken() {
    let good = path::encode(record("p").as_bytes()).unwrap() + "0000000004";
    let broken = path::encode(b"[1]").unwrap() + "0000000005";
    let mut children = children();
    children.set_names(vec![good, broken.clone(), "base64_99_xx_".into()]);
    assert_eq!(children.due(Doubt::All), [broken.as_str(), "base64_99_xx_"]);
    children.store(&broken, node(&record("q"), 9, 9));
    children.store("base64_99_xx_", None);
    assert_eq!(set(&children), [("p".into(), Some(4)), ("q".into(), Some(5))]);
}

#[test]
fn a_malformed_rewrite_keeps_the_good_value_and_is_told_once_per_write() {
    let mut children = children();
    children.set_names(names(&["fixed", "bad"]));
    children.store("fixed", node(&record("f"), 1, 1));
    assert!(children.store("bad", node("{", 2, 2)).is_some());
    assert!(children.store("bad", node("{", 2, 2)).is_none());
    assert!(children.store("bad", node("[]", 2, 3)).is_some());
    assert!(children.store("fixed", node("", 1, 4)).is_some());
    assert_eq!(set(&children), [("f".into(), None)]);
    let reading = children.reading();
    assert_eq!(reading.malformed_total, 2);
    assert_eq!(
        reading.malformed,
        [
            ("bad".to_owned(), "a list where a map was expected".to_owned()),
            ("fixed".to_owned(), "no data; its previous record stays in use".to_owned())
        ]
    );
}

#[test]
fn a_node_created_anew_under_the_same_name_inherits_nothing() {
    let mut children = children();
    children.set_names(names(&["fixed"]));
    children.store("fixed", node(&record("f"), 1, 1));
    children.store("fixed", node("{", 7, 7));
    assert!(set(&children).is_empty());
}

#[test]
fn the_newest_registration_of_an_identity_counts() {
    let mut children = children();
    children.set_names(names(&["i-9_0000000001", "i-1_0000000002"]));
    children.store("i-9_0000000001", node(&record("a"), 10, 10));
    children.store("i-1_0000000002", node(&record("a"), 20, 20));
    assert_eq!(set(&children), [("a".into(), Some(2))]);
    children.set_names(names(&["i-9_0000000001"]));
    assert_eq!(set(&children), [("a".into(), Some(1))]);
}

#[test]
fn another_incarnation_of_the_parent_forgets_what_was_read() {
    let mut children = children();
    children.enter_incarnation(Some(1));
    children.set_names(names(&["a_0000000000"]));
    children.store("a_0000000000", node(&record("a"), 2, 2));
    children.enter_incarnation(Some(1));
    assert_eq!(set(&children).len(), 1);
    children.enter_incarnation(Some(5));
    assert!(set(&children).is_empty());
    assert_eq!(children.due(Doubt::Usual), ["a_0000000000"]);
}

#[test]
fn samples_go_round_all_sequential_children() {
    let mut children = children();
    let all: Vec<_> = (0..250).map(|n| format!("a_{n:010}")).collect();
    children.set_names(all.clone());
    for name in &all {
        children.store(name, node(&record(name), 1, 1));
    }
    let mut seen = HashSet::new();
    for expected in [100, 100, 50] {
        let sample = children.due(Doubt::Sample);
        assert_eq!(sample.len(), expected);
        seen.extend(sample);
    }
    assert_eq!(seen.len(), 250);
    assert_eq!(children.due(Doubt::Sample)[0], all[0]);
}

#[test]
fn only_the_first_malformed_are_shown_but_all_are_counted() {
    let mut children = children();
    children.set_names((0..100).map(|n| format!("n{n}")).collect());
    for n in 0..100 {
        children.store(&format!("n{n}"), node("x", 1, 1));
    }
    let reading = children.reading();
    assert_eq!((reading.malformed.len(), reading.malformed_total), (20, 100));
}
