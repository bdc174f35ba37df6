//! Users and groups: finding them by name, and becoming one.

use crate::check;
use std::ffi::{CStr, CString};
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

/// The name of the user that this process acts as; its number where it has no name, or none that
/// can be looked up.
#[must_use]
pub fn own_name() -> String {
    let uid = crate::process::effective_user();
    let mut buf = vec![0_u8; ENTRY];
    // SAFETY: passwd is a structure of integers and pointers, for which zero is a value.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: all of them outlive the call, which writes within `buf` as long as it is told.
    let failed = unsafe {
        libc::getpwuid_r(
            uid,
            &raw mut entry,
            buf.as_mut_ptr().cast(),
            buf.len(),
            &raw mut found,
        )
    };
    if failed != 0 || found.is_null() || entry.pw_name.is_null() {
        return uid.to_string();
    }
    // SAFETY: the name is a string in `buf`, which lives on.
    let name = unsafe { CStr::from_ptr(entry.pw_name) };
    name.to_string_lossy().into_owned()
}

/// Whether owner and permissions of a file let this process read it. What else may deny it, as
/// Landlock does, is not asked.
#[must_use]
pub fn may_read(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: the path outlives the call, which only reads it.
    let asked =
        unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::R_OK, libc::AT_EACCESS) };
    asked == 0
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

    #[test]
    fn the_name_of_this_user_leads_back_to_it() {
        let uid = crate::process::effective_user();
        let name = own_name();
        let found = user(&name).unwrap().map(|identity| identity.uid);
        // Containers have users without a name.
        assert_eq!(found.unwrap_or_else(|| name.parse().unwrap()), uid);
    }

    #[test]
    fn what_may_be_read_is_told_from_what_is_not_there() {
        assert!(may_read(Path::new("/etc/passwd")));
        assert!(!may_read(Path::new("/etc/passwd/no")));
        assert!(!may_read(Path::new("/nowhere")));
    }
}
