//! Ruby's `%` in `server_options`: `%{host}`, `%{port}`, `%{name}`, `%<port>d`, `%%`.
//!
//! The text is split into words *before* values are filled in: whatever a registration calls itself, it cannot add
//! words to its server line.

use crate::endpoint::Endpoint;

/// The words of `server_options`, with holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Vec<Piece>>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Host,
    Port,
    Name,
}

impl Template {
    /// Reads `words`.
    pub(super) fn parse(words: &[String]) -> Result<Self, String> {
        words.iter().map(|word| pieces(word)).collect::<Result<_, _>>().map(Self)
    }

    /// True when every endpoint gets the same words.
    pub(super) fn is_constant(&self) -> bool {
        self.0.iter().flatten().all(|piece| matches!(piece, Piece::Text(_)))
    }

    /// The words for `endpoint`.
    pub(super) fn render(&self, endpoint: &Endpoint) -> Vec<String> {
        let fill = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Host => endpoint.host.to_string(),
            Piece::Port => endpoint.port.to_string(),
            Piece::Name => endpoint.name.as_deref().unwrap_or_default().to_owned(),
        };
        self.0.iter().map(|word| word.iter().map(fill).collect()).collect()
    }
}

fn pieces(word: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            text.push('%');
            rest = after;
            continue;
        }
        let (piece, after) = hole(after).ok_or_else(|| {
            format!(
                "{word:?} is not a template: use %{{host}}, %{{port}}, %{{name}} or %<port>d, and %% for a percent sign"
            )
        })?;
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
        }
        pieces.push(piece);
        rest = after;
    }
    text.push_str(rest);
    if !text.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

fn hole(after: &str) -> Option<(Piece, &str)> {
    if let Some(rest) = after.strip_prefix('{') {
        let (key, rest) = rest.split_once('}')?;
        return Some((key_piece(key)?, rest));
    }
    let (key, rest) = after.strip_prefix('<')?.split_once('>')?;
    let piece = key_piece(key)?;
    let is_number = piece == Piece::Port;
    let mut chars = rest.chars();
    match chars.next()? {
        's' => Some((piece, chars.as_str())),
        'd' | 'i' | 'u' if is_number => Some((piece, chars.as_str())),
        _ => None,
    }
}

fn key_piece(key: &str) -> Option<Piece> {
    match key {
        "host" => Some(Piece::Host),
        "port" => Some(Piece::Port),
        "name" => Some(Piece::Name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::haproxy::words;

    fn render(text: &str) -> Result<Vec<String>, String> {
        let mut endpoint = Endpoint::new("10.0.0.1", 8080);
        endpoint.name = Some("i-1 weight 0".into());
        Template::parse(&words::split(text).unwrap()).map(|t| t.render(&endpoint))
    }

    #[test]
    fn holes_are_filled() {
        assert_eq!(
            render("check port %{port} cookie %{name} addr %{host} x%<port>dy %%").unwrap(),
            ["check", "port", "8080", "cookie", "i-1 weight 0", "addr", "10.0.0.1", "x8080y", "%"]
        );
    }

    #[test]
    fn a_name_cannot_add_words() {
        assert_eq!(render("%{name}").unwrap().len(), 1);
    }

    #[test]
    fn other_percents_are_complaints() {
        for text in ["%", "50%", "%{id}", "%<host>d", "%d", "%{port", "%<port>"] {
            assert!(render(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_templates_never_panic(text in "[%{}<>a-z ]*") {
            drop(render(&text));
        }
    }
}
