//! Tables for people, JSON for everything else.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::Outcome;

/// A Markdown table with aligned columns.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these columns.
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|s| (*s).to_owned()).collect()] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cell = |row: &'_ Vec<String>, i: usize| row.get(i).cloned().unwrap_or_default();
        let widths: Vec<usize> = (0..columns)
            .map(|i| self.rows.iter().map(|r| cell(r, i).len()).max().unwrap_or(0))
            .collect();
        for (number, row) in self.rows.iter().enumerate() {
            for (i, width) in widths.iter().enumerate() {
                let text = cell(row, i);
                write!(f, "| {text:width$} ")?;
            }
            writeln!(f, "|")?;
            if number == 0 {
                for width in &widths {
                    write!(f, "|{}", "-".repeat(width + 2))?;
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// Writes both parts, the circumstances and the findings, to `NAME-SECONDS.json`, and says where; gives the path.
pub(crate) fn write(dir: &Path, name: &str, parts: [Value; 2]) -> Outcome<PathBuf> {
    fs::create_dir_all(dir)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let command: Vec<String> = std::env::args().skip(1).collect();
    let mut all = json!({"bench": name, "unix_time": now, "arguments": command});
    for part in parts {
        if let (Some(all), Value::Object(part)) = (all.as_object_mut(), part) {
            all.extend(part);
        }
    }
    let file = dir.join(format!("{name}-{now}.json"));
    fs::write(&file, format!("{all:#}\n"))?;
    println!("results: {}", file.display());
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["a", "long"]);
        table.row(vec!["wider".into(), "x".into()]);
        assert_eq!(table.to_string(), "| a     | long |\n|-------|------|\n| wider | x    |\n");
    }
}
