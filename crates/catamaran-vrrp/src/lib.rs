//! The vrrp process: holds virtual addresses for as long as this node is the one to serve them.
//!
//! ```text
//!  data process --- readiness, every 50 ms ---> vrrp process <--- adverts ---> other nodes
//!               <-- status, twice a second ----      |
//!                                                    '-- addresses, ARP, ND --> interfaces
//! ```
//! It decides nothing: [`catamaran_core::vrrp::Machine`] does, and this crate is the shell around
//! it. It has a process of its own, so that no fault of the data process costs the address, and so
//! that the one with privileges parses nothing that clients send.
//!
//! Addresses carry a lifetime of [`LIFETIME`] that is renewed every second: when everything of ours
//! is killed, the kernel takes them away.
#![forbid(unsafe_code)]

mod addresses;
mod guard;
mod hooks;
mod interfaces;
pub mod link;
mod neighbours;
mod privileges;
mod readable;
mod routes;
mod shell;
mod sockets;
mod status_text;
mod track;
mod virtual_mac;
mod wire;

pub use addresses::{LIFETIME, remove_leftovers};
pub use shell::{Order, run};

use std::io;
use std::path::PathBuf;

/// Why the vrrp process cannot do its duty.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Without the privileges there is no address.
    #[error(
        "virtual addresses need CAP_NET_ADMIN and CAP_NET_RAW; run as root, or give them to the \
         service (systemd: `AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW CAP_SYS_NICE`)"
    )]
    Privileges(#[source] io::Error),
    /// Short intervals need real-time scheduling.
    #[error(
        "an `advert-interval` below 100ms needs real-time scheduling; give CAP_SYS_NICE, or write \
         `allow-jitter = true`"
    )]
    RealTime(#[source] io::Error),
    /// The kernel does not answer.
    #[error("interfaces and addresses cannot be read")]
    Netlink(#[source] io::Error),
    /// The line to the data process.
    #[error("the line to the data process cannot be used")]
    Link(#[source] io::Error),
    /// Adverts cannot be sealed.
    #[error("`secret-file` {path} {problem}", path = path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}
