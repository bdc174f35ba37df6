//! The only `unsafe` code of catamaran: what Linux offers and the standard library does not.
//!
//! Every function here is safe to call and works on [`std::os::fd::OwnedFd`] and
//! [`std::os::fd::BorrowedFd`]. The crate knows nothing of load balancing: it decides no policy,
//! logs nothing and keeps no state besides what the kernel keeps.
//!
//! Linux only; 5.15 is the oldest kernel the callers support.

pub mod abstract_socket;
pub mod clock;
mod control;
pub mod fd_passing;
pub mod frames;
pub mod identity;
pub mod memory;
pub mod netlink;
pub mod pidfd;
pub mod privilege;
pub mod process;
pub mod raw_ip;
pub mod sandbox;
pub mod socket;
pub mod splice;
pub mod watched;

use std::io;

/// Turns the usual `-1` of a system call into the error it stands for.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// As [`check`], for calls that return a count.
fn check_len(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
