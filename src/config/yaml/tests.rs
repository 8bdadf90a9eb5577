//! YAML as psych reads it.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn yaml(text: &str) -> Value {
    parse(text, false).unwrap()
}

fn error(text: &str) -> SyntaxError {
    parse(text, false).unwrap_err()
}

#[test]
fn json_is_read_as_json() {
    assert_eq!(yaml(r#"{"a": "\ud83d\ude00"}"#), json!({"a": "😀"}));
    assert_eq!(yaml(r#"{"a": 1, "a": 2, "t": 1e3}"#), json!({"a": 2, "t": 1e3}));
}

#[test]
fn integers_beyond_64_bits_are_text() {
    let seed = "106120057668456273355833563333802393184";
    assert_eq!(yaml(&format!("s: {seed}"))["s"], json!(seed));
}

#[test]
fn block_and_flow() {
    let text = "# c\na:\n  b: [1, two, \"3\"]\n  c: {d: ~, e: yes}\nf:\n- x: 1\n  y: 'z'\n- |\n  l1\n  l2\n";
    let expected = json!({
        "a": {"b": [1, "two", "3"], "c": {"d": null, "e": true}},
        "f": [{"x": 1, "y": "z"}, "l1\nl2\n"]
    });
    assert_eq!(yaml(text), expected);
}

#[test]
fn keys_stay_text_and_order_is_kept() {
    let value = yaml("no: 1\n08: 2\nb: 3\na: 4\n12:30: 5\n");
    let keys: Vec<_> = value.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["no", "08", "b", "a", "12:30"]);
}

#[test]
fn the_last_duplicate_wins() {
    assert_eq!(yaml("a: 1\nb: 2\na: 3\n"), json!({"a": 3, "b": 2}));
}

#[test]
fn anchors_and_merge_keys_as_psych() {
    let text = "d: &d {x: 1, y: 2}\ne: {<<: *d, y: 3}\nf: {y: 3, <<: *d}\ng: {<<: [*d, {x: 9, z: 9}]}\nh: *d\n";
    let value = yaml(text);
    assert_eq!(value["e"], json!({"x": 1, "y": 3}));
    assert_eq!(value["f"], json!({"y": 2, "x": 1}));
    assert_eq!(value["g"], json!({"x": 1, "y": 2, "z": 9}));
    assert_eq!(value["h"], json!({"x": 1, "y": 2}));
}

#[test]
fn nested_aliases_are_bounded() {
    let mut text = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for i in 1..12 {
        let row = vec![format!("*a{}", i - 1); 10].join(", ");
        text.push_str(&format!("a{i}: &a{i} [{row}]\n"));
    }
    assert!(error(&text).text.contains("16 MiB"));
    assert!(error("a: &a [*a]").text.contains("contains it"));
}

#[test]
fn only_the_first_document_counts() {
    assert_eq!(yaml("---\na: 1\n---\nb: [\n"), json!({"a": 1}));
    assert_eq!(yaml(""), Value::Null);
    assert_eq!(yaml("# nothing\n"), Value::Null);
}

#[test]
fn errors_have_a_position() {
    let e = error("a: 1\nb: [1,\nc: {\n");
    assert!(e.line >= 2, "{e}");
    assert_eq!(parse("{\"a\": 1,\n  \"b\": ]", true).unwrap_err().line, 2);
    assert!(error("a: !ruby/object:Foo {}").text.contains("tag"));
    assert!(error("? [a]\n: b\n").text.contains("key"));
}

#[test]
fn core_tags_are_obeyed() {
    assert_eq!(yaml("[!!str 5, !!int 5, !!float 5.5, ! 7]"), json!(["5", 5, 5.5, "7"]));
    assert!(error("a: !!int x").text.contains("not what"));
}

#[test]
fn depth_is_bounded() {
    assert!(parse(&"[".repeat(5000), false).is_err());
    assert!(parse(&"- ".repeat(5000), false).is_err());
    let deep: String = (0..500).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    assert!(error(&deep).text.contains("levels"));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in ".{0,200}") {
        drop(parse(&text, false));
    }

    #[test]
    fn yamlish_text_never_panics(text in "([a-c]|: |- |\\[|\\]|\\{|\\}|,|\n|  |&a |\\*a|<<|!!str |!|\"|'|\\||>|#|%|@|`|\t|\\?|---|\\.\\.\\.|\\\\|é|[0-9]){0,60}") {
        drop(parse(&text, false));
    }
}
