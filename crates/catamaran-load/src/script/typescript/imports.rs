//! Which imports and exports are of values.

use std::collections::HashSet;

use oxc_ast::ast::{
    ExportSpecifier, ImportDeclaration, ImportDeclarationSpecifier, ImportOrExportKind,
};

use super::edits::Edits;

/// Names of a module, as far as it matters whether they are types.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Used as values.
    pub(super) values: HashSet<String>,
    /// Declared as types.
    pub(super) types: HashSet<String>,
}

/// Leaves of an import what is used as a value.
pub(super) fn import(
    edits: &mut Edits,
    source: &str,
    declaration: &ImportDeclaration<'_>,
    names: &Names,
) {
    let span = declaration.span;
    if declaration.import_kind == ImportOrExportKind::Type {
        edits.blank_statement(span);
        return;
    }
    let Some(specifiers) = &declaration.specifiers else {
        return;
    };
    let is_kept = |specifier: &&ImportDeclarationSpecifier<'_>| {
        let is_type = matches!(specifier, ImportDeclarationSpecifier::ImportSpecifier(own)
            if own.import_kind == ImportOrExportKind::Type);
        !is_type && names.values.contains(specifier.local().name.as_str())
    };
    let kept: Vec<_> = specifiers.iter().filter(is_kept).collect();
    if kept.len() == specifiers.len() {
        return;
    }
    // `import {} from 'x'` is there for what the module does.
    if kept.is_empty() {
        edits.blank_statement(span);
        return;
    }
    let mut before = Vec::new();
    let mut braced = Vec::new();
    for specifier in kept {
        match specifier {
            ImportDeclarationSpecifier::ImportSpecifier(own) => {
                braced.push(own.span.source_text(source));
            }
            ImportDeclarationSpecifier::ImportDefaultSpecifier(own) => {
                before.push(own.local.name.to_string());
            }
            ImportDeclarationSpecifier::ImportNamespaceSpecifier(own) => {
                before.push(format!("* as {}", own.local.name));
            }
        }
    }
    if !braced.is_empty() {
        before.push(format!("{{ {} }}", braced.join(", ")));
    }
    let text = format!("import {} from ", before.join(", "));
    edits.replace(span.start, declaration.source.span.start, text);
}

/// Leaves of `export { … }` what is a value.
pub(super) fn export(
    edits: &mut Edits,
    specifiers: &[ExportSpecifier<'_>],
    source: &str,
    is_type: &dyn Fn(&str) -> bool,
) {
    for (index, specifier) in specifiers.iter().enumerate() {
        let local = specifier.local.name();
        if specifier.export_kind != ImportOrExportKind::Type && !is_type(local.as_str()) {
            continue;
        }
        let span = specifier.span;
        // With its comma: the one behind it, or what leads up to the brace.
        let end = match specifiers.get(index + 1) {
            Some(next) => next.span.start,
            None => {
                let rest = &source[span.end as usize..];
                let trimmed = rest.trim_start();
                let comma = u32::from(trimmed.starts_with(','));
                let spaces = rest.len() - trimmed.len();
                span.end + comma * (1 + u32::try_from(spaces).unwrap_or(0))
            }
        };
        edits.blank(span.start, end);
    }
}
