//! The list in the file: a JSON list of items as synapse's `file` discovery reads it. Pure.
//!
//! Items that are not ours are kept to the byte and in their order, whatever they are: only their brackets and commas are
//! written anew.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::endpoint::Endpoint;
use crate::registry::record::{NerveRecord, RecordError, from_item};

/// Somebody's item, as it stands there.
type Item = Box<RawValue>;

/// The file's content, item by item.
#[derive(Debug, Default)]
pub(super) struct List(Vec<Item>);

/// The item that we keep.
#[derive(Debug)]
pub(super) struct Line {
    text: String,
    value: Value,
    /// Only its identity is used.
    endpoint: Endpoint,
}

/// Why a text is no such list.
#[derive(Debug, thiserror::Error)]
#[error("not a JSON list: {0}")]
pub(super) struct NotAList(#[from] serde_json::Error);

impl Line {
    /// # Errors
    /// When synapse could not read it.
    pub(super) fn new(record: &NerveRecord) -> Result<Self, RecordError> {
        let text = String::from_utf8_lossy(&record.encode()).into_owned();
        let value = serde_json::from_str(&text)
            .map_err(|error| RecordError::NotJson { detail: error.to_string() })?;
        let endpoint = from_item(&value)?;
        Ok(Self { text, value, endpoint })
    }

    /// The item as a value, if it says the same host, port and name.
    fn match_in(&self, item: &RawValue) -> Option<Value> {
        let value = serde_json::from_str(item.get()).ok()?;
        let is_same = from_item(&value).ok()?.identity() == self.endpoint.identity();
        is_same.then_some(value)
    }
}

impl List {
    /// Nothing but white space is an empty list: there is nothing to lose.
    ///
    /// # Errors
    /// [`NotAList`], YAML included.
    pub(super) fn parse(text: &[u8]) -> Result<Self, NotAList> {
        if text.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        Ok(Self(serde_json::from_slice(text)?))
    }

    /// Whether `line` stands there once and says what it should (`is_wanted`), or not at all.
    pub(super) fn is_right(&self, line: &Line, is_wanted: bool) -> bool {
        let mut found = self.0.iter().filter_map(|item| line.match_in(item));
        match found.next() {
            Some(value) => is_wanted && value == line.value && found.next().is_none(),
            None => !is_wanted,
        }
    }

    /// The text with `line` once, in the place of the first of its identity or at the end; or without any of them.
    pub(super) fn render(&self, line: &Line, is_wanted: bool) -> String {
        let mut wanted = is_wanted.then_some(line.text.as_str());
        let mut texts = Vec::with_capacity(self.0.len() + 1);
        for item in &self.0 {
            let is_other = line.match_in(item).is_none();
            texts.extend(if is_other { Some(item.get()) } else { wanted.take() });
        }
        texts.extend(wanted);
        match texts.as_slice() {
            [] => "[]\n".to_owned(),
            texts => format!("[\n{}\n]\n", texts.join(",\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn line() -> Line {
        Line::new(&super::super::tests::record("me", 7)).unwrap()
    }

    fn edited(text: &str, is_wanted: bool) -> String {
        let list = List::parse(text.as_bytes()).unwrap();
        let text = list.render(&line(), is_wanted);
        assert!(List::parse(text.as_bytes()).unwrap().is_right(&line(), is_wanted));
        text
    }

    #[test]
    fn foreign_items_stay_to_the_byte() {
        let foreign = r#"{"port": 1,  "host":"h", "x": 1.50, "x": 12345678901234567890123}"#;
        let text = format!("[7,{foreign}\n,\"a\"]");
        let with = edited(&text, true);
        assert!(
            with.starts_with(&format!("[\n7,\n{foreign},\n\"a\",\n{{\"host\":\"me\"")),
            "{with}"
        );
        assert_eq!(edited(&with, false), format!("[\n7,\n{foreign},\n\"a\"\n]\n"));
    }

    #[test]
    fn one_line_of_ours_in_the_place_of_the_first() {
        let text = r#"[{"host":"me","port":"7","name":"i-1","weight":9},{"host":"a","port":1},
            {"host":"me","port":7,"name":"i-1"}]"#;
        let ours = r#"{"host":"me","port":7,"name":"i-1"}"#;
        assert_eq!(edited(text, true), format!("[\n{ours},\n{{\"host\":\"a\",\"port\":1}}\n]\n"));
        assert_eq!(edited(text, false), "[\n{\"host\":\"a\",\"port\":1}\n]\n");
    }

    #[test]
    fn another_port_or_name_is_not_ours() {
        let text = r#"[{"host":"me","port":8,"name":"i-1"},{"host":"me","port":7,"name":"i-2"}]"#;
        let list = List::parse(text.as_bytes()).unwrap();
        assert!(list.is_right(&line(), false));
    }

    #[test]
    fn the_same_value_in_another_form_is_right_but_another_value_is_not() {
        let right = b"[ {\"name\": \"i-1\", \"host\": \"me\", \"port\": 7} ]";
        assert!(List::parse(right).unwrap().is_right(&line(), true));
        let changed = br#"[{"host":"me","port":7,"name":"i-1","weight":0}]"#;
        assert!(!List::parse(changed).unwrap().is_right(&line(), true));
    }

    #[test]
    fn only_lists_are_lists() {
        for text in ["{}", "[", "[1,]", "- a\n- b", "null", "[]x"] {
            assert!(List::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(List::parse(b"[\"\xff\"]").is_err());
        assert_eq!(edited(" \n", false), "[]\n");
    }

    proptest! {
        #[test]
        fn nothing_of_others_is_ever_lost(
            items in proptest::collection::vec((0_u16..4, 0_u8..3), 0..8),
            wishes in proptest::collection::vec(any::<bool>(), 1..6),
        ) {
            let items: Vec<Value> = items
                .into_iter()
                .map(|(port, name)| json!({"host": "me", "port": port + 5, "name": format!("i-{name}")}))
                .collect();
            let is_foreign = |item: &&Value| !(item["port"] == 7 && item["name"] == "i-1");
            let foreign: Vec<Value> = items.iter().filter(is_foreign).cloned().collect();
            let mut text = serde_json::to_string(&items).unwrap();
            for is_wanted in wishes {
                text = edited(&text, is_wanted);
                let now: Vec<Value> = serde_json::from_str(&text).unwrap();
                let kept: Vec<Value> = now.iter().filter(is_foreign).cloned().collect();
                prop_assert_eq!(&kept, &foreign);
                prop_assert_eq!(now.len(), foreign.len() + usize::from(is_wanted));
            }
        }
    }
}
