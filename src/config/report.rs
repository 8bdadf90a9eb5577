//! What the loader collects on its way: complaints (fatal) and warnings (accepted with a remark).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::Complaint;

/// Where a value stands: the file and the key path in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// File name as given.
    pub file: Arc<str>,
    /// Dotted key path with indexes: `services.search.haproxy.listen[3]`; empty for the document itself.
    pub path: String,
}

impl Place {
    /// The place of `key` below this one. Keys that are not plain words are quoted.
    pub fn key(&self, key: &str) -> Self {
        let plain = !key.is_empty()
            && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        let key = if plain { key.to_owned() } else { format!("{key:?}") };
        let path = if self.path.is_empty() { key } else { format!("{}.{key}", self.path) };
        Self { file: Arc::clone(&self.file), path }
    }

    /// The place of item `index` of the list that stands here.
    pub fn index(&self, index: usize) -> Self {
        Self { file: Arc::clone(&self.file), path: format!("{}[{index}]", self.path) }
    }

    /// A complaint about this place.
    pub fn complaint(&self, text: impl Into<String>) -> Complaint {
        Complaint { file: Arc::clone(&self.file), path: self.path.clone(), text: text.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.path)
    }
}

/// One haproxy line and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The text as written.
    pub text: String,
    /// Where.
    pub place: Place,
}

/// The same remark about many places is one remark about the first of them: what is said five hundred times is not read.
pub fn grouped(all: Vec<Complaint>) -> Vec<Complaint> {
    let mut groups: Vec<(Complaint, usize, Option<Place>)> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for complaint in all {
        let seen = known.get(&complaint.text).and_then(|at| groups.get_mut(*at));
        let Some((_, more, last)) = seen else {
            known.insert(complaint.text.clone(), groups.len());
            groups.push((complaint, 0, None));
            continue;
        };
        *more += 1;
        *last = Some(Place { file: complaint.file, path: complaint.path });
    }
    let text = |(mut first, more, last): (Complaint, usize, Option<Place>)| {
        if let Some(last) = last {
            let shown = if last.file == first.file { last.path } else { last.to_string() };
            let rest = match more {
                1 => format!(" (also at {shown})"),
                more => format!(" ({more} more, the last at {shown})"),
            };
            first.text.push_str(&rest);
        }
        first
    };
    groups.into_iter().map(text).collect()
}

/// Collects everything that is wrong; nothing stops at the first mistake.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Fatal: the configuration is refused.
    pub complaints: Vec<Complaint>,
    /// Accepted with a remark; complaints under `--strict`.
    pub warnings: Vec<Complaint>,
}

impl Report {
    /// Adds a fatal complaint.
    pub fn complain(&mut self, place: &Place, text: impl Into<String>) {
        self.complaints.push(place.complaint(text));
    }

    /// Adds a remark.
    pub fn warn(&mut self, place: &Place, text: impl Into<String>) {
        self.warnings.push(place.complaint(text));
    }
}
