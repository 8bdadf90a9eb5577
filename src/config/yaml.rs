//! JSON and YAML to one kind of value, read as Psych (Ruby's YAML 1.1) reads them.
//!
//! A text is tried as strict JSON first: it is the common case, and JSON's escapes (surrogate pairs) are not YAML's.
//! Otherwise it is YAML: the parser gives events with positions, the meaning of scalars is in [`super::scalar`].
//! Only the first document of a stream counts, duplicate keys: the last wins (in the place of the first), `<<` merges
//! as Psych does it. Aliases are copied, up to a bound: a few lines of nested aliases must not eat the memory.
//!
//! Numbers that need more than 64 bits (Yelp's seeds) arrive as a string of their digits; no float rounds them.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::{Map, Value};

use super::json::{SyntaxError, parse_json};
use super::scalar;

/// What aliases may expand to, in bytes of values, all together. A large hand-written config is under 1 MiB.
const MAX_EXPANSION_BYTES: usize = 16 << 20;

/// Nesting of lists and maps; real configs need about eight. Bounds every recursion over the value.
const MAX_DEPTH: usize = 100;

/// Reads `text`: strict JSON, else YAML. `Null` for an empty text. `prefer_json` chooses whose error is reported when
/// it is neither (for a `*.json` file JSON's is the useful one).
///
/// # Errors
/// The first place where the text cannot be read on.
pub fn parse(text: &str, prefer_json: bool) -> Result<Value, SyntaxError> {
    parse_with(parse_json, text, prefer_json)
}

/// As [`parse`], with another reader of strict JSON.
///
/// # Errors
/// As [`parse`].
pub fn parse_with(
    json: fn(&str) -> Result<Value, SyntaxError>,
    text: &str,
    prefer_json: bool,
) -> Result<Value, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let json_error = match json(text) {
        Ok(value) => return Ok(value),
        Err(e) => e,
    };
    parse_yaml(text).map_err(|yaml_error| if prefer_json { json_error } else { yaml_error })
}

/// Reads the first document of a YAML stream.
///
/// # Errors
/// The first place that is not YAML, or that means something other than plain data.
pub fn parse_yaml(text: &str) -> Result<Value, SyntaxError> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| syntax_error(&e))?;
        if let Some(document) = builder.feed(event, span)? {
            return Ok(document);
        }
    }
    Ok(Value::Null)
}

fn syntax_error(error: &ScanError) -> SyntaxError {
    at(*error.marker(), error.info())
}

fn at(mark: Marker, text: impl Into<String>) -> SyntaxError {
    SyntaxError { line: mark.line(), column: mark.col() + 1, text: text.into() }
}

/// A list or map that is still open.
enum Frame {
    List { anchor: usize, items: Vec<Value> },
    Map { anchor: usize, entries: Map<String, Value>, key: Option<Key> },
}

struct Key {
    text: String,
    is_merge: bool,
}

/// How a scalar was written.
enum Scalar<'a> {
    Plain,
    Quoted,
    Tagged(&'a Tag),
}

/// Turns events into one value.
#[derive(Default)]
struct Builder {
    open: Vec<Frame>,
    anchors: HashMap<usize, (Value, usize)>,
    expanded_bytes: usize,
    done: Option<Value>,
}

impl Builder {
    /// The document, once it is complete.
    fn feed(&mut self, event: Event<'_>, span: Span) -> Result<Option<Value>, SyntaxError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = match tag.as_deref() {
                    None if style == ScalarStyle::Plain => Scalar::Plain,
                    None => Scalar::Quoted,
                    Some(tag) => Scalar::Tagged(tag),
                };
                self.scalar(&text, value, anchor, span)?;
            }
            Event::Alias(id) => self.alias(id, span)?,
            Event::SequenceStart(anchor, tag) => {
                check_tag(tag.as_deref(), "seq", span)?;
                let items = Vec::new();
                self.open(Frame::List { anchor, items }, span)?;
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(tag.as_deref(), "map", span)?;
                let (entries, key) = (Map::new(), None);
                self.open(Frame::Map { anchor, entries, key }, span)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span)?,
            Event::DocumentEnd => return Ok(Some(self.done.take().unwrap_or_default())),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {}
        }
        Ok(None)
    }

    fn scalar(
        &mut self,
        text: &str,
        kind: Scalar<'_>,
        anchor: usize,
        span: Span,
    ) -> Result<(), SyntaxError> {
        if let Some(Frame::Map { key: key @ None, .. }) = self.open.last_mut() {
            // Keys stay text: a service may be called `no` or `08`.
            *key = Some(Key {
                text: text.to_owned(),
                is_merge: matches!(kind, Scalar::Plain) && text == "<<",
            });
            self.remember(anchor, &Value::from(text));
            return Ok(());
        }
        let value = match kind {
            Scalar::Plain => scalar::resolve(text),
            Scalar::Quoted => Value::from(text),
            Scalar::Tagged(tag) => tagged(text, tag).map_err(|text| at(span.start, text))?,
        };
        self.remember(anchor, &value);
        self.place(value, span)
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<(), SyntaxError> {
        let Some((value, bytes)) = self.anchors.get(&id) else {
            return Err(at(span.start, "alias to the value that contains it"));
        };
        self.expanded_bytes = self.expanded_bytes.saturating_add(*bytes);
        if self.expanded_bytes > MAX_EXPANSION_BYTES {
            return Err(at(span.start, "aliases expand to more than 16 MiB"));
        }
        let value = value.clone();
        if let Some(Frame::Map { key: key @ None, .. }) = self.open.last_mut() {
            let Value::String(text) = value else {
                return Err(at(span.start, "a key must be a plain word or a string"));
            };
            let is_merge = false;
            *key = Some(Key { text, is_merge });
            return Ok(());
        }
        self.place(value, span)
    }

    fn open(&mut self, frame: Frame, span: Span) -> Result<(), SyntaxError> {
        if let Some(Frame::Map { key: None, .. }) = self.open.last() {
            return Err(at(
                span.start,
                "a key must be a plain word or a string, not a list or map",
            ));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(at(span.start, format!("nested more than {MAX_DEPTH} levels deep")));
        }
        self.open.push(frame);
        Ok(())
    }

    fn close(&mut self, span: Span) -> Result<(), SyntaxError> {
        let (anchor, value) = match self.open.pop() {
            Some(Frame::List { anchor, items }) => (anchor, Value::Array(items)),
            Some(Frame::Map { anchor, entries, .. }) => (anchor, Value::Object(entries)),
            None => return Err(at(span.start, "end of a list or map that was not begun")),
        };
        self.remember(anchor, &value);
        self.place(value, span)
    }

    fn remember(&mut self, anchor: usize, value: &Value) {
        // 0: the value has no anchor.
        if anchor > 0 {
            self.anchors.insert(anchor, (value.clone(), size_bytes(value)));
        }
    }

    /// Puts a complete value where it belongs.
    fn place(&mut self, value: Value, span: Span) -> Result<(), SyntaxError> {
        match self.open.last_mut() {
            None => self.done = Some(value),
            Some(Frame::List { items, .. }) => items.push(value),
            Some(Frame::Map { entries, key, .. }) => {
                let Some(key) = key.take() else {
                    return Err(at(span.start, "a value without a key"));
                };
                if key.is_merge {
                    merge(entries, value);
                } else {
                    entries.insert(key.text, value);
                }
            }
        }
        Ok(())
    }
}

/// `<<`: as Psych, at its place: it overwrites keys before it and is overwritten by keys after it. In a list of maps
/// the first wins. Anything else stays an ordinary key.
fn merge(entries: &mut Map<String, Value>, value: Value) {
    match value {
        Value::Object(map) => entries.extend(map),
        Value::Array(maps) if maps.iter().all(Value::is_object) => {
            let mut merged = Map::new();
            for map in maps.into_iter().rev() {
                if let Value::Object(map) = map {
                    merged.extend(map);
                }
            }
            entries.extend(merged);
        }
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            entries.insert("<<".to_owned(), value);
        }
    }
}

/// Rough size in memory; only has to grow with the real one.
fn size_bytes(value: &Value) -> usize {
    const NODE: usize = 72;
    NODE + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size_bytes).sum(),
        Value::Object(map) => map.iter().map(|(k, v)| k.len() + size_bytes(v)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

fn check_tag(tag: Option<&Tag>, expected: &str, span: Span) -> Result<(), SyntaxError> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == expected) => {
            Err(at(span.start, format!("tag {tag} is not understood; write plain data")))
        }
        _ => Ok(()),
    }
}

/// `!!str 5` and friends.
fn tagged(text: &str, tag: &Tag) -> Result<Value, String> {
    if tag.handle.is_empty() || tag.handle == "!" && tag.suffix.is_empty() {
        return Ok(Value::from(text));
    }
    let core = tag.is_yaml_core_schema();
    let value = scalar::resolve(text);
    let fits = match tag.suffix.as_str() {
        "str" if core => return Ok(Value::from(text)),
        "int" if core => value.is_i64() || value.is_u64(),
        "float" if core => value.is_number(),
        "bool" if core => value.is_boolean(),
        "null" if core => value.is_null(),
        _ => return Err(format!("tag {tag} is not understood; write plain data")),
    };
    fits.then_some(value).ok_or_else(|| format!("{text:?} is not what tag {tag} says"))
}

#[cfg(test)]
mod tests;
