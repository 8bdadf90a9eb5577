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
    origins.iter().filter(|value| value.setting == name).all(|value| inherited(&value.origin))
}

/// Replaces the line of `setting`, or adds one.
pub fn set_origin(
    origins: &mut Vec<EffectiveValue>,
    setting: String,
    value: String,
    place: &Place,
) {
    let new = effective(setting, value, Some(place));
    match origins.iter_mut().find(|o| o.setting == new.setting) {
        Some(old) => {
            *old = new;
        }
        None => origins.push(new),
    }
}

/// Drops the main file's name from origins: nearly every value stands there.
pub fn shorten(origins: &mut [EffectiveValue], main: &str) {
    for value in origins {
        let rest = value.origin.strip_prefix(main);
        if let Some(path) = rest.and_then(|rest| rest.strip_prefix(": ")) {
            value.origin = path.to_owned();
        }
    }
}
