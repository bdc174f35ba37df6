//! The field `tracestate`: what others on the way want kept of a trace.
//!
//! We add no member of our own, so that it is passed on as it came, but in one field and within the
//! limits of the recommendation (§3.3).

/// Bytes that are passed on: what everybody has to take.
pub const MAX_STATE_BYTES: usize = 512;
/// Members of a list.
const MAX_MEMBERS: usize = 32;
/// Members that are longer go first when the list is too long.
const LONG_MEMBER: usize = 128;
/// Bytes of a key, and of a value.
const MAX_PART: usize = 256;
/// Bytes of the two parts of a key.
const MAX_TENANT: usize = 241;
const MAX_SYSTEM: usize = 14;

/// Appends the members of all fields of a request, as one list. Nothing is appended if any is
/// malformed or there are more than 32; too long a list loses whole members: those longer than
/// 128 bytes, then those at its end.
pub fn combine_state<'f>(fields: impl IntoIterator<Item = &'f [u8]>, out: &mut Vec<u8>) {
    let begin = out.len();
    let mut members: [&[u8]; MAX_MEMBERS] = [b""; MAX_MEMBERS];
    let mut count = 0;
    for member in fields
        .into_iter()
        .flat_map(|field| field.split(|&byte| byte == b','))
    {
        let member = trim(member);
        if member.is_empty() {
            continue;
        }
        if count == MAX_MEMBERS || !is_member(member) {
            return;
        }
        members[count] = member;
        count += 1;
    }
    let members = &members[..count];
    let len = members.iter().map(|member| member.len() + 1).sum::<usize>();
    let is_long = len.saturating_sub(1) > MAX_STATE_BYTES;
    for member in members {
        if is_long && member.len() > LONG_MEMBER {
            continue;
        }
        let comma = usize::from(out.len() > begin);
        if out.len() - begin + comma + member.len() > MAX_STATE_BYTES {
            return;
        }
        out.extend_from_slice(&b","[..comma]);
        out.extend_from_slice(member);
    }
}

/// `text` without the spaces and tabs around it.
fn trim(text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begin = text.iter().position(|byte| !is_space(byte));
    let end = text.iter().rposition(|byte| !is_space(byte));
    match (begin, end) {
        (Some(begin), Some(end)) => &text[begin..=end],
        _ => b"",
    }
}

/// Whether it is `key=value`: §3.3.1.
fn is_member(member: &[u8]) -> bool {
    let Some(at) = member.iter().position(|&byte| byte == b'=') else {
        return false;
    };
    let (key, value) = (&member[..at], &member[at + 1..]);
    let is_in_value = |byte: &u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b',' | b'=');
    is_key(key) && !value.is_empty() && value.len() <= MAX_PART && value.iter().all(is_in_value)
}

/// Whether it is a key, of one system or of one of its tenants (`tenant@system`).
fn is_key(key: &[u8]) -> bool {
    let is_in_key = |byte: &u8| {
        byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || matches!(byte, b'_' | b'-' | b'*' | b'/')
    };
    let is_word =
        |word: &[u8], max: usize| (1..=max).contains(&word.len()) && word.iter().all(is_in_key);
    let begins_with_letter = |word: &[u8]| word.first().is_some_and(u8::is_ascii_lowercase);
    match key.iter().position(|&byte| byte == b'@') {
        None => begins_with_letter(key) && is_word(key, MAX_PART),
        Some(at) => {
            let (tenant, system) = (&key[..at], &key[at + 1..]);
            let begins = tenant.first().is_some_and(u8::is_ascii_alphanumeric);
            begins
                && is_word(tenant, MAX_TENANT)
                && begins_with_letter(system)
                && is_word(system, MAX_SYSTEM)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn combined(fields: &[&str]) -> String {
        let mut out = Vec::new();
        combine_state(fields.iter().map(|field| field.as_bytes()), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn members_of_all_fields_become_one_list_in_their_order() {
        assert_eq!(combined(&["rojo=00f0,congo=t61"]), "rojo=00f0,congo=t61");
        assert_eq!(combined(&[" a=1 ,\tb=2", "", "c@v=3 4"]), "a=1,b=2,c@v=3 4");
        assert_eq!(combined(&["a=1,,b=2,"]), "a=1,b=2");
        assert_eq!(combined(&[]), "");
    }

    #[test]
    fn a_list_with_a_malformed_member_is_dropped() {
        for wrong in [
            "foo", "=1", "foo=", "Foo=1", "foo =1", "f o=1", "a=b=c", "a=\u{7f}", "é=1", "_a=1",
            "1a=1", "a@=1", "@a=1", "a@@b=1", "a@b@c=1", "a@1=1",
        ] {
            assert_eq!(combined(&[&format!("a=1,{wrong}")]), "", "{wrong}");
        }
        let many: Vec<String> = (0..33).map(|n| format!("k{n}=1")).collect();
        assert_eq!(combined(&[&many.join(",")]), "");
        assert_eq!(combined(&[&many[1..].join(",")]), many[1..].join(","));
        assert_eq!(combined(&[&format!("a={}", "x".repeat(257))]), "");
    }

    #[test]
    fn a_long_list_loses_long_members_then_the_last() {
        let long = format!("long={}", "x".repeat(200));
        let short: Vec<String> = (0..6).map(|n| format!("k{n}={}", "y".repeat(80))).collect();
        let list = format!("{},{long},{}", short[0], short[1..].join(","));
        assert_eq!(combined(&[&list]), short.join(","));
        let full: Vec<String> = (0..7).map(|n| format!("k{n}={}", "y".repeat(80))).collect();
        assert_eq!(combined(&[&full.join(",")]), full[..6].join(","));
        let fits = format!("a={},b={}", "x".repeat(256), "y".repeat(251));
        assert_eq!(fits.len(), MAX_STATE_BYTES);
        assert_eq!(combined(&[&fits]), fits);
    }

    proptest! {
        #[test]
        fn what_is_passed_on_is_never_too_long_and_passes_again(
            fields in prop::collection::vec("([a-z@]{1,9}=[ -~]{0,150},?){0,9}|.{0,40}", 0..4)
        ) {
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            let once = combined(&fields);
            prop_assert!(once.len() <= MAX_STATE_BYTES);
            prop_assert_eq!(combined(&[&once]), once);
        }
    }
}
