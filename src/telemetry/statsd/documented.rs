//! `docs/operations.md` and [`names`](super::names) know the same metrics.

use std::collections::HashSet;

use super::names::ALL;

const PAGE: &str = include_str!("../../../docs/operations.md");

#[test]
fn the_page_lists_every_metric_with_its_type_and_tags() {
    let section = PAGE.split_once("\n## dogstatsd\n").expect("the section").1;
    let section = section.split("\n## ").next().unwrap();
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let told: Vec<String> =
        rows.iter().map(|row| format!("{} {} {}", row[0], row[1], row[2])).collect();
    let sent: Vec<String> = ALL
        .iter()
        .map(|metric| {
            let tags: Vec<_> = metric.tags.iter().map(|tag| format!("`{tag}`")).collect();
            let text = format!("`{}` {} {}", metric.name, metric.kind.letters(), tags.join(", "));
            if tags.is_empty() { format!("{text}–") } else { text }
        })
        .collect();
    assert_eq!(told, sent);
}

#[test]
fn names_are_unique_and_need_no_escapes() {
    let mut seen = HashSet::new();
    for metric in ALL {
        assert!(seen.insert(metric.name), "{} twice", metric.name);
        let texts = metric.tags.iter().chain([&metric.name]);
        for text in texts {
            let is_plain = |c: char| c.is_ascii_lowercase() || matches!(c, '.' | '_');
            assert!(text.chars().all(is_plain), "{text}");
        }
    }
}
