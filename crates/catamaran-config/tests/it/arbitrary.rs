//! No text makes the reader panic, and what it refuses it explains.

use crate::errors::VALID;
use crate::parse;
use proptest::prelude::*;

const FILES: [&str; 4] = [
    include_str!("../../../../docs/examples/routes.toml"),
    include_str!("../../../../docs/examples/cache.toml"),
    include_str!("../../../../docs/examples/tcp-affinity.toml"),
    "[frontend.w]\nlisten=\":${PORT}\"\nerror-pages={503=\"503.html\"}\naccess-log={to=\"syslog\"}\n\
     [[frontend.w.route]]\nmirror={backend=\"b\",percent=3}\nrequest-headers={add={X-A=[\"1\"]}}\n\
     backend=\"b\"\n[backend.b]\nservers=[\"unix:/s\"]\nretry.budget=\"10%\"\n",
];

/// Values that a key may not be made for.
const VALUES: [&str; 12] = [
    "true",
    "-1",
    "0x7fffffffffffffff",
    "1e400",
    "nan",
    "\"\"",
    "\"${X\"",
    "\"é%\"",
    "[]",
    "[[1]]",
    "{}",
    "1979-05-27",
];

fn explained(text: &str) {
    if let Err(errors) = parse(text) {
        assert!(!errors.findings().is_empty());
        for finding in errors.findings() {
            let place = finding
                .place
                .expect("what is wrong with a text has a place");
            assert!(place.line >= 1 && place.column >= 1);
            assert!(!finding.message.contains('\n'), "{finding}");
        }
    }
}

#[test]
fn deep_nesting_is_refused() {
    explained(&format!("{VALID}a = {}", "[".repeat(100_000)));
    explained(&format!("{VALID}a = {}", "{a=".repeat(100_000)));
    explained(&format!("{VALID}{}", "a.".repeat(100_000)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text_is_read_or_explained(text in "\\PC*") {
        explained(&text);
    }

    #[test]
    fn any_cut_and_replacement_is_read_or_explained(
        file in 0..FILES.len(),
        from in any::<prop::sample::Index>(),
        length in 0_usize..40,
        with in "[\\PC\n]{0,8}",
    ) {
        let text: Vec<char> = FILES[file].chars().collect();
        let from = from.index(text.len());
        let to = (from + length).min(text.len());
        let changed: String = text[..from].iter().copied().chain(with.chars())
            .chain(text[to..].iter().copied()).collect();
        explained(&changed);
    }

    #[test]
    fn any_value_under_any_key_is_read_or_explained(
        file in 0..FILES.len(),
        assignment in any::<prop::sample::Index>(),
        value in 0..VALUES.len(),
    ) {
        let text = FILES[file];
        let signs: Vec<usize> = text.match_indices('=').map(|(at, _)| at + 1).collect();
        let at = signs[assignment.index(signs.len())];
        // What follows on the line becomes a comment, unless the value goes on below.
        let rest = text[at..].find('\n').map_or(text.len(), |end| at + end);
        explained(&format!("{} {}{}", &text[..at], VALUES[value], &text[rest..]));
    }
}
