//! What the documents show works.
//!
//! A fenced block is tried when its info string says so: `json config` and `yaml config` must pass `synapse check`, `yaml
//! nerve` must pass `nerve -k`,
//! `sh run` must exit 0 with `synapse` and `nerve` in the path. Every file in `examples/` must pass, too.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::budget::rust_files;
use crate::support::lab::Lab;
use crate::support::synapse::{Output, binary, run};

struct Block {
    place: String,
    kind: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("readable").path())
        .filter(|p| p.extension().is_some_and(|e| extensions.iter().any(|x| e == *x)))
        .collect();
    files.sort();
    files
}

fn blocks() -> Vec<Block> {
    let mut documents = files(&root().join("docs"), &["md"]);
    documents.push(root().join("README.md"));
    let mut blocks = Vec::new();
    for document in documents {
        let text = std::fs::read_to_string(&document).expect("readable");
        let mut open: Option<Block> = None;
        for (number, line) in text.lines().enumerate() {
            match (line.strip_prefix("```"), &mut open) {
                (Some(kind), None) => {
                    let place = format!("{}:{}", document.display(), number + 1);
                    open = Some(Block { place, kind: kind.trim().to_owned(), text: String::new() });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (None, Some(block)) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block is not closed", document.display());
    }
    blocks
}

#[tokio::test]
async fn configs_in_the_documents_pass_the_check() {
    let lab = Lab::new().await;
    for block in blocks() {
        let (name, is_nerves) = match block.kind.as_str() {
            "json config" => ("document.json", false),
            "yaml config" => ("document.yaml", false),
            "yaml nerve" => ("document.yaml", true),
            _ => continue,
        };
        let file = lab.write(name, &block.text);
        let output = check(&file, is_nerves).await;
        assert_eq!(output.code, Some(0), "{}: {}", block.place, output.stderr);
    }
}

#[tokio::test]
async fn commands_in_the_documents_run() {
    let programs = binary("synapse").parent().expect("a directory").to_owned();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").expect("PATH"));
    for block in blocks().iter().filter(|b| b.kind == "sh run") {
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &block.text])
            .env("PATH", &path)
            .current_dir(root())
            .output()
            .await
            .expect("bash");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {said}", block.place);
    }
}

#[tokio::test]
async fn examples_pass_the_check() {
    for file in files(&root().join("examples"), &["json", "yaml"]) {
        let is_nerves = file.file_name().is_some_and(|n| n.to_string_lossy().starts_with("nerve"));
        // Lists for `discovery: file` and the like lie beside the configurations that name them.
        if !std::fs::read_to_string(&file).expect("readable").contains("services") {
            continue;
        }
        let output = check(&file, is_nerves).await;
        assert_eq!(output.code, Some(0), "{}: {}", file.display(), output.stderr);
    }
}

/// `synapse check -c FILE`, or nerve's `-c FILE -k`.
async fn check(file: &Path, is_nerves: bool) -> Output {
    let file = file.to_string_lossy();
    if is_nerves {
        run("nerve", &["-c", &file, "-k"], &[]).await
    } else {
        run("synapse", &["check", "-c", &file], &[]).await
    }
}

#[test]
fn the_readme_names_its_test_command() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    assert!(readme.contains("scripts/test"), "the one test command");
    assert!(readme.contains("cargo run --release -- demo"), "the first command");
}

/// Every row of the tables "What happens when" names tests, and they exist.
#[test]
fn what_happens_when_is_enforced_by_tests() {
    let source: String = ["src", "tests"]
        .iter()
        .flat_map(|dir| rust_files(&root().join(dir)))
        .map(|file| std::fs::read_to_string(file).expect("readable"))
        .collect();
    for document in ["docs/operations.md", "docs/nerve.md"] {
        let wrong = unenforced(document, &source);
        assert!(wrong.is_empty(), "{document}:\n{}", wrong.join("\n"));
    }
}

/// What is wrong with the table of a document.
fn unenforced(document: &str, source: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(document)).expect(document);
    let rows: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.starts_with("## What happens when"))
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert!(rows.len() >= 25, "only {} rows", rows.len());
    let mut wrong = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{row}");
        // Between two ticks, every second piece.
        let names: Vec<&str> = cells[4].split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            wrong.push(format!("no test: {}", cells[0]));
        }
        for name in names {
            if !source.contains(&format!("fn {name}(")) {
                wrong.push(format!("{}: there is no test {name}", cells[0]));
            }
        }
        for empty in cells.iter().filter(|cell| cell.is_empty()) {
            wrong.push(format!("an empty cell{empty}: {row}"));
        }
    }
    wrong
}
