//! Files stay readable, and nothing unfinished or switched off is left behind.

use std::path::{Path, PathBuf};

/// Lines of a file, tests or not.
const LINES: usize = 300;
/// With a reason in [`LONGER`].
const LINES_AT_MOST: usize = 400;

/// Files that may have up to [`LINES_AT_MOST`] lines, and why.
const LONGER: &[(&str, &str)] = &[(
    "src/registry/session.rs",
    "sixty lines are the record of why the client crate sits behind a relay, with the evidence",
)];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All `.rs` files below `dir`, sorted.
pub(crate) fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Where our sources are.
const DIRS: &[&str] = &["src", "tests", "benches", "examples", "bench/src", "fuzz"];

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for file in DIRS.iter().flat_map(|dir| rust_files(&root().join(dir))) {
        let name = file.strip_prefix(root()).expect("below").to_string_lossy().into_owned();
        let lines = std::fs::read_to_string(&file).expect("readable").lines().count();
        let has_reason = LONGER.iter().any(|(path, _)| *path == name);
        if lines > if has_reason { LINES_AT_MOST } else { LINES } {
            long.push(format!("{name}: {lines} lines"));
        }
        if has_reason && lines <= LINES {
            long.push(format!("{name}: {lines} lines, needs no exception any more"));
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn nothing_is_unfinished_or_switched_off() {
    // Written in two halves, so that this file does not find itself.
    let marks =
        [("#[ign", "ore"), ("tod", "o!("), ("unimplemen", "ted!("), ("FIX", "ME"), ("db", "g!(")];
    let mut found = Vec::new();
    for dir in DIRS {
        for file in rust_files(&root().join(dir)) {
            let text = std::fs::read_to_string(&file).expect("readable");
            for (number, line) in text.lines().enumerate() {
                if marks.iter().any(|(a, b)| line.contains(&format!("{a}{b}"))) {
                    found.push(format!("{}:{}: {}", file.display(), number + 1, line.trim()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
