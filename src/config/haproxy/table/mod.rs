//! The one table of directives: what each haproxy keyword means here.
//!
//! To support another directive: move its keyword to a [`Class::Supported`] group and write its arm in `apply` (or
//! `server` for a word of a server line). Nothing else decides what a keyword is worth. The README's status table is
//! compared with [`directives`] by a test.

mod bind;
mod global;
mod options;
mod proxy;
mod rules;
mod server;

use std::collections::HashMap;
use std::sync::LazyLock;

/// Sections of a haproxy file in which a directive is legal, as a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sections(u8);

impl Sections {
    /// `global`.
    pub const GLOBAL: Self = Self(1);
    /// `defaults`.
    pub const DEFAULTS: Self = Self(2);
    /// `frontend`, and the frontend half of `listen`.
    pub const FRONTEND: Self = Self(4);
    /// `backend`, and the backend half of `listen`.
    pub const BACKEND: Self = Self(8);
    /// Words of a `server` or `default-server` line.
    pub const SERVER: Self = Self(16);
    /// Words of a `bind` line after the address.
    pub const BIND: Self = Self(32);

    /// `listen`: both halves.
    pub const LISTEN: Self = Self(4 | 8);

    /// Every section that has lines.
    pub const LINES: Self = Self(1 | 2 | 4 | 8);

    /// The names of the sections in this set, as haproxy's manual calls them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [
            (Self::GLOBAL, "global"),
            (Self::DEFAULTS, "defaults"),
            (Self::FRONTEND, "frontend"),
            (Self::BACKEND, "backend"),
            (Self::SERVER, "server"),
            (Self::BIND, "bind"),
        ]
        .into_iter()
        .filter_map(move |(section, name)| self.touches(section).then_some(name))
    }

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True if some section of `other` is in this set.
    pub const fn touches(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// `global` only.
const G: Sections = Sections::GLOBAL;
/// `defaults` and `frontend`.
const DF: Sections = Sections::DEFAULTS.or(Sections::FRONTEND);
/// `defaults` and `backend`.
const DB: Sections = Sections::DEFAULTS.or(Sections::BACKEND);
/// `frontend` and `backend`.
const FB: Sections = Sections::FRONTEND.or(Sections::BACKEND);
/// All proxy sections.
const DFB: Sections = DF.or(FB);
/// `frontend` only.
const F: Sections = Sections::FRONTEND;
/// `backend` only.
const B: Sections = Sections::BACKEND;
/// Server words.
const S: Sections = Sections::SERVER;
/// Bind words.
const L: Sections = Sections::BIND;

/// What a directive is worth here (decision 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It does what it does in haproxy.
    Supported,
    /// Accepted in silence: nothing that clients or backends could notice depends on it.
    Harmless,
    /// Accepted, warned about at each start.
    NotYet {
        /// What happens meanwhile.
        meanwhile: &'static str,
    },
    /// A complaint: without it clients would silently see something else.
    Refused {
        /// Why.
        reason: &'static str,
        /// What to use.
        instead: &'static str,
    },
}

impl Class {
    /// The word for it in status tables: `supported`, `harmless`, `not yet`, `refused`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::Harmless => "harmless",
            Self::NotYet { .. } => "not yet",
            Self::Refused { .. } => "refused",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Directive {
    /// The words that name it: `option httpchk`, `timeout client`.
    pub keyword: &'static str,
    /// Where it is legal.
    pub sections: Sections,
    /// How many words follow (server and bind words only).
    pub args: usize,
    /// What it is worth.
    pub class: Class,
}

/// Rows that share everything but the keyword: the form in which the table is written.
struct Group {
    sections: Sections,
    args: usize,
    class: Class,
    keywords: &'static [&'static str],
}

const fn group(sections: Sections, class: Class, keywords: &'static [&'static str]) -> Group {
    words(sections, 0, class, keywords)
}

const fn words(
    sections: Sections,
    args: usize,
    class: Class,
    keywords: &'static [&'static str],
) -> Group {
    Group { sections, args, class, keywords }
}

const fn not_yet(meanwhile: &'static str) -> Class {
    Class::NotYet { meanwhile }
}

const fn refused(reason: &'static str, instead: &'static str) -> Class {
    Class::Refused { reason, instead }
}

/// Every directive that is known, in no particular order.
pub fn directives() -> &'static [Directive] {
    static ALL: LazyLock<Vec<Directive>> = LazyLock::new(|| {
        [
            global::GROUPS,
            proxy::GROUPS,
            options::GROUPS,
            rules::GROUPS,
            server::GROUPS,
            bind::GROUPS,
        ]
        .into_iter()
        .flatten()
        .flat_map(|group| {
            group.keywords.iter().map(|keyword| Directive {
                keyword,
                sections: group.sections,
                args: group.args,
                class: group.class,
            })
        })
        .collect()
    });
    &ALL
}

/// The most words that a keyword has.
const MAX_KEYWORD_WORDS: usize = 4;

/// The directive with the longest keyword that begins `words` and is legal in one of `sections`.
///
/// A word counts up to its parenthesis: `balance hdr(host)` is `balance hdr`.
pub(super) fn find(words: &[String], sections: Sections) -> Option<&'static Directive> {
    static INDEX: LazyLock<HashMap<&'static str, Vec<&'static Directive>>> = LazyLock::new(|| {
        let mut index: HashMap<_, Vec<_>> = HashMap::new();
        for directive in directives() {
            index.entry(directive.keyword).or_default().push(directive);
        }
        index
    });
    (1..=MAX_KEYWORD_WORDS.min(words.len())).rev().find_map(|count| {
        let keyword = joined(words, count);
        INDEX
            .get(keyword.as_str())?
            .iter()
            .find(|directive| directive.sections.touches(sections))
            .copied()
    })
}

fn joined(words: &[String], count: usize) -> String {
    let words: Vec<&str> = words
        .iter()
        .take(count)
        .map(|word| word.split_once('(').map_or(word.as_str(), |(name, _)| name))
        .collect();
    words.join(" ")
}

/// No keyword has a longer word, typing mistakes included.
const LONGEST_TYPO: usize = 64;

/// The known keyword nearest to what `words` begin with, if it is near enough to be meant.
pub(super) fn nearest(words: &[String], sections: Sections) -> Option<&'static Directive> {
    // A registration's words may be of any length, and distances cost the product of both.
    if words.iter().take(MAX_KEYWORD_WORDS).any(|word| word.len() > LONGEST_TYPO) {
        return None;
    }
    directives()
        .iter()
        .filter(|directive| directive.sections.touches(sections))
        .map(|directive| {
            let count = directive.keyword.split(' ').count();
            // haproxy's words are all in lower case.
            let written = joined(words, count).to_lowercase();
            (strsim::damerau_levenshtein(&written, directive.keyword), directive)
        })
        .filter(|(distance, directive)| is_near(*distance, directive.keyword))
        .min_by_key(|(distance, directive)| (*distance, std::cmp::Reverse(directive.keyword.len())))
        .map(|(_, directive)| directive)
}

/// A quarter of the letters, or one: of a word with two letters one wrong letter leaves nothing to recognise.
fn is_near(distance: usize, keyword: &str) -> bool {
    distance * 4 <= keyword.len() || (distance == 1 && keyword.len() > 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str, sections: Sections) -> Option<&'static str> {
        find(&super::super::words::split(text).unwrap(), sections).map(|d| d.keyword)
    }

    #[test]
    fn the_longest_keyword_wins() {
        assert_eq!(look("option httpchk GET /", B), Some("option httpchk"));
        assert_eq!(look("http-request deny if x", F), Some("http-request deny"));
        assert_eq!(look("http-request lua.x", F), Some("http-request"));
        assert_eq!(look("balance hdr(host)", B), Some("balance hdr"));
        assert_eq!(look("stats   socket /x", G), Some("stats socket"));
        assert_eq!(look("nothing", DFB), None);
    }

    #[test]
    fn no_keyword_has_two_meanings_in_one_section() {
        for (i, a) in directives().iter().enumerate() {
            for b in directives().iter().skip(i + 1) {
                assert!(
                    a.keyword != b.keyword || !a.sections.touches(b.sections),
                    "{} twice",
                    a.keyword
                );
            }
            assert!(a.keyword.split(' ').count() <= MAX_KEYWORD_WORDS, "{}", a.keyword);
        }
    }

    #[test]
    fn a_typo_finds_its_keyword_and_nonsense_finds_none() {
        let near = |text: &str, s| {
            nearest(&super::super::words::split(text).unwrap(), s).map(|d| d.keyword)
        };
        assert_eq!(near("timeuot client 5s", F), Some("timeout client"));
        assert_eq!(near("ballance roundrobin", B), Some("balance roundrobin"));
        assert_eq!(near("rises", S), Some("rise"));
        assert_eq!(near("TIMEOUT SERVER 5s", B), Some("timeout server"));
        assert_eq!(near("bogus directive", DFB), None);
        assert_eq!(near("2s", S), None);
    }
}
