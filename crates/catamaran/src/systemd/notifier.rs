//! What systemd is told: readiness, reloads, the end, signs of life, sockets to keep.
//!
//! ```text
//! a datagram to $NOTIFY_SOCKET: lines KEY=VALUE, with descriptors for FDSTORE=1
//! ```

use crate::engine::ListenerSockets;
use catamaran_core::model::ListenerKey;
use catamaran_sys::{clock, fd_passing};
use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The way to systemd, if it wants to be told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notifier {
    socket: Option<Arc<UnixDatagram>>,
    /// The longest silence that it bears.
    watchdog: Option<Duration>,
    /// Names of listeners whose sockets it keeps.
    stored: Arc<Mutex<HashSet<ListenerKey>>>,
}

impl Notifier {
    /// What the environment says.
    pub(crate) fn from_environment() -> Self {
        let Ok(address) = std::env::var("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let socket = match connect(&address) {
            Ok(socket) => Some(Arc::new(socket)),
            Err(error) => {
                tracing::warn!(address, %error, "systemd cannot be told anything");
                None
            }
        };
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        // Children inherit the variables, but the dog is ours alone.
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|&micros| is_ours && micros > 0);
        Self {
            socket,
            watchdog: watchdog.map(Duration::from_micros),
            stored: Arc::default(),
        }
    }

    /// How often to give a sign of life; `None` if nobody waits for one.
    pub(crate) fn watchdog_interval(&self) -> Option<Duration> {
        // Half of it, says sd_watchdog_enabled(3).
        self.watchdog.map(|longest| longest / 2)
    }

    /// Clients are served, by the process `data`.
    pub(crate) fn ready(&self, data: u32) {
        self.tell(&format!("READY=1\nSTATUS=Serving (data process {data})"));
    }

    /// The configuration is being read anew.
    pub(crate) fn reloading(&self) {
        let micros = clock::now_nanos() / 1000;
        self.tell(&format!(
            "RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=Reloading"
        ));
    }

    /// No new clients are taken.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=Draining");
    }

    /// Everything turns. To be called at least as often as [`Self::watchdog_interval`] says.
    pub(crate) fn alive(&self) {
        if self.watchdog.is_some() {
            self.tell("WATCHDOG=1");
        }
    }

    /// Says something to whoever looks at the state of the unit.
    pub(crate) fn status(&self, status: &str) {
        self.tell(&format!("STATUS={status}"));
    }

    /// Has systemd keep the sockets of `listeners`, and no others, for the next process that it
    /// starts.
    pub(crate) fn keep(&self, listeners: &[ListenerSockets]) {
        if self.socket.is_none() {
            return;
        }
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted: HashSet<_> = listeners.iter().map(|l| l.key.clone()).collect();
        for gone in stored.difference(&wanted) {
            self.tell(&format!("FDSTOREREMOVE=1\nFDNAME={}", name_of(gone)));
        }
        for listener in listeners.iter().filter(|l| !stored.contains(&l.key)) {
            self.store(listener);
        }
        *stored = wanted;
    }

    fn store(&self, listener: &ListenerSockets) {
        let message = format!("FDSTORE=1\nFDNAME={}", name_of(&listener.key));
        for sockets in listener.sockets.chunks(fd_passing::MAX_FDS) {
            let fds: Vec<_> = sockets.iter().map(|fd| fd.as_fd()).collect();
            if let Some(socket) = &self.socket
                && let Err(error) =
                    fd_passing::send_with_fds(socket.as_fd(), message.as_bytes(), &fds)
            {
                tracing::warn!(
                    %error,
                    "systemd does not keep a socket: a restart will refuse clients for a moment"
                );
            }
        }
    }

    fn tell(&self, message: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(message.as_bytes())
        {
            tracing::warn!(%error, message, "systemd was not told");
        }
    }
}

/// The name that systemd keeps the sockets of a listener under: it allows no colon.
fn name_of(key: &ListenerKey) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-[]".contains(c);
    let plain = |c| if is_plain(c) { c } else { '_' };
    let name: String = key.as_str().chars().map(plain).collect();
    name.chars().take(MAX_NAME).collect()
}

fn connect(address: &str) -> io::Result<UnixDatagram> {
    let address = match address.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A manager that does not read must not stop us.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Longest name of a descriptor that systemd keeps.
const MAX_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use catamaran_sys::socket;

    fn pair() -> (Notifier, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let notifier = Notifier {
            socket: Some(Arc::new(ours)),
            ..Notifier::default()
        };
        (notifier, theirs)
    }

    fn heard(socket: &UnixDatagram) -> (String, usize) {
        let mut buf = [0; 512];
        let received = fd_passing::recv_with_fds(socket.as_fd(), &mut buf).unwrap();
        let text = String::from_utf8(buf[..received.len].to_vec()).unwrap();
        (text, received.fds.len())
    }

    fn listener(key: &str) -> ListenerSockets {
        ListenerSockets {
            key: ListenerKey::from_text(key),
            sockets: socket::listen_group("127.0.0.1:0".parse().unwrap(), 2, 1).unwrap(),
        }
    }

    #[test]
    fn sockets_are_kept_once_and_forgotten_when_their_listener_goes() {
        let (notifier, systemd) = pair();
        let (one, two) = (listener("tcp 127.0.0.1:80"), listener("udp [::1]:53"));
        let mut all = vec![one, two];
        notifier.keep(&all);
        assert_eq!(
            [heard(&systemd), heard(&systemd)],
            [
                ("FDSTORE=1\nFDNAME=tcp_127.0.0.1_80".to_owned(), 2),
                ("FDSTORE=1\nFDNAME=udp_[__1]_53".to_owned(), 2)
            ]
        );
        notifier.keep(&all);
        all.pop();
        notifier.keep(&all);
        let gone = "FDSTOREREMOVE=1\nFDNAME=udp_[__1]_53".to_owned();
        assert_eq!(heard(&systemd), (gone, 0));
    }

    #[test]
    fn a_reload_is_told_with_its_time() {
        let (notifier, systemd) = pair();
        let before = clock::now_nanos() / 1000;
        notifier.reloading();
        let (text, _) = heard(&systemd);
        let (_, rest) = text.split_once("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        let micros: u64 = rest.lines().next().unwrap().parse().unwrap();
        assert!((before..=clock::now_nanos() / 1000).contains(&micros));
    }
}
