//! Enums as objects that know names by values and values by names.

use std::fmt::Write as _;

use oxc_ast::ast::{IdentifierReference, TSEnumDeclaration, TSEnumMemberName};
use oxc_ast_visit::Visit;
use oxc_span::GetSpan as _;

use super::edits::Edits;
use super::strip::Problem;

/// The JavaScript of an enum, on one line. `stripped` are the changes to its initializers.
pub(super) fn javascript(
    source: &str,
    declaration: &TSEnumDeclaration<'_>,
    stripped: &Edits,
) -> Result<String, Problem> {
    let name = declaration.id.name.as_str();
    let mut text = format!(
        "var {name} = ((__e) => {{ const __m = (n, v) => {{ __e[n] = v; if (typeof v === 'number') __e[v] = n; }};"
    );
    let mut known: Vec<String> = Vec::new();
    for member in &declaration.body.members {
        let own = match &member.id {
            TSEnumMemberName::Identifier(id) => id.name.to_string(),
            TSEnumMemberName::String(text) | TSEnumMemberName::ComputedString(text) => {
                text.value.to_string()
            }
            TSEnumMemberName::ComputedTemplateString(_) => {
                return Err(Problem::at(
                    member.span.start,
                    "write the name of the member as a plain text",
                ));
            }
        };
        let value = match (&member.initializer, known.last()) {
            (Some(initializer), _) => {
                let mut members = Members {
                    name,
                    known: &known,
                    edits: Edits::default(),
                };
                members.visit_expression(initializer);
                // What the script wrote over several lines goes on one.
                let span = initializer.span();
                let plain = if members.is_any() {
                    members.edits.apply(source, span)
                } else {
                    stripped.apply(source, span)
                };
                plain.replace('\n', " ")
            }
            (None, None) => "0".to_owned(),
            (None, Some(last)) => format!("__e[{last:?}] + 1"),
        };
        // Writing to a text cannot fail.
        let _ = write!(text, " __m({own:?}, {value});");
        known.push(own);
    }
    let _ = write!(
        text,
        " return __e; }})(typeof {name} === 'undefined' ? {{}} : {name});"
    );
    Ok(text)
}

/// Finds the members of an enum that an initializer names without it.
struct Members<'n> {
    name: &'n str,
    known: &'n [String],
    edits: Edits,
}

impl Members<'_> {
    fn is_any(&self) -> bool {
        !self.edits.is_empty()
    }
}

impl<'a> Visit<'a> for Members<'_> {
    fn visit_identifier_reference(&mut self, it: &IdentifierReference<'a>) {
        let name = it.name.as_str();
        if self.known.iter().any(|known| known == name) {
            let span = it.span;
            // The enum itself is not there yet.
            let text = format!("__e.{name}");
            self.edits.replace(span.start, span.end, text);
        } else if name == self.name {
            self.edits
                .replace(it.span.start, it.span.end, "__e".to_owned());
        }
    }
}
