//! What a process may do: capabilities, scheduling, memory that is never paged out.

use crate::check;
use std::io;

/// A privilege of `capabilities(7)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Change interfaces and addresses.
    NetAdmin,
    /// Open raw and packet sockets.
    NetRaw,
    /// Be scheduled before others.
    SysNice,
}

/// Gives up every capability but `kept`, of which those not held are not gained.
///
/// Children that are executed hold no more than these either (together with
/// [`crate::process::set_no_new_privs`]). It holds for this thread and those it starts.
///
/// # Errors
/// What `capset(2)` reports.
pub fn keep_capabilities(kept: &[Capability]) -> io::Result<()> {
    let mask = kept
        .iter()
        .fold(0_u32, |mask, one| mask | 1 << one.number());
    for number in 0..=MAX_CAPABILITY {
        if mask & (1_u32.checked_shl(number).unwrap_or(0)) == 0 {
            // Without CAP_SETPCAP the bounding set stays, which then bounds nothing we hold.
            // SAFETY: PR_CAPBSET_DROP takes integers and touches no memory of ours.
            let _ =
                unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
        }
    }
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let mut data = [Data::default(); 2];
    // SAFETY: both structures live through the call and have the layout of that version.
    let got = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    check(i32::try_from(got).unwrap_or(-1))?;
    for (half, mask) in data.iter_mut().zip([mask, 0]) {
        half.permitted &= mask;
        half.effective = half.permitted;
        half.inheritable = 0;
    }
    // SAFETY: as above; the call only reads.
    let set = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    check(i32::try_from(set).unwrap_or(-1))?;
    Ok(())
}

/// Has this thread scheduled before all ordinary ones (SCHED_FIFO, lowest real-time priority);
/// threads and children that it starts are ordinary.
///
/// # Errors
/// Without CAP_SYS_NICE or a limit (RLIMIT_RTPRIO) that allows it, or where a control group gives
/// real-time no share.
pub fn schedule_before_others() -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: 1 };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the parameter lives through the call, which only reads it.
    check(unsafe { libc::sched_setscheduler(0, policy, &raw const priority) })?;
    Ok(())
}

/// Keeps what this process touches in memory for as long as it lives.
///
/// # Errors
/// Without CAP_IPC_LOCK or a limit (RLIMIT_MEMLOCK) that could be lifted: with one a later
/// allocation would fail, so nothing is locked then.
pub fn lock_memory() -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the limit lives through the call, which only reads it.
    check(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) })?;
    // MCL_ONFAULT: what is never used need not be read in.
    let flags = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
    // SAFETY: mlockall takes an integer only.
    check(unsafe { libc::mlockall(flags) })?;
    Ok(())
}

impl Capability {
    /// The number of linux/capability.h.
    const fn number(self) -> u32 {
        match self {
            Self::NetAdmin => 12,
            Self::NetRaw => 13,
            Self::SysNice => 23,
        }
    }
}

#[repr(C)]
#[derive(Debug)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// _LINUX_CAPABILITY_VERSION_3: two halves of 32.
const VERSION_3: u32 = 0x2008_0522;
/// The numbers that fit; those the kernel does not know are refused without harm.
const MAX_CAPABILITY: u32 = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_gone_in_this_thread() {
        std::thread::spawn(|| {
            keep_capabilities(&[Capability::NetRaw]).unwrap();
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let held = status
                .lines()
                .find_map(|l| l.strip_prefix("CapEff:"))
                .unwrap();
            let held = u64::from_str_radix(held.trim(), 16).unwrap();
            assert_eq!(held & !(1 << 13), 0, "{held:x}");
        })
        .join()
        .unwrap();
    }
}
