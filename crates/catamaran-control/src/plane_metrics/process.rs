//! What the kernel tells of this process, under the names that Prometheus' own libraries use.
//!
//! Source: proc(5). What cannot be read, or not understood, is left out.

use crate::metrics::{Exposition, Metric};
use std::fs;

/// Adds what `/proc/self` says.
pub(super) fn collect(out: &mut Exposition) {
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // One of them is the look itself.
        let open = entries.count().saturating_sub(1);
        out.gauge(Metric::ProcessOpenFds, &[], super::gauge(open));
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(max) = max_descriptors(&limits) {
        out.gauge(Metric::ProcessMaxFds, &[], max);
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(bytes) = resident_bytes(&status) {
        out.gauge(Metric::ProcessResidentMemoryBytes, &[], bytes);
    }
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let Some(times) = Times::of(&stat) else {
        return;
    };
    out.float_counter(Metric::ProcessCpuSecondsTotal, &[], times.cpu);
    let booted = fs::read_to_string("/proc/stat").ok();
    let booted = booted.and_then(|stat| boot_time(&stat));
    if let Some(booted) = booted.or_else(boot_time_by_clocks) {
        out.gauge(Metric::ProcessStartTimeSeconds, &[], booted + times.started);
    }
}

/// Times of the process in seconds.
#[derive(Debug, PartialEq)]
struct Times {
    /// User and system time together.
    cpu: f64,
    /// After the start of the machine.
    started: f64,
}

impl Times {
    /// Reads them out of `/proc/self/stat`.
    fn of(stat: &str) -> Option<Self> {
        // The name, in parentheses, may hold anything, parentheses too.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // Fields count from 1, and the name is the second.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu: (field(14)? + field(15)?) / TICKS_PER_SECOND,
            started: field(22)? / TICKS_PER_SECOND,
        })
    }
}

fn max_descriptors(limits: &str) -> Option<f64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn resident_bytes(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024.0)
}

/// When the machine was started, in Unix time.
fn boot_time(stat: &str) -> Option<f64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

/// The same where `/proc/stat` is not to be read: the sandbox allows `/proc/self` alone. Time that
/// the machine slept is missing.
fn boot_time_by_clocks() -> Option<f64> {
    let now = std::time::SystemTime::now();
    let since_1970 = now.duration_since(std::time::UNIX_EPOCH).ok()?;
    let since_boot = std::time::Duration::from_nanos(catamaran_sys::clock::now_nanos());
    Some(since_1970.saturating_sub(since_boot).as_secs_f64().round())
}

/// Linux tells user space times in hundredths of a second, whatever it counts in (time(7)).
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Format;

    #[test]
    fn times_are_found_behind_a_name_that_holds_anything() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 12345 1 2";
        let expected = Times {
            cpu: 3.0,
            started: 123.45,
        };
        assert_eq!(Times::of(stat), Some(expected));
        assert_eq!(Times::of("7 (a"), None);
        assert_eq!(Times::of("7 (a) S 1"), None);
    }

    #[test]
    fn limits_and_memory_are_read_as_the_kernel_writes_them() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\n\
                      Max open files            1024                 524288               files\n";
        assert_eq!(max_descriptors(limits), Some(1024.0));
        assert_eq!(max_descriptors("Max open files  unlimited  x"), None);
        let status = "Name:\ta\nVmRSS:\t   12 kB\n";
        assert_eq!(resident_bytes(status), Some(12.0 * 1024.0));
        assert_eq!(
            boot_time("cpu 1\nbtime 1700000000\n"),
            Some(1_700_000_000.0)
        );
    }

    #[test]
    fn this_process_tells_of_itself() {
        let mut out = Exposition::new();
        collect(&mut out);
        let page = out.finish(Format::Prometheus);
        for name in [
            "process_open_fds",
            "process_max_fds",
            "process_resident_memory_bytes",
            "process_cpu_seconds_total",
            "process_start_time_seconds",
        ] {
            assert!(page.contains(&format!("\n{name} ")), "{name} {page}");
        }
    }
}
