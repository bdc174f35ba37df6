//! Users and groups: finding them by name, and becoming one.

use crate::check;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A user with the group that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// The user of this name with its own group; `None` if there is none.
///
/// # Errors
/// When the system's directory of users cannot be asked, or the name holds a zero byte.
pub fn user(name: &str) -> io::Result<Option<Identity>> {
    let name = CString::new(name)?;
    let mut buf = vec![0_u8; ENTRY];
    // SAFETY: passwd is a structure of integers and pointers, for which zero is a value.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: all of them outlive the call, which writes within `buf` as long as it is told.
    let failed = unsafe {
        libc::getpwnam_r(
            name.as_ptr(),
            &raw mut entry,
            buf.as_mut_ptr().cast(),
            buf.len(),
            &raw mut found,
        )
    };
    answered(failed)?;
    Ok((!found.is_null()).then_some(Identity {
        uid: entry.pw_uid,
        gid: entry.pw_gid,
    }))
}

/// The number of the group of this name; `None` if there is none.
///
/// # Errors
/// As [`user`].
pub fn group(name: &str) -> io::Result<Option<u32>> {
    let name = CString::new(name)?;
    let mut buf = vec![0_u8; ENTRY];
    // SAFETY: group is a structure of integers and pointers, for which zero is a value.
    let mut entry: libc::group = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: all of them outlive the call, which writes within `buf` as long as it is told.
    let failed = unsafe {
        libc::getgrnam_r(
            name.as_ptr(),
            &raw mut entry,
            buf.as_mut_ptr().cast(),
            buf.len(),
            &raw mut found,
        )
    };
    answered(failed)?;
    Ok((!found.is_null()).then_some(entry.gr_gid))
}

/// Becomes `identity` for good, with no other groups; every capability is gone with it.
///
/// # Errors
/// `PermissionDenied` without the privilege.
pub fn become_for_good(identity: Identity) -> io::Result<()> {
    let Identity { uid, gid } = identity;
    // SAFETY: with a count of zero the pointer is not read.
    check(unsafe { libc::setgroups(0, std::ptr::null()) })?;
    // SAFETY: setresgid takes integers only.
    check(unsafe { libc::setresgid(gid, gid, gid) })?;
    // SAFETY: setresuid takes integers only.
    check(unsafe { libc::setresuid(uid, uid, uid) })?;
    Ok(())
}

/// Gives a file or directory to `identity`.
///
/// # Errors
/// What `chown(2)` reports.
pub fn give(path: &Path, identity: Identity) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path outlives the call, which only reads it.
    check(unsafe { libc::chown(path.as_ptr(), identity.uid, identity.gid) })?;
    Ok(())
}

/// Some systems report an unknown name as an error.
fn answered(failed: libc::c_int) -> io::Result<()> {
    match failed {
        0 | libc::ENOENT | libc::ESRCH => Ok(()),
        number => Err(io::Error::from_raw_os_error(number)),
    }
}

/// Room for the texts of an entry: names, a home, a shell, the members of a group.
const ENTRY: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_found_by_name() {
        assert_eq!(user("root").unwrap(), Some(Identity { uid: 0, gid: 0 }));
        assert_eq!(group("root").unwrap(), Some(0));
        assert_eq!(user("no such user").unwrap(), None);
        assert_eq!(group("no such group").unwrap(), None);
    }
}
