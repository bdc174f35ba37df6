//! Giving up what a process does not need: capabilities, and files outside of some places.
//!
//! Both hold for the calling thread and those that it starts, and cannot be taken back.

use crate::check;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// What may be done beneath a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read files and list directories.
    Read,
    /// Besides, write, make and remove files.
    Write,
}

/// Gives up every capability, also for whatever is executed later: of all five sets of
/// `capabilities(7)`.
///
/// # Errors
/// What `prctl(2)` or `capset(2)` reports.
pub fn drop_capabilities() -> io::Result<()> {
    for capability in 0..MAX_CAPABILITIES {
        // SAFETY: PR_CAPBSET_READ takes an integer and touches no memory of ours.
        let has = unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) };
        if has < 0 {
            // The kernel knows no more of them.
            break;
        }
        // SAFETY: PR_CAPBSET_DROP takes an integer and touches no memory of ours.
        let dropped = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        match check(dropped) {
            // Without CAP_SETPCAP the set stays, which no-new-privs makes void.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => break,
            result => result?,
        };
    }
    let clear = libc::PR_CAP_AMBIENT_CLEAR_ALL;
    // SAFETY: PR_CAP_AMBIENT takes integers and touches no memory of ours.
    check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, clear, 0, 0, 0) })?;
    let header = CapHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    // Effective, permitted and inheritable, of two words each: none.
    let data = [0_u32; 6];
    // SAFETY: both live through the call, which only reads them, and are of the size that version 3
    // says.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    long(result).map(drop)
}

/// Allows files beneath `places` only, as each says; one that does not exist is left out.
///
/// Returns whether that can be had here. Open descriptors stay usable, and sockets are not concerned.
///
/// # Errors
/// What the calls of `landlock(7)` report.
pub fn restrict_files(places: &[(&Path, Access)]) -> io::Result<bool> {
    let version = create_ruleset(None, CREATE_RULESET_VERSION);
    let version = match version {
        Ok(version) => version,
        Err(error) if is_absent(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    let handled = handled_by(version);
    let number = create_ruleset(Some(handled), 0)?;
    let number = i32::try_from(number).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the call succeeded, so this descriptor is open and nobody else's.
    let ruleset = unsafe { OwnedFd::from_raw_fd(number) };
    for &(path, access) in places {
        allow(&ruleset, path, access, handled)?;
    }
    // SAFETY: landlock_restrict_self takes integers and touches no memory of ours.
    let result =
        unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32) };
    long(result)?;
    Ok(true)
}

/// Whether an answer means that there is no Landlock here: not built in, turned off at boot, or
/// forbidden by the system call filter of a container.
fn is_absent(error: &io::Error) -> bool {
    let absent = [libc::ENOSYS, libc::EOPNOTSUPP, libc::EPERM];
    error
        .raw_os_error()
        .is_some_and(|code| absent.contains(&code))
}

fn create_ruleset(handled: Option<u64>, flags: u32) -> io::Result<libc::c_long> {
    let size = if handled.is_some() {
        size_of::<u64>()
    } else {
        0
    };
    let attributes = handled
        .as_ref()
        .map_or(std::ptr::null(), |handled| &raw const *handled);
    // SAFETY: `attributes` is null with the size zero, or the first field of the structure, which
    // the kernel takes for all of it by the size; it lives through the call, which only reads it.
    let result =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, attributes, size, flags) };
    long(result)
}

fn allow(ruleset: &OwnedFd, path: &Path, access: Access, handled: u64) -> io::Result<()> {
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path);
    let place = match opened {
        Ok(place) => place,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut allowed = match access {
        Access::Read => READ_FILE | READ_DIR,
        Access::Write => {
            READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE | REMOVE_FILE | MAKE_REG | MAKE_SOCK
        }
    };
    if !place.metadata()?.is_dir() {
        allowed &= READ_FILE | WRITE_FILE | TRUNCATE;
    }
    let rule = PathBeneath {
        allowed: allowed & handled,
        parent: place.as_raw_fd(),
    };
    // SAFETY: `rule` has the layout of the kernel's structure and lives through the call, which only
    // reads it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            RULE_PATH_BENEATH,
            &raw const rule,
            0_u32,
        )
    };
    long(result).map(drop)
}

/// The rights over files that a version of Landlock knows, but for those over devices (the fifth
/// version's ioctl), which nothing here opens.
const fn handled_by(version: libc::c_long) -> u64 {
    match version {
        ..=1 => (1 << 13) - 1,
        2 => (1 << 14) - 1,
        _ => (1 << 15) - 1,
    }
}

fn long(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// `struct __user_cap_header_struct`.
#[repr(C)]
struct CapHeader {
    version: u32,
    pid: libc::c_int,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: libc::c_int,
}

/// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
/// Bits of a set of capabilities.
const MAX_CAPABILITIES: libc::c_ulong = 64;

// linux/landlock.h.
const CREATE_RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_REG: u64 = 1 << 8;
const MAKE_SOCK: u64 = 1 << 9;
const TRUNCATE: u64 = 1 << 14;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_thread_without_capabilities_has_none_left() {
        let status = std::thread::spawn(|| {
            drop_capabilities().unwrap();
            fs::read_to_string("/proc/thread-self/status").unwrap()
        })
        .join()
        .unwrap();
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            let line = status.lines().find(|line| line.starts_with(set)).unwrap();
            assert!(line.ends_with("0000000000000000"), "{line}");
        }
    }

    #[test]
    fn a_container_that_forbids_the_question_has_no_landlock() {
        assert!(is_absent(&io::Error::from_raw_os_error(libc::EPERM)));
        assert!(!is_absent(&io::Error::from_raw_os_error(libc::EMFILE)));
    }

    #[test]
    fn files_outside_of_the_places_are_refused() {
        let base = std::env::temp_dir().join(format!("sandbox-{}", std::process::id()));
        let (read, write) = (base.join("read"), base.join("write"));
        fs::create_dir_all(&read).unwrap();
        fs::create_dir_all(&write).unwrap();
        fs::write(read.join("a"), "a").unwrap();
        fs::write(base.join("outside"), "b").unwrap();
        let inside = base.clone();
        std::thread::spawn(move || {
            crate::process::set_no_new_privs().unwrap();
            let missing = inside.join("missing");
            let places = [
                (read.as_path(), Access::Read),
                (write.as_path(), Access::Write),
                (missing.as_path(), Access::Write),
            ];
            if !restrict_files(&places).unwrap() {
                return;
            }
            assert_eq!(fs::read(read.join("a")).unwrap(), b"a");
            fs::write(write.join("c"), "c").unwrap();
            let denied = Some(io::ErrorKind::PermissionDenied);
            let kind = |result: io::Result<()>| result.err().map(|error| error.kind());
            assert_eq!(kind(fs::write(read.join("a"), "x")), denied);
            assert_eq!(kind(fs::read(inside.join("outside")).map(drop)), denied);
        })
        .join()
        .unwrap();
        fs::remove_dir_all(base).unwrap();
    }
}
