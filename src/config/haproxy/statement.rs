//! One line, split and found in the table; what its class means for the report.

use super::server::{not_yet, refused};
use super::table::{self, Class, Directive, Sections};
use super::words;
use crate::config::report::{Line, Report};

/// A line whose directive is known.
#[derive(Clone, Debug)]
pub(super) struct Statement<'a> {
    /// The line.
    pub(super) line: &'a Line,
    /// Its row in the table.
    pub(super) directive: &'static Directive,
    /// `no …`.
    pub(super) negated: bool,
    words: Vec<String>,
}

/// What became of a line.
#[derive(Debug)]
pub(super) enum Parsed<'a> {
    /// A comment or nothing.
    Blank,
    /// A directive of the section.
    Known(Statement<'a>),
    /// Not in the table for this section; the words without `no`.
    Unknown(Vec<String>),
}

impl<'a> Statement<'a> {
    /// Reads `line` as a directive of `sections`; text that cannot be split is complained about and blank.
    pub(super) fn parse(line: &'a Line, sections: Sections, report: &mut Report) -> Parsed<'a> {
        let mut words = match words::split(&line.text) {
            Ok(words) => words,
            Err(error) => {
                report.complain(&line.place, format!("`{}`: {error}", show(&line.text)));
                return Parsed::Blank;
            }
        };
        let negated = words.len() > 1 && words.first().is_some_and(|word| word == "no");
        if negated {
            words.remove(0);
        }
        if words.is_empty() {
            return Parsed::Blank;
        }
        match table::find(&words, sections) {
            Some(directive) => Parsed::Known(Self { line, directive, negated, words }),
            None => Parsed::Unknown(words),
        }
    }

    /// The words after the keyword.
    pub(super) fn args(&self) -> &[String] {
        let keyword = self.directive.keyword.split(' ').count();
        self.words.get(keyword..).unwrap_or_default()
    }

    /// The words after the first `count`.
    pub(super) fn after(&self, count: usize) -> &[String] {
        self.words.get(count..).unwrap_or_default()
    }

    /// Complains about this line.
    pub(super) fn complain(&self, error: &str, report: &mut Report) {
        report.complain(&self.line.place, format!("`{}`: {error}", show(&self.line.text)));
    }

    /// True for a directive that would change what clients see.
    pub(super) fn is_refused(&self) -> bool {
        !self.negated && matches!(self.directive.class, Class::Refused { .. })
    }

    /// Reports what the class demands. True when the line is to be applied.
    pub(super) fn judge(&self, report: &mut Report) -> bool {
        let keyword = self.directive.keyword;
        if self.negated && !matches!(self.directive.class, Class::Supported) {
            // Switching off what is not done changes nothing.
            return false;
        }
        match self.directive.class {
            Class::Supported => return true,
            Class::Harmless => {}
            Class::NotYet { meanwhile } => {
                report.warn(&self.line.place, not_yet(keyword, meanwhile));
            }
            Class::Refused { reason, instead } => {
                let text = refused(&show(&self.line.text), reason, instead);
                report.complain(&self.line.place, text);
            }
        }
        false
    }
}

/// Text about a line that is not in the table for `sections`.
pub(super) fn unknown_directive(words: &[String], sections: Sections) -> String {
    let name = words.join(" ");
    // The rows of `global` that are refused only catch what belongs in `defaults`: any `timeout`.
    let is_catch_all = |it: &Directive| {
        it.sections == Sections::GLOBAL && matches!(it.class, Class::Refused { .. })
    };
    let elsewhere = table::find(words, Sections::LINES).filter(|it| !is_catch_all(it));
    if let Some(elsewhere) = elsewhere {
        let legal: Vec<&str> = elsewhere.sections.names().collect();
        return format!("{name:?} belongs in {}, not here", legal.join(", "));
    }
    match table::nearest(words, sections) {
        Some(near) => format!("unknown directive {name:?}, did you mean `{}`?", near.keyword),
        None => format!("unknown directive {name:?}"),
    }
}

/// The line as written, fit for one line of a report.
pub(super) fn show(text: &str) -> String {
    let escaped = |c: char| {
        let control = c.is_control().then(|| c.escape_default());
        let plain = (!c.is_control()).then_some(c);
        control.into_iter().flatten().chain(plain)
    };
    text.trim().chars().flat_map(escaped).collect()
}
