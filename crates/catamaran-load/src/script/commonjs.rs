//! CommonJS: modules with `require` and `module.exports`, made into ES modules.
//!
//! The engine knows ES modules only, and finds all of them before it runs one. So what a text requires
//! by a plain name is imported first, and `require` looks it up. Names that are made while the script
//! runs cannot be required.

use std::fmt::Write as _;

/// The text of an ES module that does what `source` does; `source` itself unless it is CommonJS, or requires
/// a module of k6.
pub(super) fn as_module(source: String) -> String {
    let has_esm = source.lines().any(is_esm);
    if has_esm && let Some(text) = with_require(&source) {
        return text;
    }
    let is_common = ["require(", "module.exports", "exports."]
        .iter()
        .any(|sign| source.contains(sign));
    if has_esm || !is_common {
        return source;
    }
    let mut text = head(&required(&source), "write the name as a plain text");
    text.push_str("const module = { exports: {} }; (function (exports) { ");
    text.push_str(&source);
    text.push_str(
        "\n}).call(module.exports, module.exports); export const __commonjs = module.exports; \
         export default module.exports?.__esModule ? module.exports.default : module.exports;\n",
    );
    for name in exported(&source) {
        let _ = writeln!(
            text,
            "const __e_{name} = module.exports.{name}; export {{ __e_{name} as {name} }};"
        );
    }
    text
}

/// The text of an ES module with the `require` that it uses, if that is for modules of k6 and not its own: what
/// else looks like it may be what a bundler wrote.
fn with_require(source: &str) -> Option<String> {
    let mut required = required(source);
    required.retain(|name| name == "k6" || name.starts_with("k6/"));
    let is_own = ["require =", "function require", "require,", "require }"];
    if required.is_empty() || is_own.iter().any(|sign| source.contains(sign)) {
        return None;
    }
    let only = "an ES module requires modules of k6 only, by a plain text; import others";
    Some(head(&required, only) + source)
}

/// The imports of what is required, and `require` itself; on one line with the first of the source, so that
/// line numbers stay.
fn head(required: &[String], otherwise: &str) -> String {
    let mut text = String::new();
    for (index, name) in required.iter().enumerate() {
        let _ = write!(text, "import * as __m{index} from {name:?}; ");
    }
    text.push_str("const __required = { ");
    for (index, name) in required.iter().enumerate() {
        let _ = write!(text, "{name:?}: __m{index}.__commonjs ?? __m{index}, ");
    }
    let _ = write!(
        text,
        "}}; const require = (name) => {{ if (name in __required) return __required[name]; \
         throw new Error(`require(\"${{name}}\"): {otherwise}`); }}; "
    );
    text
}

/// Whether a line can only stand in an ES module.
fn is_esm(line: &str) -> bool {
    let line = line.trim_start();
    let after = |word: &str| {
        let rest = line.strip_prefix(word)?;
        rest.starts_with([' ', '{', '*', '\'', '"']).then_some(())
    };
    after("import").is_some() || after("export").is_some()
}

/// The names that are required as plain texts, each once.
fn required(source: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (at, sign) in source.match_indices("require(") {
        // `module.require("util")` asks for a module of Node.js, if there is one: libraries try.
        if source[..at].ends_with('.') {
            continue;
        }
        let rest = source[at + sign.len()..].trim_start();
        let Some(quote) = rest.chars().next().filter(|c| matches!(c, '\'' | '"')) else {
            continue;
        };
        if let Some((name, _)) = rest[1..].split_once(quote)
            && !names.iter().any(|known| known == name)
        {
            names.push(name.to_owned());
        }
    }
    names
}

/// The names in `exports.NAME = …`, for `import { NAME }` elsewhere.
fn exported(source: &str) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for (at, sign) in source.match_indices("exports.") {
        let rest = &source[at + sign.len()..];
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
        let len = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(len);
        let rest = rest.trim_start();
        let is_set = rest.starts_with('=') && !rest.starts_with("==");
        let is_known = names.contains(&name) || matches!(name, "default" | "__esModule");
        if is_set && !name.is_empty() && !is_known {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn es_modules_stay_as_they_are() {
        for source in [
            "import x from './x.js';\nconsole.log(require)",
            "export default function () {}",
            "const a = 1;",
            "import x from 'k6'; const require = (name) => name; require('k6/http');",
            "export default function (require) { require('./a.js'); }",
        ] {
            assert_eq!(as_module(source.to_owned()), source);
        }
    }

    #[test]
    fn an_es_module_may_require_modules_of_k6() {
        let source = "const http = require('k6/http');\nexport default () => require('./a.js');";
        let text = as_module(source.to_owned());
        assert_eq!(text.matches("import * as").count(), 1, "{text}");
        assert!(text.ends_with(source), "{text}");
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn what_is_required_is_imported_and_what_is_exported_named() {
        let source = "const a = require('./a.js'), b = require(\"k6\");\nexports.run = () => require('./a.js');";
        let text = as_module(source.to_owned());
        assert_eq!(text.matches("import * as").count(), 2, "{text}");
        assert!(text.contains("export { __e_run as run }"), "{text}");
        assert!(exported("if (exports.a == 1) {}").is_empty());
        assert!(required("free && free.require && free.require('util').types").is_empty());
    }
}
