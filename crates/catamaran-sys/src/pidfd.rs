//! A process that is not our child, held so that its number cannot come to mean another
//! (`pidfd_open(2)`).

use crate::check;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

/// Takes hold of the process `pid`. The descriptor becomes readable when it has ended; it is
/// non-blocking and closed on exec.
///
/// # Errors
/// When there is no such process, or the number is out of range.
pub fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: pidfd_open takes integers and touches no memory of ours.
    let number = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, libc::PIDFD_NONBLOCK) };
    let number = check(libc::c_int::try_from(number).unwrap_or(-1))?;
    // SAFETY: the call succeeded, so this descriptor is open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Sends `signal` to the process.
///
/// # Errors
/// When it has ended or is not ours to signal.
pub fn send_signal(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let no_info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: with a null pointer the kernel makes the information itself; the rest are integers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal,
            no_info,
            0,
        )
    };
    check(libc::c_int::try_from(result).unwrap_or(-1))?;
    Ok(())
}

/// How the process ended, if it has and is a child of ours that nobody has waited for.
///
/// # Errors
/// When it is no child of ours.
pub fn reap(process: BorrowedFd<'_>) -> io::Result<Option<ExitStatus>> {
    let id = libc::id_t::try_from(process.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: siginfo_t is plain data, for which all zeroes is a valid value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG;
    // SAFETY: `info` lives through the call, which only writes to it.
    check(unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, options) })?;
    // SAFETY: for waitid, these fields are set, or all zero.
    let pid = unsafe { info.si_pid() };
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    // As wait(2) packs it.
    let raw = match info.si_code {
        libc::CLD_EXITED => (status & 0xff) << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    };
    Ok(Some(ExitStatus::from_raw(raw)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;
    use std::process::Command;

    #[test]
    #[expect(
        clippy::zombie_processes,
        reason = "it is waited for by its descriptor"
    )]
    fn the_end_of_a_child_is_told_once() {
        let child = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
        let held = open(child.id()).unwrap();
        let status = loop {
            match reap(held.as_fd()).unwrap() {
                Some(status) => break status,
                None => std::thread::yield_now(),
            }
        };
        assert_eq!(status.code(), Some(7));
        assert!(reap(held.as_fd()).is_err());
    }

    #[test]
    fn a_process_is_signalled_by_what_holds_it() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let held = open(child.id()).unwrap();
        send_signal(held.as_fd(), libc::SIGTERM).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        // Its number may be another's by now; what is held is not.
        assert!(send_signal(held.as_fd(), 0).is_err());
        assert!(open(u32::MAX).is_err());
    }
}
