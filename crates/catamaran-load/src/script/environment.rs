//! Which variables of the environment scripts name, and whether they take objects apart.
//!
//! Each virtual user has an `__ENV` of its own, which it may change; with all variables of a process that
//! is a tenth of what it takes. So it has only those that the text of a script names, unless the script
//! does with `__ENV` what the text does not tell.

use std::collections::BTreeSet;

/// What is known of how `__ENV` is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// As `__ENV.NAME`, with these names.
    Only(BTreeSet<String>),
    /// In any other way.
    Anything,
}

impl Default for Named {
    fn default() -> Self {
        Self::Only(BTreeSet::new())
    }
}

impl Named {
    /// Adds what the text of a module names.
    pub(super) fn add(&mut self, source: &str) {
        let Self::Only(names) = self else {
            return;
        };
        let makes_code = MAKE_CODE.iter().any(|call| source.contains(call));
        match names_in(source).filter(|_| !makes_code) {
            Some(found) => names.extend(found),
            None => *self = Self::Anything,
        }
    }

    /// Whether a script may ask for this variable.
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Self::Only(names) => names.contains(name),
            Self::Anything => true,
        }
    }
}

/// Whether a text may list the properties of an object, or take it apart: responses then have theirs
/// themselves, where their prototype would do, which takes time.
pub(super) fn takes_apart(source: &str) -> bool {
    let lists = source.contains("for") && source.contains(" in ");
    lists || TAKE_APART.iter().any(|word| source.contains(word))
}

/// The names that follow `__ENV.` in a text; `None`, if it stands anywhere without.
fn names_in(source: &str) -> Option<Vec<String>> {
    let is_letter = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
    let mut names = Vec::new();
    let mut rest = source;
    while let Some((before, after)) = rest.split_once(VARIABLES) {
        let is_within = before.ends_with(is_letter) || after.starts_with(is_letter);
        if !is_within {
            let name = after.strip_prefix('.')?;
            let end = name.find(|c| !is_letter(c)).unwrap_or(name.len());
            let name = &name[..end];
            if name.is_empty() || !name.is_ascii() {
                return None;
            }
            names.push(name.to_owned());
        }
        rest = after;
    }
    Some(names)
}

const VARIABLES: &str = "__ENV";

/// What copies or lists properties, by itself or by a library; and `json` taken out of a response.
const TAKE_APART: &[&str] = &[
    "...",
    "Object",
    "hasOwn",
    "Reflect",
    "Proxy",
    "structuredClone",
    "extend(",
    "assign(",
    "merge(",
    "pick(",
    "omit(",
    "clone",
    "_.",
    "json }",
    "json,",
    "json}",
];

/// What makes code of texts that are not there yet.
const MAKE_CODE: &[&str] = &["eval(", "import(", "new Function", "Function(`"];

#[cfg(test)]
mod tests {
    use super::*;

    fn named(source: &str) -> Named {
        let mut named = Named::default();
        named.add(source);
        named
    }

    #[test]
    fn only_what_is_named_is_needed() {
        let found =
            named("http.get(__ENV.URL); if (__ENV.A_1) { x(`${__ENV.B}`) } MY__ENV; __ENVY");
        let names = ["A_1", "B", "URL"].map(str::to_owned);
        assert_eq!(found, Named::Only(BTreeSet::from(names)));
        assert!(found.has("URL") && !found.has("PATH"));
        assert!(!named("export default () => {}").has("URL"));
    }

    #[test]
    fn what_is_used_in_another_way_is_there_whole() {
        for source in [
            "const { URL } = __ENV;",
            "__ENV['URL']",
            "__ENV?.URL",
            "Object.keys(__ENV)",
            "globalThis['__ENV'].URL",
            "__ENV.",
            "__ENV. URL",
            "__ENV.\\u0041",
            "eval(text)",
            "await import(name)",
            "new Function(text)",
        ] {
            assert_eq!(named(source), Named::Anything, "{source}");
        }
    }
}
