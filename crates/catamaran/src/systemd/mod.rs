//! systemd, where it started us: what it is told, and the sockets that it keeps.
//!
//! Both are open protocols over what every process has, an environment and descriptors
//! (`sd_notify(3)`, `sd_listen_fds(3)`); without the variables nothing here does anything.

mod inherited;
mod notifier;

pub(crate) use inherited::Inherited;
pub(crate) use notifier::Notifier;

/// What systemd sets for the process that it starts, and not for those that this one starts.
pub(crate) const VARIABLES: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];
