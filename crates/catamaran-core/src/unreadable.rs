//! What an operator is told of a file with a secret that cannot be read.

use std::io;
use std::path::Path;

/// Says why `file` cannot be read, and what mends that: who runs as `user` is let in where it may
/// not, and `missing` is advice for a file that is not there. `is_seen` says whether the file can be
/// found at all; where it cannot, its directory is what keeps `user` out.
#[must_use]
pub fn unreadable(
    file: &Path,
    error: &io::Error,
    (user, is_seen): (&str, bool),
    missing: &str,
) -> String {
    let shown = file.display();
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied if is_seen => {
            format!("; `chown {user} {shown}` lets this user read it")
        }
        io::ErrorKind::PermissionDenied => {
            format!("; let the user `{user}` enter its directory")
        }
        io::ErrorKind::NotFound => format!("; {missing}"),
        _ => String::new(),
    };
    format!("cannot be read: {error}{remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: io::ErrorKind, is_seen: bool) -> String {
        let file = Path::new("/etc/a.key");
        unreadable(file, &kind.into(), ("lb", is_seen), "make one")
    }

    #[test]
    fn the_remedy_is_for_what_is_in_the_way() {
        assert_eq!(
            told(io::ErrorKind::PermissionDenied, true),
            "cannot be read: permission denied; `chown lb /etc/a.key` lets this user read it"
        );
        assert_eq!(
            told(io::ErrorKind::PermissionDenied, false),
            "cannot be read: permission denied; let the user `lb` enter its directory"
        );
        assert_eq!(
            told(io::ErrorKind::NotFound, false),
            "cannot be read: entity not found; make one"
        );
        assert_eq!(
            told(io::ErrorKind::Other, true),
            "cannot be read: other error"
        );
    }
}
