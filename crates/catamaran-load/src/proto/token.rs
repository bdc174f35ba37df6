//! The words of `.proto` files.

/// A word, number, text or sign, with its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) what: What,
    pub(super) line: usize,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A name, with dots, or a number.
    Word(String),
    /// The inside of quotes.
    Text(String),
    Sign(char),
}

/// Takes a file apart.
pub(super) fn tokens(source: &str) -> Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let mut rest = source;
    let mut line = 1;
    while let Some(c) = rest.chars().next() {
        let (what, len) = match c {
            c if c.is_whitespace() => (None, c.len_utf8()),
            '/' if rest.starts_with("//") => (None, rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => {
                let end = rest.find("*/").ok_or("comment without an end")?;
                (None, end + 2)
            }
            '"' | '\'' => {
                let (text, len) =
                    quoted(rest, c).ok_or_else(|| format!("line {line}: text without an end"))?;
                (Some(What::Text(text)), len)
            }
            c if is_of_word(c) || (c == '.' && rest[1..].starts_with(is_of_word)) => {
                let is_part = |c: char| is_of_word(c) || c == '.';
                let len = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                (Some(What::Word(rest[..len].to_owned())), len)
            }
            c => (Some(What::Sign(c)), c.len_utf8()),
        };
        found.extend(what.map(|what| Token { what, line }));
        line += rest[..len].matches('\n').count();
        rest = &rest[len..];
    }
    Ok(found)
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// A text with its simple escapes, and its length with both quotes.
fn quoted(source: &str, quote: char) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut chars = source.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => text.push(chars.next()?.1),
            c if c == quote => return Some((text, at + 1)),
            '\n' => return None,
            c => text.push(c),
        }
    }
    None
}
