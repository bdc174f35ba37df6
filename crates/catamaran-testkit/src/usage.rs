//! What a process has used, read from /proc.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::ops::{AddAssign, Sub};
use std::time::Duration;

/// CPU time and memory of one or several processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time spent in user mode, to the tick (10 ms on most systems).
    pub user: Duration,
    /// Time spent in the kernel, to the tick.
    pub system: Duration,
    /// Time on a CPU by the scheduler's own count, to the nanosecond; user and system together.
    pub on_cpu: Duration,
    /// Resident memory.
    pub resident_bytes: u64,
}

impl Usage {
    /// Reads `/proc/PID/stat` and the schedstat of each thread.
    ///
    /// Threads that have ended count in `user` and `system` but no longer in `on_cpu`.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name may hold spaces and parentheses; the fields proper follow its last one.
        let (_, rest) = stat.rsplit_once(')').ok_or_else(|| invalid("stat"))?;
        let fields: Vec<_> = rest.split_ascii_whitespace().collect();
        // proc_pid_stat(5) counts from 1; `rest` begins at field 3.
        let field = |number: usize| -> io::Result<u64> {
            let text = fields.get(number - 3).ok_or_else(|| invalid("stat"))?;
            text.parse().map_err(|_| invalid("stat"))
        };
        let page = rustix::param::page_size() as u64;
        Ok(Self {
            user: ticks(field(14)?),
            system: ticks(field(15)?),
            on_cpu: on_cpu(pid)?,
            resident_bytes: field(24)? * page,
        })
    }

    /// User and system time together, to the tick.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        self.user + self.system
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.user += other.user;
        self.system += other.system;
        self.on_cpu += other.on_cpu;
        self.resident_bytes += other.resident_bytes;
    }
}

impl Sub for Usage {
    type Output = Self;

    /// What was used between two readings; memory as it grew, zero if it shrank.
    fn sub(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
            on_cpu: self.on_cpu.saturating_sub(earlier.on_cpu),
            resident_bytes: self.resident_bytes.saturating_sub(earlier.resident_bytes),
        }
    }
}

/// Returns all processes that a process has started, and theirs.
#[must_use]
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    for entry in entries.flatten() {
        let Some(child) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if let Some(parent) = parent_of(child) {
            children.entry(parent).or_default().push(child);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![pid];
    while let Some(parent) = next.pop() {
        let own = children.remove(&parent).unwrap_or_default();
        found.extend_from_slice(&own);
        next.extend(own);
    }
    found
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn on_cpu(pid: u32) -> io::Result<Duration> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the reading.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else {
            continue;
        };
        let nanos = text.split_ascii_whitespace().next().unwrap_or("0");
        total += nanos.parse::<u64>().map_err(|_| invalid("schedstat"))?;
    }
    Ok(Duration::from_nanos(total))
}

fn ticks(count: u64) -> Duration {
    Duration::from_nanos(count * 1_000_000_000 / rustix::param::clock_ticks_per_second())
}

fn invalid(file: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("unexpected {file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_usage_grows_with_work() {
        let pid = std::process::id();
        let before = Usage::of(pid).unwrap();
        let mut sum = 0_u64;
        while (Usage::of(pid).unwrap() - before).on_cpu < Duration::from_millis(20) {
            sum = (0..10_000).fold(sum, u64::wrapping_add);
        }
        let after = Usage::of(pid).unwrap();
        assert!(sum > 0);
        assert!(after.resident_bytes > 0);
        assert!(after.cpu() >= before.cpu());
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(Usage::of(u32::MAX).is_err());
    }
}
