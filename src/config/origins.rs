//! Effective values and where they come from: the lines of `synapse check`.

use super::EffectiveValue;
use super::report::Place;

/// A line for `synapse check`; without a place the value is a default.
pub fn effective(
    setting: impl Into<String>,
    value: impl ToString,
    place: Option<&Place>,
) -> EffectiveValue {
    EffectiveValue {
        setting: setting.into(),
        value: value.to_string(),
        origin: place.map_or_else(|| "default".to_owned(), ToString::to_string),
    }
}

/// True when no line of the service itself has set `name`.
pub fn is_inherited(name: &str, origins: &[EffectiveValue]) -> bool {
    let inherited = |origin: &str| {
        ["default", "haproxy.defaults", "haproxy.global"]
            .iter()
            .any(|level| origin.starts_with(level) || origin.contains(&format!(": {level}")))
    };
    origins
        .iter()
        .filter(|value| same_setting(&value.setting, name))
        .all(|value| inherited(&value.origin))
}

/// Replaces the line of `setting`, or adds one.
pub fn set_origin(
    origins: &mut Vec<EffectiveValue>,
    setting: String,
    value: String,
    place: &Place,
) {
    let new = effective(setting, value, Some(place));
    match origins
        .iter_mut()
        .find(|o| same_setting(&o.setting, &new.setting))
    {
        Some(old) => {
            // The haproxy spelling stays: it is what the operator knows.
            old.value = new.value;
            old.origin = new.origin;
        }
        None => origins.push(new),
    }
}

/// haproxy spells `timeout http-keep-alive`, we `timeout.http_keep_alive`; `maxconn` is `max_connections`.
fn same_setting(a: &str, b: &str) -> bool {
    fn key(name: &str) -> String {
        let name = name.strip_prefix("option ").unwrap_or(name);
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        match plain.as_str() {
            "maxconn" => "maxconnections".to_owned(),
            _ => plain,
        }
    }
    key(a) == key(b)
}
