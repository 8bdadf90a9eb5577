use super::super::names;
use super::*;
use proptest::prelude::*;
use std::time::Duration;

#[test]
fn a_family_has_one_header_and_none_without_samples() {
    let mut text = Exposition::new();
    let mut up = text.family(&names::BACKENDS_UP);
    up.sample(&Labels::none().with("service", "a"), 1);
    up.sample(&Labels::none().with("service", "b"), 2);
    text.family(&names::BACKENDS_KNOWN);
    assert_eq!(
        text.finish(),
        "# HELP synapse_backends_up Backends that are up or not checked.\n\
         # TYPE synapse_backends_up gauge\n\
         synapse_backends_up{service=\"a\"} 1\n\
         synapse_backends_up{service=\"b\"} 2\n"
    );
}

#[test]
fn a_family_goes_on_without_a_header_after_a_piece_was_taken() {
    let service = |name| Labels::none().with("service", name);
    let mut text = Exposition::new();
    text.family(&names::BACKENDS_UP).sample(&service("a"), 1);
    let first = text.take(0);
    assert_eq!(text.written(), 0);
    text.family(&names::BACKENDS_UP).sample(&service("b"), 2);
    assert_eq!(text.take(0), "synapse_backends_up{service=\"b\"} 2\n");
    text.family(&names::BACKENDS_KNOWN).sample(&service("a"), 3);
    let last = text.finish();
    assert!([first, last].iter().all(|piece| piece.starts_with("# HELP ")));
}

#[test]
fn labels_can_be_set_anew() {
    let base = Labels::none().with("service", "a");
    let mut labels = base.with("backend", "longer than the next");
    labels.set(&base, "backend", "b\"");
    assert_eq!(labels, base.with("backend", "b\""));
}

#[test]
fn histogram_buckets_are_cumulative_over_workers() {
    let (one, two) = (Histogram::default(), Histogram::default());
    one.observe(Duration::from_micros(100));
    one.observe(Duration::from_millis(3));
    two.observe(Duration::from_secs(60));
    let mut text = Exposition::new();
    text.family(&names::HTTP_DURATION)
        .histogram(&Labels::none().with("service", "a"), [&one, &two].into_iter());
    let text = text.finish();
    for line in [
        "_bucket{service=\"a\",le=\"0.0001\"} 1",
        "_bucket{service=\"a\",le=\"0.0025\"} 1",
        "_bucket{service=\"a\",le=\"0.005\"} 2",
        "_bucket{service=\"a\",le=\"10\"} 2",
        "_bucket{service=\"a\",le=\"+Inf\"} 3",
        "_sum{service=\"a\"} 60.0031",
        "_count{service=\"a\"} 3",
    ] {
        let line = format!("synapse_http_request_duration_seconds{line}\n");
        assert!(text.contains(&line), "{line} not in {text}");
    }
}

#[test]
fn the_three_special_characters_are_escaped() {
    let labels = Labels::none().with("service", "a\\b\"c\nd");
    assert_eq!(labels.as_str(), r#"service="a\\b\"c\nd""#);
}

/// What a reader of the format makes of an escaped value; `None` when the quotes do not balance.
fn read_back(text: &str) -> Option<String> {
    let inner = text.strip_prefix("service=\"")?.strip_suffix('"')?;
    let mut value = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\n' => return None,
            '\\' => match chars.next()? {
                'n' => value.push('\n'),
                c @ ('\\' | '"') => value.push(c),
                _ => return None,
            },
            c => value.push(c),
        }
    }
    Some(value)
}

proptest! {
    #[test]
    fn any_label_value_reads_back_as_itself(value in any::<String>()) {
        let labels = Labels::none().with("service", &value);
        prop_assert_eq!(read_back(labels.as_str()), Some(value));
    }

    #[test]
    fn values_of_quotes_and_backslashes_read_back(value in "[\\\\\"\n a]{0,12}") {
        let labels = Labels::none().with("service", &value);
        prop_assert_eq!(read_back(labels.as_str()), Some(value));
    }
}
