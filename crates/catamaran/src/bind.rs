//! Opening listening sockets, with errors that name the remedy.

use crate::engine::ListenerSockets;
use crate::limits;
use crate::systemd::Inherited;
use catamaran_core::model::{Config, ListenerKey, Protocol, VirtualIp};
use catamaran_proxy::WantedListener;
use catamaran_sys::socket;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// An address that could not be bound.
#[derive(Debug)]
pub(crate) struct BindError {
    /// The address as it was written.
    address: SocketAddr,
    cause: io::Error,
}

/// All addresses that could not be bound.
#[derive(Debug)]
pub(crate) struct BindErrors(Vec<BindError>);

/// Opens the sockets of every listener, one for each worker, having raised the limit on them; of
/// those that are `inherited` it takes as many as there are.
pub(crate) fn open_all(
    config: &Config,
    mut inherited: Inherited,
) -> anyhow::Result<Vec<ListenerSockets>> {
    let workers = workers(config);
    limits::raise(config, workers)?;
    let mut opened = Vec::new();
    let mut errors = Vec::new();
    for frontend in &config.frontends {
        for (index, listener) in frontend.listeners.iter().enumerate() {
            let address = listener.address;
            let taken = inherited.take_at(address, frontend.protocol);
            let sockets = match taken {
                Ok(taken) if taken.is_empty() => open(address, frontend.protocol, workers),
                taken => taken.map_err(|cause| BindError { address, cause }),
            };
            match sockets {
                Ok(sockets) => {
                    log_opened(&config.virtual_ips, frontend.name.as_str(), &sockets);
                    opened.push(ListenerSockets {
                        key: ListenerKey::of(frontend, index),
                        sockets,
                    });
                }
                Err(error) => errors.push(error),
            }
        }
    }
    if !errors.is_empty() {
        return Err(BindErrors(errors).into());
    }
    inherited.close_rest();
    Ok(opened)
}

/// Listeners that were removed lately, whose ports this process may still hold.
#[derive(Debug, Default)]
pub(crate) struct Recent(VecDeque<Removed>);

#[derive(Debug)]
struct Removed {
    key: ListenerKey,
    /// From then on the port is somebody else's, if it is in use; `None` of datagrams, whose flows are
    /// served from the port for as long as they last.
    until: Option<Instant>,
}

impl Recent {
    /// Takes note of a listener that was removed.
    pub(crate) fn note(&mut self, key: &ListenerKey, now: Instant) {
        let until = (!key.is_udp()).then_some(now + CLOSED_WITHIN);
        let key = key.clone();
        self.0.push_back(Removed { key, until });
        if self.0.len() > MAX_RECENT {
            self.0.pop_front();
        }
    }

    /// Those whose ports may be held still.
    pub(crate) fn iter(&self, now: Instant) -> impl Iterator<Item = &ListenerKey> {
        let held = self.0.iter();
        let held = held.filter(move |one| one.until.is_none_or(|until| now < until));
        held.map(|one| &one.key)
    }
}

/// Opens the sockets of listeners that a reload adds, `n` for each, while `held` are open.
pub(crate) fn open_wanted(
    wanted: &[WantedListener],
    n: usize,
    held: &[&ListenerKey],
) -> Result<Vec<ListenerSockets>, BindErrors> {
    let mut opened = Vec::new();
    let mut errors = Vec::new();
    for listener in wanted {
        let (address, protocol) = (listener.address, listener.protocol);
        let mut result = open(address, protocol, n);
        // It may be a socket of ours that holds the port, such as 127.0.0.1:80 where 0.0.0.0:80
        // takes its place: nothing is refused meanwhile if both are open for a moment.
        let is_ours = || held.iter().any(|key| key.shares_port(&listener.key));
        if result.as_ref().is_err_and(BindError::is_in_use) && is_ours() {
            result = open_beside(address, protocol, n);
        }
        match result {
            Ok(sockets) => {
                log_opened(&[], listener.frontend.as_str(), &sockets);
                opened.push(ListenerSockets {
                    key: listener.key.clone(),
                    sockets,
                });
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(opened)
    } else {
        Err(BindErrors(errors))
    }
}

fn open_beside(
    address: SocketAddr,
    protocol: Protocol,
    n: usize,
) -> Result<Vec<OwnedFd>, BindError> {
    match protocol {
        Protocol::Http | Protocol::Tcp => socket::listen_group_beside(address, n, BACKLOG),
        Protocol::Udp => socket::udp_group_beside(address, n),
    }
    .map_err(|cause| BindError { address, cause })
}

/// Opens `n` sockets that share `address`.
pub(crate) fn open(
    address: SocketAddr,
    protocol: Protocol,
    n: usize,
) -> Result<Vec<OwnedFd>, BindError> {
    match protocol {
        Protocol::Http | Protocol::Tcp => socket::listen_group(address, n, BACKLOG),
        Protocol::Udp => socket::udp_group(address, n),
    }
    .map_err(|cause| BindError { address, cause })
}

/// How many workers serve `config`: what it says, else one for each processor.
pub(crate) fn workers(config: &Config) -> usize {
    config.process.workers.map_or_else(
        || catamaran_sys::process::available_cpus().map_or(1, |cpus| cpus.len().max(1)),
        std::num::NonZeroUsize::get,
    )
}

fn log_opened(virtual_ips: &[VirtualIp], frontend: &str, sockets: &[OwnedFd]) {
    if let Some(Ok(address)) = sockets.first().map(|fd| socket::local_addr(fd.as_fd())) {
        tracing::info!(frontend, %address, "listening");
        if !is_virtual(virtual_ips, address.ip()) && !is_here(address.ip()) {
            tracing::warn!(
                frontend,
                %address,
                "this machine does not have that address now; nobody reaches the listener until \
                 it does (`ip address` shows those that it has)"
            );
        }
    }
}

/// Whether `ip` comes and goes with the state of this node.
fn is_virtual(virtual_ips: &[VirtualIp], ip: IpAddr) -> bool {
    let mut all = virtual_ips.iter().flat_map(|one| &one.addresses);
    all.any(|one| one.address == ip)
}

/// Whether the machine has `ip` now: listeners may be bound before it has (`IP_FREEBIND`).
fn is_here(ip: IpAddr) -> bool {
    // A socket without that option, which the kernel refuses an address that is not there.
    UdpSocket::bind((ip, 0))
        .err()
        .is_none_or(|error| error.kind() != io::ErrorKind::AddrNotAvailable)
}

impl BindError {
    /// Whether somebody else has the port.
    pub(crate) fn is_in_use(&self) -> bool {
        self.cause.kind() == io::ErrorKind::AddrInUse
    }
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { address, cause } = self;
        let port = address.port();
        write!(f, "{address}: ")?;
        match cause.raw_os_error() {
            Some(libc::EADDRINUSE) => write!(
                f,
                "port in use; `ss -lnp sport = :{port}` shows by whom: stop that process or \
                 listen on another port"
            ),
            Some(libc::EACCES) => write!(
                f,
                "permission denied: ports below 1024 are reserved; allow it with `setcap \
                 cap_net_bind_service=+ep $(command -v catamaran)` or `sysctl \
                 net.ipv4.ip_unprivileged_port_start={port}`, or listen on a port above"
            ),
            Some(libc::EADDRNOTAVAIL) => f.write_str(
                "address not available on this machine; `ip address` shows those that are",
            ),
            Some(libc::EAFNOSUPPORT) => {
                f.write_str("this machine does not support addresses of that family")
            }
            Some(libc::EMFILE) => f.write_str(
                "too many open files; raise the limit (`ulimit -n`, or LimitNOFILE in systemd)",
            ),
            _ => write!(f, "{cause}"),
        }
    }
}

impl std::error::Error for BindError {}

impl std::fmt::Display for BindErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BindErrors {}

/// Removed listeners that are remembered; chosen.
const MAX_RECENT: usize = 256;
/// How long a worker may take to close the socket of a listener that was removed: on a busy machine one may
/// not have run for some hundred milliseconds when the next reload wants the port back; chosen.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);
/// Connections that may wait to be accepted on one socket; the kernel caps it at
/// net.core.somaxconn, 4,096 by default.
const BACKLOG: u32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use catamaran_core::model::Name;

    fn shown(number: i32) -> String {
        BindError {
            address: "0.0.0.0:80".parse().unwrap(),
            cause: io::Error::from_raw_os_error(number),
        }
        .to_string()
    }

    #[test]
    fn a_refused_port_names_its_remedy() {
        assert!(shown(libc::EADDRINUSE).starts_with("0.0.0.0:80: port in use"));
        assert!(shown(libc::EACCES).contains("setcap cap_net_bind_service"));
        assert!(shown(libc::EADDRNOTAVAIL).contains("not available"));
        assert!(shown(libc::EMFILE).contains("ulimit"));
    }

    #[test]
    fn a_port_is_had_back_while_the_socket_of_its_removed_listener_is_still_closing() {
        let addr = "127.0.0.1:0".parse().unwrap();
        let closing = open(addr, Protocol::Tcp, 1).unwrap();
        let address = socket::local_addr(closing[0].as_fd()).unwrap();
        let key = |address: SocketAddr| ListenerKey::from_text(&format!("tcp {address}"));
        let wanted = [WantedListener {
            key: key(address),
            address,
            protocol: Protocol::Tcp,
            frontend: Name::new("web"),
        }];
        let removed_at = Instant::now();
        let mut recent = Recent::default();
        let open_after = |recent: &Recent, later| {
            let held: Vec<_> = recent.iter(removed_at + later).collect();
            open_wanted(&wanted, 1, &held).is_ok()
        };
        assert!(!open_after(&recent, Duration::ZERO));
        recent.note(&key(address), removed_at);
        assert!(open_after(&recent, Duration::ZERO));
        // Somebody else may have taken it meanwhile, with whom it must not be shared.
        assert!(!open_after(&recent, CLOSED_WITHIN));
    }

    #[test]
    fn an_address_of_another_machine_is_noticed() {
        assert!(is_here("127.0.0.1".parse().unwrap()));
        assert!(is_here("0.0.0.0".parse().unwrap()));
        // RFC 5737: of nobody's machine.
        assert!(!is_here("203.0.113.1".parse().unwrap()));
    }

    #[test]
    fn a_port_in_use_is_told_from_other_refusals() {
        let addr = "127.0.0.1:0".parse().unwrap();
        let held = open(addr, Protocol::Tcp, 1).unwrap();
        let addr = socket::local_addr(held[0].as_fd()).unwrap();
        assert!(open(addr, Protocol::Http, 2).unwrap_err().is_in_use());
        assert!(open(addr, Protocol::Udp, 2).is_ok());
    }
}
