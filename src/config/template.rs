//! The part of ERB that configurations really use: reading the environment.
//!
//! The original runs every file through Ruby's ERB, that is, through a whole programming language. Here
//! `<%= ENV['X'] %>`, `<%= ENV.fetch('X', 'default') %>`, string literals and `||` between them are understood, `<%%`
//! is a literal `<%`, `<%# … %>` a comment. Anything else is a [`TemplateError`] with its line: guessing what a piece
//! of Ruby meant would be worse than stopping.
//!
//! Ruby's rules hold: an unset `ENV['X']` is nil, printed as nothing, and only nil goes on to the right of `||` (a
//! variable that is set but empty does not).

use std::fmt;
use std::sync::Arc;

/// Where variables come from; tests bring their own.
#[derive(Clone)]
pub struct Env(Arc<Lookup>);

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Env {
    /// The environment of this process. Variables that are not UTF-8 count as unset.
    pub fn process() -> Self {
        Self::new(|name| std::env::var(name).ok())
    }

    /// Looks variables up with `lookup`.
    pub fn new(lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(lookup))
    }

    /// No variable is set.
    pub fn empty() -> Self {
        Self::new(|_| None)
    }

    /// The variable's value, `None` when unset.
    pub fn var(&self, name: &str) -> Option<String> {
        (self.0)(name)
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Env")
    }
}

/// A template that cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {text}")]
pub struct TemplateError {
    /// Line of the tag's start, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub text: String,
}

/// Expands every tag of `text`.
///
/// # Errors
/// The first tag that is not understood, not closed, or fetches an unset variable without a default.
pub fn expand(text: &str, env: &Env) -> Result<String, TemplateError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, tag)) = rest.split_once("<%") {
        out.push_str(before);
        let consumed = text.len() - tag.len();
        let line = 1 + count_lines(text, consumed);
        if let Some(after) = tag.strip_prefix('%') {
            out.push_str("<%");
            rest = after;
            continue;
        }
        let Some((inside, after)) = tag.split_once("%>") else {
            return Err(TemplateError { line, text: "`<%` without `%>`".to_owned() });
        };
        let value = expand_tag(inside, env).map_err(|text| TemplateError { line, text })?;
        out.push_str(&value);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn count_lines(text: &str, up_to: usize) -> usize {
    text.bytes().take(up_to).filter(|b| *b == b'\n').count()
}

fn expand_tag(inside: &str, env: &Env) -> Result<String, String> {
    if inside.starts_with('#') {
        return Ok(String::new());
    }
    let not_understood = || {
        format!(
            "`<%{}%>` is not understood; only `<%= ENV['NAME'] %>`, `<%= ENV['NAME'] || 'default' %>` and \
             `<%= ENV.fetch('NAME', 'default') %>` are",
            shorten(inside)
        )
    };
    let expression = inside.strip_prefix('=').ok_or_else(not_understood)?;
    let mut words = Words { rest: expression };
    let value = words.alternatives(env).map_err(|e| match e {
        TermError::Syntax => not_understood(),
        TermError::Unset(name) => {
            format!("environment variable {name} is not set and `ENV.fetch` has no default")
        }
    })?;
    if words.rest.trim().is_empty() { Ok(value.unwrap_or_default()) } else { Err(not_understood()) }
}

fn shorten(text: &str) -> String {
    const SHOWN: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() > SHOWN {
        format!("{}…", line.chars().take(SHOWN).collect::<String>())
    } else {
        line.to_owned()
    }
}

enum TermError {
    Syntax,
    Unset(String),
}

/// What is left of an expression.
struct Words<'a> {
    rest: &'a str,
}

impl Words<'_> {
    /// `term || term || …`; nil is `None`.
    fn alternatives(&mut self, env: &Env) -> Result<Option<String>, TermError> {
        let mut value = self.term(env)?;
        while self.accept("||") {
            // Ruby does not evaluate the right side of a true left one: an unset fetch there is no error.
            let right = self.term(env);
            value = match (value, right) {
                (_, Err(TermError::Syntax)) => return Err(TermError::Syntax),
                (Some(left), _) => Some(left),
                (None, right) => right?,
            };
        }
        Ok(value)
    }

    fn term(&mut self, env: &Env) -> Result<Option<String>, TermError> {
        if let Some(literal) = self.literal() {
            return literal.map(Some);
        }
        if let Some(number) = self.number() {
            return Ok(Some(number));
        }
        if self.accept("ENV[") {
            let name = self.name()?;
            self.expect("]")?;
            return Ok(env.var(&name));
        }
        if self.accept("ENV.fetch(") {
            return self.fetch(env).map(Some);
        }
        Err(TermError::Syntax)
    }

    fn fetch(&mut self, env: &Env) -> Result<String, TermError> {
        let name = self.name()?;
        let default = if self.accept(",") {
            let number = self.number();
            Some(number.map_or_else(|| self.name(), Ok)?)
        } else {
            None
        };
        self.expect(")")?;
        env.var(&name).or(default).ok_or(TermError::Unset(name))
    }

    fn name(&mut self) -> Result<String, TermError> {
        self.literal().ok_or(TermError::Syntax)?
    }

    /// A plain decimal number such as a port; `None` when none stands here. `010` is octal in Ruby, and not plain.
    fn number(&mut self) -> Option<String> {
        let trimmed = self.rest.trim_start();
        let end = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let (number, rest) = trimmed.split_at_checked(end)?;
        let is_plain = number == "0" || (!number.is_empty() && !number.starts_with('0'));
        let ends_here = !rest.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '.'));
        if !is_plain || !ends_here {
            return None;
        }
        self.rest = rest;
        Some(number.to_owned())
    }

    /// A quoted string; `None` when none stands here.
    fn literal(&mut self) -> Option<Result<String, TermError>> {
        let trimmed = self.rest.trim_start();
        let quote = trimmed.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        Some(self.quoted(trimmed, quote))
    }

    fn quoted(&mut self, trimmed: &str, quote: char) -> Result<String, TermError> {
        let mut value = String::new();
        let mut chars = trimmed.chars();
        chars.next();
        while let Some(c) = chars.next() {
            match c {
                c if c == quote => {
                    let left = chars.as_str().len();
                    self.rest = self.rest.get(self.rest.len() - left..).ok_or(TermError::Syntax)?;
                    return Ok(value);
                }
                '\\' => match (chars.next(), quote) {
                    (Some(next), _) if next == '\\' || next == quote => value.push(next),
                    (Some(next), '\'') => value.extend(['\\', next]),
                    _ => return Err(TermError::Syntax),
                },
                // Interpolation is code.
                '#' if quote == '"' && chars.as_str().starts_with(['{', '$', '@']) => {
                    return Err(TermError::Syntax);
                }
                c => value.push(c),
            }
        }
        Err(TermError::Syntax)
    }

    fn accept(&mut self, token: &str) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), TermError> {
        if self.accept(token) { Ok(()) } else { Err(TermError::Syntax) }
    }
}

#[cfg(test)]
mod tests;
