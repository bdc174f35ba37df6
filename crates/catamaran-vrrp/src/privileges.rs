//! What this process keeps of its privileges, and how it is scheduled.

use crate::Error;
use catamaran_core::model::VirtualIp;
use catamaran_sys::privilege::{self, Capability};
use catamaran_sys::process;
use std::io;
use std::time::Duration;

/// Takes real-time scheduling and locked memory where allowed, then gives up all but three
/// capabilities.
pub(crate) fn settle(virtual_ips: &[VirtualIp]) -> Result<(), Error> {
    let is_short = |one: &VirtualIp| !one.allow_jitter && one.interval.as_duration() < STEADY;
    match privilege::schedule_before_others() {
        Ok(()) => {}
        Err(error) if virtual_ips.iter().any(is_short) => return Err(Error::RealTime(error)),
        Err(error) => tracing::info!(
            %error,
            "no real-time scheduling: on a busy machine adverts may be late; CAP_SYS_NICE allows it"
        ),
    }
    if let Err(error) = privilege::lock_memory() {
        tracing::debug!(%error, "memory is not locked");
    }
    process::set_no_new_privs().map_err(Error::Privileges)?;
    let kept = [
        Capability::NetAdmin,
        Capability::NetRaw,
        Capability::SysNice,
    ];
    privilege::keep_capabilities(&kept).map_err(Error::Privileges)
}

/// From here up an ordinary process keeps the beat well enough.
const STEADY: Duration = Duration::from_millis(100);

/// What mends that sockets cannot be opened, for the log.
pub(crate) fn remedy_of(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; it takes CAP_NET_ADMIN and CAP_NET_RAW: run as root, give them to the service \
             (systemd: `AmbientCapabilities=CAP_NET_BIND_SERVICE CAP_NET_ADMIN CAP_NET_RAW \
             CAP_SYS_NICE`), or to the program (`setcap \
             cap_net_bind_service,cap_net_admin,cap_net_raw,cap_sys_nice=+ep $(command -v \
             catamaran)`), and start it anew"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_privileges_names_them_and_how_to_give_them() {
        let remedy = remedy_of(&io::Error::from_raw_os_error(1));
        for word in [
            "CAP_NET_ADMIN",
            "CAP_NET_RAW",
            "AmbientCapabilities",
            "setcap",
        ] {
            assert!(remedy.contains(word), "{remedy}");
        }
        assert_eq!(remedy_of(&io::Error::from_raw_os_error(19)), "");
    }
}
