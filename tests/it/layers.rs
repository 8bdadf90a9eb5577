//! Imports flow towards the plain values: the table of the architecture, held against the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The rows, lowest first. A module imports only from lower rows (and from what [`ALSO`] allows).
const ROWS: &[&[&str]] = &[
    &["endpoint", "backoff", "dial", "digits", "disk", "shutdown", "readiness"],
    &["health", "registry", "telemetry"],
    &["discovery"],
    &["lb", "registration"],
    &["proxy"],
    &["config", "admin"],
    &["app"],
    &["bin"],
];

/// Allowed although the rows do not say so: who, what, why.
const ALSO: &[(&str, &str, &str)] = &[
    ("registry", "health::BoxFuture", "a name for a boxed future; it knows nothing of checks"),
    ("registry", "telemetry", "everybody may count"),
    ("health", "telemetry", "everybody may count"),
    ("admin", "config", "shows the effective settings"),
];

/// Forbidden although the rows allow it: who, what, why.
const NEVER: &[(&str, &str, &str)] = &[
    ("discovery", "health", "who exists is not who works (except health::BoxFuture)"),
    ("proxy", "discovery", "the proxy sees a pool handle and leases"),
    ("proxy", "health", "the proxy sees a pool handle and leases"),
    ("proxy", "registry", "the proxy sees a pool handle and leases"),
    ("lb", "registry", "the pool is told who exists by discovery"),
];

/// One `crate::…` path in a source file, test modules left out.
#[derive(Debug)]
struct Import {
    file: PathBuf,
    line: usize,
    from: String,
    /// The path below the crate, as far as it is written out: `health::BoxFuture`.
    path: String,
}

impl Import {
    fn to(&self) -> &str {
        self.path.split("::").next().unwrap_or_default()
    }

    fn says(&self, why: &str) -> String {
        let Self { file, line, from, path } = self;
        format!("{}:{line}: {from} imports {path}: {why}", file.display())
    }
}

#[test]
fn imports_only_go_down() {
    let (imports, files) = imports();
    assert!(files > 30, "only {files} source files found");
    let wrong: Vec<String> = imports.iter().filter_map(judge).collect();
    assert!(wrong.is_empty(), "{} wrong imports:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn no_two_modules_import_each_other() {
    let (imports, _) = imports();
    let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for import in imports.iter().filter(|i| i.from != i.to() && !is_allowed_extra(i)) {
        graph.entry(&import.from).or_default().insert(import.to());
    }
    for start in graph.keys() {
        if let Some(path) = circle(&graph, start) {
            let ends: Vec<String> = imports
                .iter()
                .filter(|i| path.windows(2).any(|w| w[0] == i.from && w[1] == i.to()))
                .map(|i| i.says("part of the circle"))
                .collect();
            panic!("circular: {}\n{}", path.join(" -> "), ends.join("\n"));
        }
    }
}

/// A way from `start` back to itself.
fn circle<'a>(
    graph: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    start: &'a str,
) -> Option<Vec<&'a str>> {
    let mut paths = vec![vec![start]];
    let mut seen = BTreeSet::new();
    while let Some(path) = paths.pop() {
        let here = *path.last()?;
        for next in graph.get(here).into_iter().flatten() {
            let mut longer = path.clone();
            longer.push(next);
            if *next == start {
                return Some(longer);
            }
            if seen.insert(*next) {
                paths.push(longer);
            }
        }
    }
    None
}

#[test]
fn the_scanner_sees_every_shape() {
    let text = "use crate::a::B;\nuse crate::{c::D, e};\n// use crate::comment;\n/// [`crate::doc`]\n\
                let x = crate::f::g();\nlet s = \"crate::text\";\nuse super::super::h::I;\n\
                use crate::{\n    j,\n    k::{L, M},\n};\n#[cfg(test)]\nmod tests { use crate::n; }\n";
    let found: Vec<(usize, String)> = scan(text, 2);
    let paths: Vec<&str> = found.iter().map(|(_, path)| path.as_str()).collect();
    assert_eq!(paths, ["a::B", "c::D", "e", "f::g", "h::I", "j", "k"]);
    assert_eq!(found[5].0, 9, "the line of a name inside a group");
}

fn row(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

fn is_allowed_extra(import: &Import) -> bool {
    ALSO.iter().any(|(from, what, _)| {
        import.from == *from
            && (import.path == *what || import.path.starts_with(&format!("{what}::")))
    }) || (import.from == "discovery" && import.path.starts_with("health::BoxFuture"))
}

/// Why an import is wrong.
fn judge(import: &Import) -> Option<String> {
    let to = import.to();
    if import.from == to || is_allowed_extra(import) {
        return None;
    }
    let Some(from_row) = row(&import.from) else {
        return Some(import.says("this module has no row: add it to the table"));
    };
    let Some(to_row) = row(to) else {
        return Some(import.says("not a module of the table"));
    };
    if let Some((_, _, why)) = NEVER.iter().find(|(f, t, _)| *f == import.from && *t == to) {
        return Some(import.says(why));
    }
    (to_row >= from_row)
        .then(|| import.says(&format!("row {from_row} may not import from row {to_row}")))
}

/// All imports between modules, and how many files were read. `lib.rs` is exempt: it declares the modules.
fn imports() -> (Vec<Import>, usize) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut imports = Vec::new();
    let files = super::budget::rust_files(&root);
    for file in &files {
        let inside = file.strip_prefix(&root).expect("below src").with_extension("");
        let mut parts: Vec<&str> = inside.iter().map(|p| p.to_str().expect("UTF-8")).collect();
        if parts == ["lib"] || is_test_only(file, &root) {
            continue;
        }
        if parts.last() == Some(&"mod") {
            parts.pop();
        }
        let text = std::fs::read_to_string(file).expect("readable");
        let text = if parts[0] == "bin" { text.replace("smartstack::", "crate::") } else { text };
        for (line, path) in scan(&text, parts.len()) {
            let from = parts[0].to_owned();
            imports.push(Import {
                file: Path::new("src").join(file.strip_prefix(&root).expect("below")),
                line,
                from,
                path,
            });
        }
    }
    (imports, files.len())
}

/// Every path below the crate in `text`, with its line. `depth` is how many modules above the crate the file is.
fn scan(text: &str, depth: usize) -> Vec<(usize, String)> {
    let code = blank_comments_and_strings(&without_tests(text));
    let mut found = Vec::new();
    let above = "super::".repeat(depth);
    for root in ["crate::", above.as_str()] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            paths(&code, at + root.len(), &mut found);
        }
    }
    found.sort();
    let line = |at: usize| code[..at].matches('\n').count() + 1;
    found.into_iter().map(|(at, path)| (line(at), path)).collect()
}

/// The path at `at`, or all paths of the group `{…}` there.
fn paths(code: &str, at: usize, found: &mut Vec<(usize, String)>) {
    let Some(group) = code[at..].strip_prefix('{') else {
        let path: String = code[at..]
            .chars()
            .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':'))
            .collect();
        found.push((at, path.trim_end_matches(':').to_owned()));
        return;
    };
    let mut level = 0_usize;
    let mut fresh = true;
    for (offset, c) in group.char_indices() {
        match c {
            '{' => level += 1,
            '}' if level == 0 => return,
            '}' => level -= 1,
            ',' if level == 0 => fresh = true,
            c if fresh && level == 0 && (c.is_alphanumeric() || c == '_') => {
                fresh = false;
                paths(code, at + 1 + offset, found);
            }
            _ => {}
        }
    }
}

/// The text before the test module, which may import what it likes and be as long as it needs.
fn without_tests(text: &str) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let is_test_module = |from: usize| {
        lines[from].trim_end() == "#[cfg(test)]"
            && lines[from..]
                .iter()
                .find(|line| {
                    line.contains("mod ") || line.starts_with("fn ") || line.starts_with("use ")
                })
                .is_some_and(|line| line.contains("mod ") && line.contains('{'))
    };
    let end = (0..lines.len()).find(|i| is_test_module(*i)).unwrap_or(lines.len());
    lines[..end].concat()
}

/// True for a file that only the tests are compiled with: it or a directory above it is declared under `cfg(test)`.
fn is_test_only(file: &Path, root: &Path) -> bool {
    let inside = file.strip_prefix(root).expect("below").with_extension("");
    let names: Vec<&str> = inside.iter().map(|p| p.to_str().expect("UTF-8")).collect();
    (0..names.len()).any(|i| {
        let parent = root.join(names[..i].iter().collect::<PathBuf>());
        let candidates = if i == 0 {
            vec![root.join("lib.rs")]
        } else {
            vec![parent.join("mod.rs"), parent.with_extension("rs")]
        };
        candidates.iter().filter_map(|c| std::fs::read_to_string(c).ok()).any(|text| {
            let lines: Vec<&str> = text.lines().collect();
            lines.windows(2).any(|pair| {
                pair[0].trim() == "#[cfg(test)]" && pair[1].ends_with(&format!("mod {};", names[i]))
            })
        })
    })
}

/// Comments and string literals become blanks, so that lines keep their numbers.
fn blank_comments_and_strings(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut in_string = false;
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            if !in_string && c == '/' && chars.peek() == Some(&'/') {
                out.push('\n');
                break;
            }
            match c {
                '\\' if in_string => {
                    chars.next();
                }
                '"' => in_string = !in_string,
                c if in_string && c != '\n' => {}
                c => out.push(c),
            }
        }
    }
    out
}
