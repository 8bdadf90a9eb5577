//! One ordered document out of the file, `service_conf_dir` and the overlay.
//!
//! Every file goes through the templates (synapse only) and the parser, then the parts are put together: each file of
//! `service_conf_dir` replaces the service of its name (in the order of the program's glob, see [`Reading`]), the overlay
//! is merged deep on top. Beside the values stands [`Origins`]: which subtrees come from another file, so that a
//! complaint names the file that somebody has to edit. The document is kept: a generator config found in the registry
//! is resolved against it later.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::json::{self, SyntaxError};
use super::reader::Cursor;
use super::report::{Place, Report};
use super::template::{self, Env};
use super::yaml;

/// Which parts of a document come from elsewhere. Sparse: only replaced subtrees have an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    here: Option<Place>,
    below: BTreeMap<String, Self>,
}

impl Origins {
    /// The place of the subtree itself, when it comes from another file.
    pub fn place(&self) -> Option<&Place> {
        self.here.as_ref()
    }

    /// The origins below `key`, when anything there comes from another file.
    pub fn below(&self, key: &str) -> Option<&Self> {
        self.below.get(key)
    }

    /// The whole subtree under `key` comes from `place`.
    fn replace(&mut self, key: &str, place: Place) {
        let origins = Self { here: Some(place), below: BTreeMap::new() };
        self.below.insert(key.to_owned(), origins);
    }
}

/// How the files of one of the two programs are read.
#[derive(Clone, Debug)]
pub struct Reading {
    env: Env,
    has_templates: bool,
    json: fn(&str) -> Result<Value, SyntaxError>,
    /// Extensions of service files, in the order in which the original's glob finds them.
    extensions: [&'static str; 2],
}

impl Reading {
    /// Synapse: templates, `*.{json,yaml}`.
    pub fn synapse(env: &Env) -> Self {
        let extensions = ["json", "yaml"];
        Self { env: env.clone(), has_templates: true, json: json::parse_json, extensions }
    }

    /// Nerve: no templates (`<%` is text), numbers of JSON as YAML has them (labels are registered byte for byte),
    /// `*.{yaml,json}`.
    pub fn nerve(env: &Env) -> Self {
        let extensions = ["yaml", "json"];
        Self { env: env.clone(), has_templates: false, json: json::parse_json_as_psych, extensions }
    }
}

/// A configuration as read, before anything is understood.
#[derive(Clone, Debug)]
pub struct Document {
    root: Value,
    origins: Origins,
    file: Arc<str>,
}

impl Document {
    /// Reads everything that belongs to the configuration in `file`. `None` when there is no document to go on with;
    /// the report then says why.
    pub fn load(
        file: &Path,
        overlay: Option<&Path>,
        reading: &Reading,
        report: &mut Report,
    ) -> Option<Self> {
        let main = read_map(file, reading, report);
        let overlay = overlay.map(|path| (path, read_map(path, reading, report)));
        let mut document = Self::new(file_name(file), main?);
        let from_overlay = overlay
            .as_ref()
            .and_then(|(path, map)| Some((*path, map.as_ref()?.get("service_conf_dir")?)));
        let conf_dir = match from_overlay {
            Some((path, dir)) => Some((dir.clone(), path)),
            None => document.root.get("service_conf_dir").map(|dir| (dir.clone(), file)),
        };
        if let Some((dir, named_in)) = conf_dir.filter(|(dir, _)| !dir.is_null()) {
            document.add_service_files(&dir, named_in, reading, report);
        }
        if let Some((path, map)) = overlay {
            let place = document_place(file_name(path));
            merge(&mut document.root, &mut document.origins, map?, &place);
        }
        Some(document)
    }

    /// A document that stands in one file.
    pub fn new(file: impl Into<Arc<str>>, map: Map<String, Value>) -> Self {
        Self { root: Value::Object(map), origins: Origins::default(), file: file.into() }
    }

    /// The whole document.
    pub fn root(&self) -> Cursor<'_> {
        let place = document_place(Arc::clone(&self.file));
        Cursor::new(&self.root, place, Some(&self.origins))
    }

    /// The name of the main file.
    pub fn file(&self) -> &Arc<str> {
        &self.file
    }

    fn add_service_files(
        &mut self,
        dir: &Value,
        named_in: &Path,
        reading: &Reading,
        report: &mut Report,
    ) {
        let place = document_place(file_name(named_in)).key("service_conf_dir");
        let Value::String(dir) = dir else {
            report.complain(&place, format!("{dir} is not a directory's name"));
            return;
        };
        let Some(dir) = find_dir(dir, named_in, &reading.env, &place, report) else {
            return;
        };
        let files = match service_files(&dir, reading.extensions) {
            Ok(files) => files,
            Err(e) => {
                report.complain(&place, format!("directory {}: {e}", dir.display()));
                return;
            }
        };
        for (name, path) in files {
            if let Some(service) = read_map(&path, reading, report) {
                self.set_service(name, service, document_place(file_name(&path)));
            }
        }
    }

    fn set_service(&mut self, name: String, service: Map<String, Value>, place: Place) {
        let Value::Object(root) = &mut self.root else {
            return;
        };
        let services = root.entry("services").or_insert(Value::Null);
        if services.is_null() {
            *services = Value::Object(Map::new());
        }
        // A `services` of the wrong type is complained about when it is read.
        if let Value::Object(services) = services {
            let origins = self.origins.below.entry("services".to_owned()).or_default();
            origins.replace(&name, place);
            services.insert(name, Value::Object(service));
        }
    }
}

/// Reads one file to a map; every failure is a complaint about that file.
fn read_map(path: &Path, reading: &Reading, report: &mut Report) -> Option<Map<String, Value>> {
    let place = document_place(file_name(path));
    match read_value(path, reading) {
        Ok(Value::Object(map)) => Some(map),
        Ok(Value::Null) => {
            report.complain(&place, "the file is empty");
            None
        }
        Ok(other) => {
            let shown = super::text::show(&other);
            report.complain(&place, format!("must hold a map, not {shown}"));
            None
        }
        Err(text) => {
            report.complain(&place, text);
            None
        }
    }
}

fn read_value(path: &Path, reading: &Reading) -> Result<Value, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("cannot be read: {e}"))?;
    parse_bytes(&bytes, path.extension().is_some_and(|e| e == "json"), reading)
}

/// Templates, then JSON or YAML.
pub(super) fn parse_bytes(bytes: &[u8], is_json: bool, reading: &Reading) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| format!("is not UTF-8 (first bad byte at offset {})", e.valid_up_to()))?;
    let text = if reading.has_templates {
        Cow::Owned(template::expand(text, &reading.env).map_err(|e| e.to_string())?)
    } else {
        Cow::Borrowed(text)
    };
    // A file that starts as JSON was meant as JSON, whatever it is called.
    let is_json = is_json || text.trim_start().starts_with('{');
    yaml::parse_with(reading.json, &text, is_json).map_err(|e| {
        let kind = if is_json { "JSON" } else { "YAML" };
        format!("is not {kind}: {e}")
    })
}

fn file_name(path: &Path) -> Arc<str> {
    Arc::from(path.display().to_string())
}

fn document_place(file: Arc<str>) -> Place {
    Place { file, path: String::new() }
}

/// As Ruby's `File.expand_path`: relative to the working directory; if nothing is there, beside the file that names it.
fn find_dir(
    dir: &str,
    named_in: &Path,
    env: &Env,
    place: &Place,
    report: &mut Report,
) -> Option<PathBuf> {
    let home = dir.strip_prefix("~/").zip(env.var("HOME"));
    let given = match home {
        Some((rest, home)) => Path::new(&home).join(rest),
        None => PathBuf::from(dir),
    };
    let from_cwd = std::path::absolute(&given).unwrap_or_else(|_| given.clone());
    if from_cwd.is_dir() {
        return Some(from_cwd);
    }
    let beside = named_in.parent().unwrap_or_else(|| Path::new(".")).join(&given);
    if given.is_relative() && beside.is_dir() {
        report.warn(
            place,
            format!(
                "no directory {}; using {} beside the file (give an absolute path)",
                from_cwd.display(),
                beside.display()
            ),
        );
        return Some(beside);
    }
    report.complain(place, format!("no directory {}", from_cwd.display()));
    None
}

/// Service name and file: all of the first extension, then all of the second, each sorted; hidden files are not meant
/// (as in Ruby's glob).
fn service_files(dir: &Path, extensions: [&str; 2]) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let (Some(stem), Some(extension)) = (path.file_stem(), path.extension()) else {
            continue;
        };
        let group = extensions.iter().position(|known| extension == *known);
        let name = stem.to_string_lossy().into_owned();
        if let Some(group) = group.filter(|_| !name.starts_with('.')) {
            files.push((group, name, path));
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, name, path)| (name, path)).collect())
}

/// Maps are merged, anything else is replaced. `place` is where `overlay` stands.
fn merge(base: &mut Value, origins: &mut Origins, overlay: Map<String, Value>, place: &Place) {
    let Value::Object(base) = base else {
        return;
    };
    for (key, value) in overlay {
        let place = place.key(&key);
        match (base.get_mut(&key), value) {
            (Some(old @ Value::Object(_)), Value::Object(new)) => {
                let below = origins.below.entry(key).or_default();
                merge(old, below, new, &place);
            }
            (_, value) => {
                origins.replace(&key, place);
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
