//! What each reader takes, and what it says of the rest.

use super::*;
use crate::config::text::{BareNumber, MAX_DURATION};
use serde_json::json;
use std::time::Duration;

fn place() -> Place {
    Place { file: "f.json".into(), path: String::new() }
}

fn with<T>(value: &Value, read: impl FnOnce(Cursor<'_>, &mut Report) -> T) -> (T, Report) {
    let mut report = Report::default();
    let out = read(Cursor::new(value, place().key("k"), None), &mut report);
    (out, report)
}

#[test]
fn unknown_keys_are_named_with_the_nearest() {
    let value = json!({"port": 1, "prot": 2, "zzz": 3});
    let (_, report) = with(&value, |c, r| c.section(&["port", "path"], r).is_some());
    let texts: Vec<_> = report.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "f.json: k.prot: unknown key, ignored; did you mean \"port\"?",
            "f.json: k.zzz: unknown key, ignored"
        ]
    );
    assert!(report.complaints.is_empty());
}

#[test]
fn wrong_types_show_the_value() {
    let (_, report) = with(&json!([1]), |c, r| c.flag(r));
    assert_eq!(report.complaints[0].to_string(), "f.json: k: [1] is not true or false");
    let (_, report) = with(&json!("x".repeat(500)), |c, r| c.port(r));
    assert!(report.complaints[0].text.len() < 120);
}

#[test]
fn a_secret_is_never_shown() {
    assert_eq!(with(&json!("a"), |c, r| c.secret(r)).0.as_deref(), Some("a"));
    assert_eq!(with(&json!(1), |c, r| c.secret(r)).0.as_deref(), Some("1"));
    for bad in [json!(["s3cret"]), json!({"s3cret": 1}), json!(true)] {
        let (_, report) = with(&bad, |c, r| c.secret(r));
        let text = report.complaints[0].to_string();
        assert_eq!(text, "f.json: k: is not a string (the value is not shown)");
    }
}

#[test]
fn a_duration_that_is_too_long_is_told_the_limit() {
    let seconds = BareNumber::Seconds;
    for long in [json!("3651d"), json!(1e300), json!("87601h")] {
        let read =
            [with(&long, |c, r| c.duration(seconds, r)), with(&long, |c, r| c.delay(seconds, r))];
        for (none, report) in read {
            assert_eq!(none, None);
            let text = report.complaints[0].to_string();
            assert!(text.ends_with("is above 3650d, the most that is taken"), "{text}");
        }
    }
    assert_eq!(with(&json!("3650d"), |c, r| c.delay(seconds, r)).0, Some(MAX_DURATION));
    let (_, report) = with(&json!(-1), |c, r| c.delay(seconds, r));
    assert!(report.complaints[0].text.starts_with("-1 is not a duration"));
}

#[test]
fn ports_are_numbers_or_digits() {
    assert_eq!(with(&json!(80), |c, r| c.port(r)).0, Some(80));
    assert_eq!(with(&json!("20030"), |c, r| c.port(r)).0, Some(20030));
    for bad in [json!(0), json!(65536), json!("80a"), json!(1.5), json!(-1), json!("")] {
        assert_eq!(with(&bad, |c, r| c.port(r)).1.complaints.len(), 1, "{bad}");
    }
}

#[test]
fn a_scalar_is_a_list_of_one_and_lines_are_split() {
    let lines = |v: &Value| {
        let (lines, report) = with(v, |c, r| c.lines(r));
        assert!(report.complaints.is_empty());
        lines.into_iter().map(|l| (l.text, l.place.path)).collect::<Vec<_>>()
    };
    assert_eq!(lines(&json!("mode tcp")), [("mode tcp".to_owned(), "k".to_owned())]);
    assert_eq!(lines(&json!("a\nb\n")).len(), 2);
    assert_eq!(lines(&json!(["a", "b"]))[1].1, "k[1]");
    assert_eq!(with(&json!(["a", {}]), |c, r| c.lines(r)).1.complaints[0].path, "k[1]");
}

#[test]
fn durations_have_units() {
    let read = |v: Value, bare| with(&v, |c, r| c.duration(bare, r)).0;
    let ms = |n| Some(Duration::from_millis(n));
    assert_eq!(read(json!("250ms"), BareNumber::Seconds), ms(250));
    assert_eq!(read(json!("1.5s"), BareNumber::Seconds), ms(1500));
    assert_eq!(read(json!("2m"), BareNumber::Seconds), ms(120_000));
    assert_eq!(read(json!(30), BareNumber::Seconds), ms(30_000));
    assert_eq!(read(json!(30), BareNumber::Milliseconds), ms(30));
    assert_eq!(read(json!("30"), BareNumber::Milliseconds), ms(30));
    for bad in [
        json!(0),
        json!("0s"),
        json!("-1s"),
        json!("5 parsecs"),
        json!(true),
        json!(1e300),
        json!("1e5s"),
    ] {
        assert_eq!(read(bad.clone(), BareNumber::Seconds), None, "{bad}");
    }
}
