//! Waking at a moment, to some ten microseconds.
//!
//! tokio's own timers count milliseconds, which at 10,000 iterations a second would begin them in
//! bunches of ten. A timerfd is a descriptor like any other and fires when it is told to.

use std::io;
use std::os::fd::AsFd as _;

use catamaran_sys::watched::Watched;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// A timer of the monotonic clock.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: Watched,
}

impl Alarm {
    /// Makes one, within a runtime.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self {
            timer: Watched::new(timer),
        })
    }

    /// Waits until `nanos` of the monotonic clock. One waits at a time.
    pub(super) async fn until(&self, nanos: u64) -> io::Result<()> {
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let spec = Itimerspec {
            it_interval: zero,
            it_value: Timespec {
                tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
                // 0 would disarm it.
                tv_nsec: i64::try_from(nanos % 1_000_000_000).unwrap_or(0).max(1),
            },
        };
        timerfd_settime(self.timer.as_fd(), TimerfdTimerFlags::ABSTIME, &spec)?;
        let view = self.timer.enter()?;
        loop {
            let mut guard = view.readable().await?;
            // Setting it anew clears its count; what is left of an earlier time reads as "not yet".
            let mut count = [0; 8];
            match guard.try_io(|_| Ok(rustix::io::read(self.timer.as_fd(), &mut count)?)) {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }
}
