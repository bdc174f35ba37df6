//! The process and its threads: limits, processors, privileges, children.

use crate::check;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// Limits on the number of open descriptors (RLIMIT_NOFILE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// What holds now.
    pub soft: u64,
    /// What an unprivileged process may raise it to.
    pub hard: u64,
}

/// Raises the limit on open descriptors as far as it goes without privileges.
///
/// # Errors
/// What `setrlimit(2)` reports.
pub fn raise_descriptor_limit() -> io::Result<DescriptorLimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` lives through the call, which only writes to it.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` lives through the call, which only reads it.
        check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    }
    Ok(DescriptorLimit {
        soft: limit.rlim_cur,
        hard: limit.rlim_max,
    })
}

/// The processors that this thread may run on, in ascending order.
///
/// # Errors
/// What `sched_getaffinity(2)` reports.
pub fn available_cpus() -> io::Result<Vec<usize>> {
    let mut set = empty_cpu_set();
    // SAFETY: `set` is a cpu_set_t of the size given, written by the call. 0 is this thread.
    check(unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) })?;
    let mut cpus = Vec::new();
    for cpu in 0..MAX_CPUS {
        // SAFETY: `cpu` is below CPU_SETSIZE, so the bit lies inside the set.
        if unsafe { libc::CPU_ISSET(cpu, &set) } {
            cpus.push(cpu);
        }
    }
    Ok(cpus)
}

/// Binds the calling thread to one processor.
///
/// # Errors
/// `InvalidInput` when there is no such processor or this process may not use it.
pub fn pin_to(cpu: usize) -> io::Result<()> {
    if cpu >= MAX_CPUS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = empty_cpu_set();
    // SAFETY: `cpu` is below CPU_SETSIZE, so the bit lies inside the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: `set` is a cpu_set_t of the size given, read by the call. 0 is this thread.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) })?;
    Ok(())
}

/// Forbids this process and its children to gain privileges by executing files.
///
/// # Errors
/// What `prctl(2)` reports.
pub fn set_no_new_privs() -> io::Result<()> {
    // SAFETY: PR_SET_NO_NEW_PRIVS takes integers and touches no memory of ours.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    Ok(())
}

/// Names the calling thread, and with the main thread the process, as `ps -e` and `pgrep` show it;
/// what is longer than 15 bytes is cut.
pub fn set_name(name: &CStr) {
    // SAFETY: PR_SET_NAME reads a string, which outlives the call.
    let _ = unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
}

/// The user that this process acts as.
#[must_use]
pub fn effective_user() -> u32 {
    // SAFETY: geteuid takes nothing, touches no memory of ours and always succeeds.
    unsafe { libc::geteuid() }
}

/// The group that this process acts as.
#[must_use]
pub fn effective_group() -> u32 {
    // SAFETY: getegid takes nothing, touches no memory of ours and always succeeds.
    unsafe { libc::getegid() }
}

/// Sends `signal` to the process `pid`.
///
/// # Errors
/// When there is no such process, it is not ours to signal, or the number is out of range.
pub fn send_signal(pid: u32, signal: i32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid)
        .ok()
        .filter(|&pid| pid > 0)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: kill takes integers only; a positive pid names one process, never a group.
    check(unsafe { libc::kill(pid, signal) })?;
    Ok(())
}

/// Kills the process that leads a group, and all that are in it.
///
/// # Errors
/// When there is no such group, it is not ours to signal, or the number is that of no process of ours.
pub fn kill_group(leader: u32) -> io::Result<()> {
    let leader = libc::pid_t::try_from(leader)
        .ok()
        // 0 is our own group, and -1 everybody.
        .filter(|&pid| pid > 1)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: kill takes integers only; a number below -1 names one group.
    check(unsafe { libc::kill(-leader, libc::SIGKILL) })?;
    Ok(())
}

/// Has the kernel send `signal` to the child of `command` when the *thread* that spawns it ends,
/// however it ends.
pub fn set_parent_death_signal(command: &mut Command, signal: i32) {
    let parent = std::process::id();
    let prepare = move || {
        let number = libc::c_ulong::try_from(signal).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: PR_SET_PDEATHSIG takes integers and touches no memory of ours.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, number, 0, 0, 0) })?;
        // The parent may have died before the call: then nobody would send the signal.
        if std::os::unix::process::parent_id() == parent {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    };
    // SAFETY: between fork and exec the closure only makes system calls and builds errors that need
    // no allocation, all of which are safe to do there.
    unsafe { command.pre_exec(prepare) };
}

/// Leaves `fd` open across the exec of `command`'s child, and returns its number, which the child
/// must be told.
///
/// `fd` must stay open until the child is spawned. The number is not of the caller's choosing: any
/// fixed one could hide a descriptor that the standard library needs between fork and exec.
pub fn pass_descriptor(command: &mut Command, fd: BorrowedFd<'_>) -> RawFd {
    let number = fd.as_raw_fd();
    let prepare = move || {
        // SAFETY: F_SETFD takes an integer and touches no memory of ours.
        check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) })?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure only makes a system call, which is safe there.
    unsafe { command.pre_exec(prepare) };
    number
}

/// Takes a copy of a descriptor that the process that spawned us passed, closed on exec as the
/// original is from now on. The original stays open as long as the process lives.
///
/// # Errors
/// When nothing is open under that number, or it is a standard stream.
pub fn take_passed_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // A copy is taken instead of the number itself: whoever else may own that, ours is ours.
    // SAFETY: F_DUPFD_CLOEXEC takes an integer and touches no memory of ours.
    let copy = check(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: fcntl succeeded, so this descriptor is open and nobody else's.
    let copy = unsafe { OwnedFd::from_raw_fd(copy) };
    // SAFETY: F_SETFD takes an integer and touches no memory of ours.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    Ok(copy)
}

/// Takes over the `count` descriptors that a service manager passed (`sd_listen_fds(3)`), closed on
/// exec from now on. Nothing the second time.
///
/// # Errors
/// When fewer are open.
pub fn take_listen_descriptors(count: u32) -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let count = RawFd::try_from(count).map_err(|_| io::ErrorKind::InvalidInput)?;
    let end = FIRST_LISTEN_DESCRIPTOR.checked_add(count);
    let end = end.ok_or(io::ErrorKind::InvalidInput)?;
    let mut taken = Vec::new();
    for number in FIRST_LISTEN_DESCRIPTOR..end {
        // SAFETY: F_SETFD takes an integer and touches no memory of ours.
        check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
        // SAFETY: it is open; by the protocol whoever executed us passed it for us to own, and it is
        // taken once only.
        taken.push(unsafe { OwnedFd::from_raw_fd(number) });
    }
    Ok(taken)
}

fn empty_cpu_set() -> libc::cpu_set_t {
    // SAFETY: cpu_set_t is an array of integers, for which all zeroes is the empty set.
    unsafe { std::mem::zeroed() }
}

/// SD_LISTEN_FDS_START.
const FIRST_LISTEN_DESCRIPTOR: RawFd = 3;
/// Processors that fit in a `cpu_set_t`: its bits.
const MAX_CPUS: usize = size_of::<libc::cpu_set_t>() * 8;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;

    #[test]
    fn the_descriptor_limit_reaches_the_hard_one() {
        let limit = raise_descriptor_limit().unwrap();
        assert_eq!(limit.soft, limit.hard);
        assert_eq!(raise_descriptor_limit().unwrap(), limit);
    }

    #[test]
    fn a_pinned_thread_has_one_processor() {
        let cpus = available_cpus().unwrap();
        let last = *cpus.last().unwrap();
        std::thread::spawn(move || {
            pin_to(last).unwrap();
            assert_eq!(available_cpus().unwrap(), [last]);
        })
        .join()
        .unwrap();
        assert!(pin_to(MAX_CPUS).is_err());
    }

    #[test]
    fn a_child_dies_with_the_thread_that_spawned_it() {
        let mut child = std::thread::spawn(|| {
            let mut command = Command::new("sleep");
            command.arg("60").stdin(Stdio::null());
            set_parent_death_signal(&mut command, libc::SIGKILL);
            command.spawn().unwrap()
        })
        .join()
        .unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }

    #[test]
    fn a_signal_reaches_its_process_only() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        send_signal(child.id(), libc::SIGTERM).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        assert!(send_signal(0, libc::SIGTERM).is_err());
        assert!(send_signal(u32::MAX, libc::SIGTERM).is_err());
    }

    #[test]
    fn a_group_ends_with_its_leader() {
        use std::io::BufRead as _;
        use std::os::unix::process::CommandExt as _;
        let mut leader = Command::new("sh")
            .args(["-c", "sleep 60 & echo; wait"])
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = io::BufReader::new(leader.stdout.take().unwrap());
        out.read_line(&mut String::new()).unwrap();
        kill_group(leader.id()).unwrap();
        assert_eq!(leader.wait().unwrap().signal(), Some(libc::SIGKILL));
        // The end of what both wrote to.
        assert_eq!(out.read_line(&mut String::new()).unwrap(), 0);
        assert!(kill_group(0).is_err() && kill_group(1).is_err() && kill_group(u32::MAX).is_err());
    }

    #[test]
    fn a_child_finds_the_descriptor_under_its_number() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let mut command = Command::new("readlink");
        let number = pass_descriptor(&mut command, file.as_fd());
        command.arg(format!("/proc/self/fd/{number}"));
        assert_eq!(command.output().unwrap().stdout, b"/dev/null\n");
    }

    #[test]
    fn a_passed_descriptor_is_taken_as_a_copy() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let copy = take_passed_descriptor(file.as_raw_fd()).unwrap();
        assert_ne!(copy.as_raw_fd(), file.as_raw_fd());
        assert!(take_passed_descriptor(1).is_err());
        assert!(take_passed_descriptor(1_000_000).is_err());
    }

    #[test]
    fn no_new_privileges_is_granted_to_anyone() {
        std::thread::spawn(|| set_no_new_privs().unwrap())
            .join()
            .unwrap();
    }
}
