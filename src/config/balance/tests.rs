//! Words of `balance`: what is shown, left out and refused.

use super::*;

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn what_is_shown_is_what_was_said() {
    for text in [
        "roundrobin",
        "static-rr",
        "leastconn",
        "first",
        "random(2)",
        "random(7)",
        "source",
        "uri",
        "uri len 3 depth 2 whole path-only",
        "hdr(X-K)",
        "hdr(host) use_domain_only",
        "url_param k",
    ] {
        assert_eq!(algorithm(&words(text)).unwrap().to_string(), text);
    }
    for text in ["map-based djb2", "consistent wt6 avalanche", "consistent sdbm"] {
        assert_eq!(hash_type(&words(text)).unwrap().to_string(), text);
    }
}

#[test]
fn what_is_left_out_is_haproxys() {
    assert_eq!(algorithm(&[]), Ok(Algorithm::RoundRobin));
    assert_eq!(algorithm(&words("random")), Ok(Algorithm::Random(DRAWS)));
    assert_eq!(algorithm(&words("random()")), Ok(Algorithm::Random(DRAWS)));
    assert_eq!(hash_type(&words("map-based")), Ok(HashType::default()));
    assert_eq!(hash_type(&words("consistent")).unwrap().to_string(), "consistent sdbm avalanche");
    assert_eq!(factor("0"), Ok(None));
}

#[test]
fn what_haproxy_refuses_is_refused() {
    for text in [
        "uri depth 0",
        "uri len 0",
        "uri depth -1",
        "uri depth",
        "uri foo",
        "random(0)",
        "random(x)",
        "random(2,3)",
        "hdr()",
        "hdr",
        "hdr(x) foo",
        "url_param",
        "url_param k foo",
        "url_param k check_post",
        "sauce",
        "source foo",
    ] {
        assert!(algorithm(&words(text)).is_err(), "{text}");
    }
    for text in ["", "foo", "consistent none", "consistent avalanche", "map-based sdbm foo"] {
        assert!(hash_type(&words(text)).is_err(), "{text}");
    }
    for text in ["100", "50", "x", "", "-1", "99999999999"] {
        assert!(factor(text).is_err(), "{text}");
    }
}
