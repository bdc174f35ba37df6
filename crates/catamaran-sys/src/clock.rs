//! The system's monotonic clock.

/// Nanoseconds on CLOCK_MONOTONIC.
///
/// `std::time::Instant` reads the same clock but hides its value; the policy code wants the number,
/// which means the same in every process of one node. The call stays in user space (vDSO) where
/// the clock source allows.
#[must_use]
pub fn now_nanos() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a timespec that lives through the call, which only writes to it.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    assert_eq!(result, 0, "CLOCK_MONOTONIC exists on every Linux");
    let seconds = u64::try_from(time.tv_sec).expect("the clock starts at zero and moves forward");
    let nanos = u64::try_from(time.tv_nsec).expect("nanoseconds are never negative");
    seconds * NANOS_PER_SECOND + nanos
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn the_clock_never_goes_back() {
        let mut last = now_nanos();
        for _ in 0..1000 {
            let now = now_nanos();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn the_clock_runs_as_fast_as_the_standard_one() {
        let (started, nanos) = (Instant::now(), now_nanos());
        std::thread::sleep(Duration::from_millis(5));
        let passed = Duration::from_nanos(now_nanos() - nanos);
        assert!(passed >= Duration::from_millis(5));
        assert!(passed <= started.elapsed());
    }
}
