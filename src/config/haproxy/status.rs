//! The README's status table is what the table of directives says.
//!
//! After a change to the table: `UPDATE_README=1 cargo test --lib config::haproxy::status`.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::{Class, Directive, Sections, directives};

const BEGIN: &str = "<!-- directives:begin -->\n";
const END: &str = "<!-- directives:end -->";

/// Where a directive stands, as the README puts it.
fn place(sections: Sections) -> &'static str {
    let places = [
        (Sections::GLOBAL, "`global`"),
        (Sections::SERVER, "server options"),
        (Sections::BIND, "bind options"),
    ];
    let found = places.into_iter().find(|(s, _)| s.touches(sections));
    found.map_or("`defaults` and services", |(_, place)| place)
}

/// What a class says about itself: the cells after the keywords.
fn remarks(class: Class) -> Vec<&'static str> {
    match class {
        Class::Supported | Class::Harmless => vec![],
        Class::NotYet { meanwhile } => vec![meanwhile],
        Class::Refused { reason, instead } => vec![reason, instead],
    }
}

/// Keywords that differ in their last word only are one: `timeout {connect, server}`.
fn keywords(group: &[&Directive]) -> String {
    let mut families: Vec<(&str, Vec<&str>)> = Vec::new();
    for directive in group {
        let (family, last) = directive.keyword.rsplit_once(' ').unwrap_or(("", directive.keyword));
        match families.iter_mut().find(|(name, _)| *name == family) {
            Some((_, words)) => words.push(last),
            None => families.push((family, vec![last])),
        }
    }
    let shown = families.iter().flat_map(|(family, words)| match words.as_slice() {
        words if family.is_empty() => words.iter().map(|word| format!("`{word}`")).collect(),
        [word] => vec![format!("`{family} {word}`")],
        words => vec![format!("`{family} {{{}}}`", words.join(", "))],
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn table(out: &mut String, label: &str, heads: &[&str]) {
    type Row<'a> = (&'a str, Vec<&'a str>, Vec<&'a Directive>);
    let mut rows: Vec<Row<'_>> = Vec::new();
    for directive in directives().iter().filter(|d| d.class.label() == label) {
        let (place, remarks) = (place(directive.sections), remarks(directive.class));
        match rows.iter_mut().find(|row| (row.0, &row.1) == (place, &remarks)) {
            Some(row) => row.2.push(directive),
            None => rows.push((place, remarks, vec![directive])),
        }
    }
    writeln!(out, "| in | {} |", heads.join(" | ")).unwrap();
    writeln!(out, "|---{}|", "|---".repeat(heads.len())).unwrap();
    for (place, remarks, group) in rows {
        let cells: String = remarks.iter().map(|text| format!(" {text} |")).collect();
        writeln!(out, "| {place} | {} |{cells}", keywords(&group)).unwrap();
    }
}

fn status() -> String {
    let mut out = String::from("\n**Supported**\n\n");
    table(&mut out, "supported", &["directives"]);
    out.push_str("\n**Not yet**: accepted, warned about at each start\n\n");
    table(&mut out, "not yet", &["directives", "meanwhile"]);
    out.push_str("\n**Refused**\n\n");
    table(&mut out, "refused", &["directives", "because", "instead"]);
    out.push_str("\n<details><summary><b>Harmless</b>: accepted in silence</summary>\n\n");
    table(&mut out, "harmless", &["directives"]);
    out.push_str("\n</details>\n\n");
    out
}

#[test]
fn the_readme_shows_the_table_of_directives() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("the begin mark");
    let (shown, after) = rest.split_once(END).expect("the end mark");
    let status = status();
    if shown == status {
        return;
    }
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(file, format!("{before}{BEGIN}{status}{END}{after}")).unwrap();
        return;
    }
    panic!(
        "README.md is behind the table of directives; run\n  UPDATE_README=1 cargo test --lib config::haproxy::status"
    );
}
