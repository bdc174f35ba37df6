//! The nearest of several names to one that was mistyped.

/// The name nearest to `found`, if one is near enough to be what was meant.
///
/// Near is one edit for up to five characters and one more for each three beyond; a swap of two
/// neighbours is one edit. A name of which only the beginning was written is near too.
pub fn nearest<'a>(found: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = found.chars().count();
    // A long name is a pasted value, not a slip, and would cost quadratic time.
    if length > MAX_LENGTH {
        return None;
    }
    let bound = (length / 3).max(1);
    let far = |name: &str| {
        let distance = distance(found, name);
        let begins = length >= 3 && name.starts_with(found);
        (begins || distance <= bound).then_some(distance)
    };
    names
        .into_iter()
        .filter_map(|name| Some((far(name)?, name)))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// Says what to write instead of `found`: the nearest name, or all that are allowed.
pub fn remedy(found: &str, names: &[&str]) -> String {
    match (nearest(found, names.iter().copied()), names) {
        (Some(name), _) => format!("did you mean `{name}`?"),
        (None, [only]) => format!("only `{only}` is allowed"),
        (None, _) => format!("allowed are {}", quoted(names)),
    }
}

/// The names in backticks with commas between.
pub fn quoted(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// Optimal string alignment distance: insertions, deletions, replacements, swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut older: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (row, &left) in a.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, &right) in b.iter().enumerate() {
            let mut best = above[column] + usize::from(left != right);
            best = best.min(above[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0 && column > 0 && left == b[column - 1] && a[row - 1] == right;
            if swapped {
                best = best.min(older[column - 1] + 1);
            }
            current.push(best);
        }
        older = std::mem::replace(&mut above, current);
    }
    above[b.len()]
}

const MAX_LENGTH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted_with_swaps_as_one() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("apl", "api"), 1);
        assert_eq!(distance("lisetn", "listen"), 1);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn only_a_near_name_is_proposed() {
        assert_eq!(nearest("helath", ["health", "hash"]), Some("health"));
        assert_eq!(nearest("hea", ["health", "hash"]), Some("health"));
        assert_eq!(nearest("zebra", ["health", "hash"]), None);
        assert_eq!(remedy("x9", &["tcp", "udp"]), "allowed are `tcp`, `udp`");
    }
}
