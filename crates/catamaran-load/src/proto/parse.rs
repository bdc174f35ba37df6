//! Reads `.proto` files, as far as messages and services go: options and extensions are passed over.

use super::file::{File, RawField, RawMessage, RawMethod, json_name, within};
use super::token::{Token, What, tokens};

/// Reads the text of a file.
pub(super) fn parse(name: &str, source: &str) -> Result<File, String> {
    let told = |why: String| format!("{name}: {why}");
    let mut parser = Parser {
        tokens: tokens(source).map_err(told)?,
        at: 0,
        depth: 0,
        file: File {
            name: name.to_owned(),
            ..File::default()
        },
    };
    parser.file().map_err(|why| {
        let line = parser.tokens.get(parser.at.saturating_sub(1));
        let line = line.map_or(0, |token| token.line);
        format!("{name}:{line}: {why}")
    })?;
    Ok(parser.file)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    file: File,
}

type Done = Result<(), String>;

impl Parser {
    fn file(&mut self) -> Done {
        while self.at < self.tokens.len() {
            if self.takes(';') {
                continue;
            }
            match self.word()?.as_str() {
                "syntax" => {
                    self.sign('=')?;
                    self.file.is_proto3 = self.text()? == "proto3";
                    self.sign(';')?;
                }
                // Editions behave like proto2 with presence; packing is as in proto3.
                "edition" => {
                    self.file.is_proto3 = true;
                    self.skip_statement()?;
                }
                "package" => {
                    self.file.package = self.word()?;
                    self.sign(';')?;
                }
                "import" => self.import()?,
                "message" => {
                    let scope = self.file.package.clone();
                    self.message(&scope)?;
                }
                "enum" => {
                    let scope = self.file.package.clone();
                    self.enumeration(&scope)?;
                }
                "service" => self.service()?,
                "option" | "extend" => self.skip_statement()?,
                other => return Err(format!("`{other}` begins no declaration")),
            }
        }
        Ok(())
    }

    fn import(&mut self) -> Done {
        if let Some(What::Word(_)) = self.peek() {
            // `public` and `weak` make no difference here.
            self.word()?;
        }
        let import = self.text()?;
        self.file.imports.push(import);
        self.sign(';')
    }

    fn message(&mut self, scope: &str) -> Done {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err("messages are nested too deep".to_owned());
        }
        let name = within(scope, &self.word()?);
        let mut message = RawMessage {
            name: name.clone(),
            ..RawMessage::default()
        };
        self.sign('{')?;
        while !self.takes('}') {
            if self.takes(';') {
                continue;
            }
            self.member(&name, &mut message)?;
        }
        self.file.messages.push(message);
        self.depth -= 1;
        Ok(())
    }

    fn member(&mut self, name: &str, message: &mut RawMessage) -> Done {
        let first = self.word()?;
        match (first.as_str(), self.peek()) {
            ("message", Some(What::Word(_))) => self.message(name),
            ("enum", Some(What::Word(_))) => self.enumeration(name),
            ("option" | "extend" | "reserved" | "extensions", _) => self.skip_statement(),
            ("oneof", Some(What::Word(_))) => {
                self.word()?;
                self.sign('{')?;
                while !self.takes('}') {
                    if self.takes(';') {
                        continue;
                    }
                    let kind = self.word()?;
                    if kind == "option" {
                        self.skip_statement()?;
                        continue;
                    }
                    let field = self.field(kind)?;
                    message.fields.push(RawField {
                        is_in_oneof: true,
                        ..field
                    });
                }
                Ok(())
            }
            ("map", Some(What::Sign('<'))) => self.map(name, message),
            ("repeated" | "optional" | "required", Some(What::Word(_))) => {
                let kind = self.word()?;
                let field = self.field(kind)?;
                message.fields.push(RawField {
                    is_repeated: first == "repeated",
                    is_in_oneof: first == "optional" && self.file.is_proto3,
                    ..field
                });
                Ok(())
            }
            _ => {
                let field = self.field(first)?;
                message.fields.push(field);
                Ok(())
            }
        }
    }

    /// A field behind its kind, options and all.
    fn field(&mut self, kind: String) -> Result<RawField, String> {
        if kind == "group" {
            return Err("groups are not supported; write a message".to_owned());
        }
        let name = self.word()?;
        self.sign('=')?;
        let number = self.number()?;
        let number = u32::try_from(number).map_err(|_| format!("`{number}` is no field number"))?;
        let mut field = RawField {
            json_name: json_name(&name),
            name,
            number,
            kind,
            ..RawField::default()
        };
        if self.takes('[') {
            self.field_options(&mut field)?;
        }
        self.sign(';')?;
        Ok(field)
    }

    fn field_options(&mut self, field: &mut RawField) -> Done {
        let mut depth = 0;
        loop {
            match self.next()? {
                What::Sign('[' | '{' | '(') => depth += 1,
                What::Sign(']') if depth == 0 => return Ok(()),
                What::Sign(']' | '}' | ')') => depth -= 1,
                What::Word(name) if depth == 0 && name == "packed" => {
                    self.sign('=')?;
                    field.packed = Some(self.word()? == "true");
                }
                What::Word(name) if depth == 0 && name == "json_name" => {
                    self.sign('=')?;
                    field.json_name = self.text()?;
                }
                _ => {}
            }
        }
    }

    /// `map<key, value>`: a repeated message of both.
    fn map(&mut self, scope: &str, message: &mut RawMessage) -> Done {
        self.sign('<')?;
        let key = self.word()?;
        self.sign(',')?;
        let value = self.word()?;
        self.sign('>')?;
        let mut field = self.field(String::new())?;
        let entry = within(scope, &format!("{}.Entry", field.name));
        let part = |name: &str, number, kind| RawField {
            name: name.to_owned(),
            json_name: name.to_owned(),
            number,
            kind,
            ..RawField::default()
        };
        self.file.messages.push(RawMessage {
            name: entry.clone(),
            fields: vec![part("key", 1, key), part("value", 2, value)],
            is_entry: true,
        });
        field.kind = format!(".{entry}");
        field.is_repeated = true;
        message.fields.push(field);
        Ok(())
    }

    fn enumeration(&mut self, scope: &str) -> Done {
        let name = within(scope, &self.word()?);
        let mut values = Vec::new();
        self.sign('{')?;
        while !self.takes('}') {
            if self.takes(';') {
                continue;
            }
            let word = self.word()?;
            if matches!(self.peek(), Some(What::Sign('='))) && word != "option" {
                self.sign('=')?;
                let number = self.number()?;
                let number = i32::try_from(number).map_err(|_| "value of an enum too large")?;
                values.push((word, number));
            }
            self.skip_statement()?;
        }
        self.file.enums.push((name, values));
        Ok(())
    }

    fn service(&mut self) -> Done {
        let name = self.word()?;
        let name = within(&self.file.package, &name);
        let mut methods = Vec::new();
        self.sign('{')?;
        while !self.takes('}') {
            if self.takes(';') {
                continue;
            }
            match self.word()?.as_str() {
                "rpc" => methods.push(self.method()?),
                "option" => self.skip_statement()?,
                other => return Err(format!("`{other}` is nothing that a service has")),
            }
        }
        self.file.services.push((name, methods));
        Ok(())
    }

    fn method(&mut self) -> Result<RawMethod, String> {
        let name = self.word()?;
        let (is_client_streaming, input) = self.side()?;
        if self.word()? != "returns" {
            return Err(format!("method `{name}` does not say what it returns"));
        }
        let (is_server_streaming, output) = self.side()?;
        if !self.takes(';') {
            self.block()?;
        }
        Ok(RawMethod {
            name,
            input,
            output,
            is_client_streaming,
            is_server_streaming,
        })
    }

    fn side(&mut self) -> Result<(bool, String), String> {
        self.sign('(')?;
        let mut kind = self.word()?;
        let is_stream = kind == "stream" && matches!(self.peek(), Some(What::Word(_)));
        if is_stream {
            kind = self.word()?;
        }
        self.sign(')')?;
        Ok((is_stream, kind))
    }

    /// Passes over everything up to the `;`, or over a block in braces.
    fn skip_statement(&mut self) -> Done {
        let mut depth = 0;
        loop {
            match self.next()? {
                What::Sign('{' | '[' | '(') => depth += 1,
                What::Sign('}') => {
                    depth -= 1;
                    let ends_value = matches!(self.peek(), Some(What::Sign(';' | ',' | ']')));
                    if depth == 0 && !ends_value {
                        return Ok(());
                    }
                }
                What::Sign(']' | ')') => depth -= 1,
                What::Sign(';') if depth == 0 => return Ok(()),
                _ => {}
            }
        }
    }

    fn block(&mut self) -> Done {
        self.sign('{')?;
        let mut depth = 1;
        while depth > 0 {
            match self.next()? {
                What::Sign('{') => depth += 1,
                What::Sign('}') => depth -= 1,
                _ => {}
            }
        }
        Ok(())
    }

    fn peek(&self) -> Option<&What> {
        self.tokens.get(self.at).map(|token| &token.what)
    }

    fn next(&mut self) -> Result<What, String> {
        let what = self.peek().cloned().ok_or("the file ends too early")?;
        self.at += 1;
        Ok(what)
    }

    fn takes(&mut self, sign: char) -> bool {
        let is_next = self.peek() == Some(&What::Sign(sign));
        self.at += usize::from(is_next);
        is_next
    }

    fn sign(&mut self, sign: char) -> Done {
        match self.next()? {
            What::Sign(found) if found == sign => Ok(()),
            found => Err(format!("expected `{sign}`, found {}", shown(&found))),
        }
    }

    fn word(&mut self) -> Result<String, String> {
        match self.next()? {
            What::Word(word) => Ok(word),
            found => Err(format!("expected a name, found {}", shown(&found))),
        }
    }

    /// A text; several in a row are one.
    fn text(&mut self) -> Result<String, String> {
        let mut text = match self.next()? {
            What::Text(text) => text,
            found => {
                return Err(format!(
                    "expected a text in quotes, found {}",
                    shown(&found)
                ));
            }
        };
        while let Some(What::Text(more)) = self.peek().cloned() {
            text.push_str(&more);
            self.at += 1;
        }
        Ok(text)
    }

    fn number(&mut self) -> Result<i64, String> {
        let is_negative = self.takes('-');
        let word = self.word()?;
        let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
        let number = match digits {
            Some(digits) => i64::from_str_radix(digits, 16),
            None if word.len() > 1 && word.starts_with('0') => i64::from_str_radix(&word, 8),
            None => word.parse(),
        };
        let number = number.map_err(|_| format!("`{word}` is no number"))?;
        Ok(if is_negative { -number } else { number })
    }
}

fn shown(what: &What) -> String {
    match what {
        What::Word(word) => format!("`{word}`"),
        What::Text(text) => format!("{text:?}"),
        What::Sign(sign) => format!("`{sign}`"),
    }
}

/// Messages within messages at most.
const MAX_NESTING: usize = 64;
