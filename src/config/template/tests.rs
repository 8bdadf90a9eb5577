//! The part of ERB that is read, and what is refused.

use super::*;
use proptest::prelude::*;

fn env() -> Env {
    Env::new(|name| match name {
        "ZK" => Some("zk1:2181".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    })
}

fn ok(text: &str) -> String {
    expand(text, &env()).unwrap()
}

fn error(text: &str) -> TemplateError {
    expand(text, &env()).unwrap_err()
}

#[test]
fn text_without_tags_is_unchanged() {
    assert_eq!(ok("a: 5% of <b> %> x"), "a: 5% of <b> %> x");
}

#[test]
fn variables_in_both_quotes() {
    assert_eq!(ok("[<%= ENV['ZK'] %>]"), "[zk1:2181]");
    assert_eq!(ok("[<%=ENV[\"ZK\"]%>]"), "[zk1:2181]");
    assert_eq!(ok("[<%= ENV[ 'NOPE' ] %>]"), "[]");
}

#[test]
fn a_default_may_be_a_number() {
    let env = Env::empty();
    for (text, value) in [
        ("<%= ENV['P'] || 3301 %>", "3301"),
        ("<%= ENV.fetch('P', 0) %>", "0"),
        ("<%= ENV.fetch( 'P' , 80 ) %>", "80"),
    ] {
        assert_eq!(expand(text, &env).unwrap(), value, "{text}");
    }
    for text in ["010", "1.5", "1_000", "0x10", "-1", "80 + 1"] {
        let text = format!("<%= ENV['P'] || {text} %>");
        assert!(expand(&text, &env).is_err(), "{text}");
    }
}

#[test]
fn only_nil_takes_the_alternative() {
    assert_eq!(ok("<%= ENV['NOPE'] || 'd' %>"), "d");
    assert_eq!(ok("<%= ENV['EMPTY'] || 'd' %>"), "");
    assert_eq!(ok("<%= ENV['NOPE'] || ENV[\"ZK\"] || 'd' %>"), "zk1:2181");
    assert_eq!(ok("<%= ENV['ZK'] || ENV.fetch('NOPE') %>"), "zk1:2181");
}

#[test]
fn fetch_has_a_default_or_fails() {
    assert_eq!(ok("<%= ENV.fetch('ZK') %>"), "zk1:2181");
    assert_eq!(ok("<%= ENV.fetch('NOPE', \"it's\") %>"), "it's");
    let e = error("a\nb\n<%= ENV.fetch('NOPE') %>");
    assert_eq!(e.line, 3);
    assert!(e.text.contains("NOPE"), "{e}");
}

#[test]
fn escapes_of_ruby_strings() {
    assert_eq!(ok(r"<%= 'a\'b\\c\d' %>"), r"a'b\c\d");
    assert_eq!(ok(r#"<%= "a\"b" %>"#), r#"a"b"#);
}

#[test]
fn doubled_percent_is_literal_and_comments_vanish() {
    assert_eq!(ok("<%% x %> <%# note %>!"), "<% x %> !");
}

#[test]
fn code_is_refused_with_its_line() {
    for code in [
        "<% if true %>",
        "<%= `hostname` %>",
        "<%= 1 + 1 %>",
        "<%= ENV['ZK'].upcase %>",
        "<%= \"#{ENV['ZK']}\" %>",
        "<%- ENV['ZK'] -%>",
        "<%= %>",
        "<%= ENV['ZK'",
        "<%= ENV['a' || 'b'] %>",
    ] {
        let e = error(&format!("x: 1\n{code}\n"));
        assert_eq!(e.line, 2, "{code}: {e}");
    }
}

proptest! {
    #[test]
    fn any_text_is_expanded_or_refused(text in "(<%|%>|=|ENV|\\[|\\]|'|\"|\\|\\||[a-zé\n\\\\ ]|\\.fetch\\(|,|\\)|#){0,30}") {
        drop(expand(&text, &env()));
    }
}
