use super::*;

#[test]
fn functions_are_the_known_ones() {
    assert_eq!(Function::Crc32.of(b"123456789"), 0xcbf4_3926);
    assert_eq!(Function::Djb2.of(b""), 5_381);
    assert_eq!(Function::Djb2.of(b"a"), 177_670);
    assert_eq!(Function::Sdbm.of(b"a"), 97);
    assert_eq!(Function::Sdbm.of(b"ab"), 97 * 65_599 + 98);
    assert_eq!(avalanche(0), avalanche(0));
    assert_ne!(avalanche(1), avalanche(2));
}

#[test]
fn a_target_is_cut_where_haproxy_cuts_it() {
    let depth = NonZeroU32::new;
    for (target, depth, whole, cut) in [
        ("/a/b/c?x/y", None, false, "/a/b/c"),
        ("/a/b/c?x/y", None, true, "/a/b/c?x/y"),
        ("/a/b/c", depth(1), false, "/a"),
        ("/a/b/c", depth(2), false, "/a/b"),
        ("/a", depth(2), false, "/a"),
        ("//a", depth(1), false, "/"),
        ("", depth(1), false, ""),
    ] {
        assert_eq!(uri(target.as_bytes(), depth, whole), cut.as_bytes(), "{target}");
    }
    for (target, cut) in [("/a", "/a"), ("http://h/a?b", "/a?b"), ("http://h", ""), ("*", "*")] {
        assert_eq!(path(target.as_bytes()), cut.as_bytes(), "{target}");
    }
}

#[test]
fn domains_values_and_parameters_are_found() {
    for (host, domain) in [
        ("www.example.com", "example"),
        ("example.com", "example"),
        ("localhost", "localhost"),
        ("a.b:80", "a"),
        (".x", ".x"),
        ("x.", "x"),
        ("a..b", "a."),
        ("", ""),
        (".", "."),
    ] {
        assert_eq!(domain_of(host.as_bytes()), domain.as_bytes(), "{host}");
    }
    for (value, first) in [
        ("a, b", "a"),
        (" a ", "a"),
        ("\"a,b\",c", "\"a,b\""),
        (",b", ""),
        ("\"\\\",\",d", "\"\\\",\""),
    ] {
        assert_eq!(first_value(value.as_bytes()), first.as_bytes(), "{value}");
    }
    for (target, value) in [
        ("/?k=1", Some("1")),
        ("/?a=k&k=2&k=3", Some("2")),
        ("/?kk=1", None),
        ("/?k", None),
        ("/?k=", Some("")),
        ("/k=1", None),
    ] {
        let found = parameter(target.as_bytes(), b"k");
        assert_eq!(found, value.map(str::as_bytes), "{target}");
    }
}
