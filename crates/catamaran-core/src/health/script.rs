//! What a scripted check makes of what a server sends.
//!
//! A script sends and expects by turns. What is expected is compared with what has come so far, and
//! either it is there, or it may still come, or it never will.

use crate::model::Expect;

/// How far what has come meets what is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// It is there; so many bytes are dealt with.
    Yes(usize),
    /// More may make it so.
    NotYet,
    /// Nothing can.
    Never,
}

/// Compares `received` with what is expected.
#[must_use]
pub fn judge(expect: &Expect, received: &[u8]) -> Met {
    match expect {
        Expect::Prefix(wanted) => {
            let common = wanted.len().min(received.len());
            if wanted[..common] != received[..common] {
                Met::Never
            } else if common == wanted.len() {
                Met::Yes(common)
            } else {
                Met::NotYet
            }
        }
        Expect::Contains(wanted) => {
            let mut windows = received.windows(wanted.len().max(1));
            match windows.position(|window| window == &wanted[..]) {
                Some(at) => Met::Yes(at + wanted.len()),
                None => Met::NotYet,
            }
        }
        Expect::Line(wanted) => match received.iter().position(|&byte| byte == b'\n') {
            Some(end) => {
                let line = &received[..end];
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                if line == &wanted[..] {
                    Met::Yes(end + 1)
                } else {
                    Met::Never
                }
            }
            None => Met::NotYet,
        },
        Expect::OneOf(bytes) => match received.first() {
            Some(first) if bytes.contains(first) => Met::Yes(1),
            Some(_) => Met::Never,
            None => Met::NotYet,
        },
        Expect::ByteAt { place, byte } => match received.get(*place) {
            Some(found) if found == byte => Met::Yes(place + 1),
            Some(_) => Met::Never,
            None => Met::NotYet,
        },
    }
}

/// Bytes of an answer that are kept; a longer one fails.
pub const MAX_RECEIVED: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_may_come_in_pieces_and_is_missed_as_soon_as_it_can_be() {
        let prefix = Expect::Prefix(b"+PONG"[..].into());
        let met = |received: &[u8]| judge(&prefix, received);
        assert_eq!((met(b""), met(b"+PO")), (Met::NotYet, Met::NotYet));
        assert_eq!((met(b"+PONG\r\n"), met(b"-")), (Met::Yes(5), Met::Never));
        let line = Expect::Line(b"220 ok"[..].into());
        assert_eq!(judge(&line, b"220 ok\r"), Met::NotYet);
        assert_eq!(judge(&line, b"220 ok\r\nx"), Met::Yes(8));
        assert_eq!(judge(&line, b"220 ok x\n"), Met::Never);
        let contains = Expect::Contains(b"ready"[..].into());
        assert_eq!(judge(&contains, b"not yet rea"), Met::NotYet);
        assert_eq!(judge(&contains, b"is ready."), Met::Yes(8));
        let byte = Expect::ByteAt { place: 4, byte: 10 };
        assert_eq!(judge(&byte, b"1234"), Met::NotYet);
        assert_eq!(judge(&byte, b"1234\x0a"), Met::Yes(5));
        assert_eq!(judge(&byte, b"1234\xff"), Met::Never);
        let one_of = Expect::OneOf(b"SN"[..].into());
        assert_eq!(
            (judge(&one_of, b"N"), judge(&one_of, b"E")),
            (Met::Yes(1), Met::Never)
        );
    }
}
