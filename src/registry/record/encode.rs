//! nerve's bytes, exactly: path-encoded names contain them, and other readers compare them.

use std::io;

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// What nerve writes about one instance, in nerve's key order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NerveRecord {
    /// `host`.
    pub host: String,
    /// `port`: an integer, or the digit string that stands in the config (it stays a string).
    pub port: Value,
    /// `instance_id`.
    pub name: String,
    /// Only when configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
    /// Only when configured: whatever the value is, `null` included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub haproxy_server_options: Option<Value>,
    /// Only when configured: whatever the value is, `{}` and `null` included; in the config's order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Value>,
}

impl NerveRecord {
    /// The exact bytes that nerve 0.9.7 writes: compact JSON, raw UTF-8, Ruby's float notation.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        let mut serializer = Serializer::with_formatter(&mut out, RubyFormatter(CompactFormatter));
        #[expect(
            clippy::expect_used,
            reason = "keys are strings and the writer is a Vec: nothing can fail"
        )]
        self.serialize(&mut serializer).expect("a record always serialises into memory");
        out
    }
}

/// serde_json's compact output with Ruby's `Float#to_s`.
struct RubyFormatter(CompactFormatter);

impl Formatter for RubyFormatter {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(ruby_float(value).as_bytes())
    }
}

/// Shortest digits that read back the same; decimal from 1e-4 to below 1e16, else `d.ddde±XX`.
fn ruby_float(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 || (1e-4..1e16).contains(&magnitude) {
        return format!("{value:?}");
    }
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let dot = if mantissa.contains('.') { "" } else { ".0" };
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}{dot}e{sign}{digits:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record() -> NerveRecord {
        NerveRecord {
            host: "10.0.0.1".into(),
            port: json!(8080),
            name: "i-abc123".into(),
            weight: None,
            haproxy_server_options: None,
            labels: None,
        }
    }

    fn encoded(record: &NerveRecord) -> String {
        String::from_utf8(record.encode()).unwrap()
    }

    #[test]
    fn writes_nerves_bytes() {
        assert_eq!(encoded(&record()), r#"{"host":"10.0.0.1","port":8080,"name":"i-abc123"}"#);
        let full = NerveRecord {
            weight: Some(3),
            haproxy_server_options: Some("backup".into()),
            labels: Some(json!({"az": "a"})),
            port: json!("8080"),
            ..record()
        };
        assert_eq!(
            encoded(&full),
            r#"{"host":"10.0.0.1","port":"8080","name":"i-abc123","weight":3,"haproxy_server_options":"backup","labels":{"az":"a"}}"#
        );
        let null = NerveRecord { haproxy_server_options: Some(Value::Null), ..record() };
        assert!(encoded(&null).ends_with(r#","haproxy_server_options":null}"#));
        let odd = json!({"n": 1, "f": 1.0, "f2": "1e+20", "f3": 1.5e-07, "b": true, "nil": null,
            "arr": [1, "x"], "nest": {"a": {}}, "u": "é/<&\u{7f}\u{2028}\n\t\"\\\u{1}"});
        let odd = NerveRecord { labels: Some(odd), ..record() };
        assert!(encoded(&odd).ends_with(concat!(
            r#""labels":{"n":1,"f":1.0,"f2":"1e+20","f3":1.5e-07,"b":true,"nil":null,"arr":[1,"x"],"nest":{"a":{}},"#,
            "\"u\":\"é/<&\u{7f}\u{2028}\\n\\t\\\"\\\\\\u0001\"}}"
        )), "{}", encoded(&odd));
    }

    #[test]
    fn floats_are_written_as_ruby_does() {
        for (value, text) in [
            (0.0, "0.0"),
            (-2.5, "-2.5"),
            (0.0001, "0.0001"),
            (0.00001, "1.0e-05"),
            (1e15, "1000000000000000.0"),
            (1e16, "1.0e+16"),
            (1.25e100, "1.25e+100"),
        ] {
            assert_eq!(ruby_float(value), text);
        }
    }
}
