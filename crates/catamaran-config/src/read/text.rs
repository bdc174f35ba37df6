//! Environment variables inside strings.

use std::borrow::Cow;

/// `text` with every `${NAME}` replaced by its value; `$${` stands for a plain `${`.
///
/// # Errors
/// What is wrong with a reference, with the remedy.
pub(super) fn expand<'t>(
    text: &'t str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Cow<'t, str>, String> {
    if !text.contains("${") {
        return Ok(Cow::Borrowed(text));
    }
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, reference) = rest.split_at(start);
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = &reference[2..];
            continue;
        }
        expanded.push_str(before);
        let Some((name, after)) = reference[2..].split_once('}') else {
            return Err("`${` has no closing `}`; write `$${` for a plain `${`".to_owned());
        };
        if !is_name(name) {
            return Err(format!(
                "`${{{name}}}` names no environment variable: a name has letters, digits and \
                 `_`; write `$${{` for a plain `${{`"
            ));
        }
        let Some(value) = env(name) else {
            return Err(format!(
                "environment variable `{name}` is not set; set it, or write `$${{{name}}}` for \
                 the plain text"
            ));
        };
        expanded.push_str(&value);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(Cow::Owned(expanded))
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        let env = |name: &str| (name == "PORT").then(|| "80".to_owned());
        expand(text, &env).map(Cow::into_owned)
    }

    #[test]
    fn variables_are_replaced_and_values_are_not_read_again() {
        assert_eq!(expanded("a:${PORT}/${PORT}"), Ok("a:80/80".to_owned()));
        assert_eq!(expanded("costs $5"), Ok("costs $5".to_owned()));
        assert_eq!(
            expand("${A}", &|_| Some("${B}".to_owned())),
            Ok(Cow::Owned("${B}".to_owned()))
        );
    }

    #[test]
    fn two_dollars_stand_for_one() {
        assert_eq!(expanded("$${PORT}"), Ok("${PORT}".to_owned()));
        assert_eq!(expanded("$${PORT} ${PORT}"), Ok("${PORT} 80".to_owned()));
    }

    #[test]
    fn what_cannot_be_replaced_is_an_error_with_its_remedy() {
        assert_eq!(
            expanded("${NOPE}"),
            Err(
                "environment variable `NOPE` is not set; set it, or write `$${NOPE}` for the \
                 plain text"
                    .to_owned()
            )
        );
        assert!(expanded("${PORT").is_err());
        assert!(expanded("${}").is_err());
        assert!(expanded("${1A}").is_err());
    }
}
