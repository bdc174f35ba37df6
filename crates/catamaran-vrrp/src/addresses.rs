//! Putting virtual addresses on interfaces and taking them off again.

use crate::interfaces::Interfaces;
use catamaran_core::model::{VirtualAddress, VirtualIp};
use catamaran_sys::netlink::Netlink;
use std::io;
use std::time::Duration;

/// How long the kernel keeps an address that nobody renews. It counts whole seconds and looks once
/// in a second or so: gone 2.0 to 3.2 s after the last renewal.
pub const LIFETIME: Duration = Duration::from_secs(3);
/// How often addresses are renewed.
pub(crate) const RENEWAL: Duration = Duration::from_secs(1);

/// Puts `addresses` on the interface, or renews them. Returns how many could not be.
pub(crate) fn add(netlink: &mut Netlink, interface: u32, addresses: &[VirtualAddress]) -> u64 {
    let mut failures = 0;
    for one in addresses {
        let added = netlink.add_address(interface, one.address, one.prefix, LIFETIME);
        if let Err(error) = added {
            tracing::error!(address = %one.address, %error, "address could not be added");
            failures += 1;
        }
    }
    failures
}

/// Takes `addresses` off the interface. Returns how many could not be.
pub(crate) fn remove(netlink: &mut Netlink, interface: u32, addresses: &[VirtualAddress]) -> u64 {
    let mut failures = 0;
    for one in addresses {
        let removed = netlink.remove_address(interface, one.address, one.prefix);
        if let Err(error) = removed {
            tracing::error!(address = %one.address, %error, "address could not be removed");
            failures += 1;
        }
    }
    failures
}

/// Takes off what a vrrp process that died has left: virtual addresses with a lifetime. Those that
/// somebody put there for good stay, with a warning.
///
/// # Errors
/// When interfaces and addresses cannot be read, or without CAP_NET_ADMIN.
pub fn remove_leftovers(virtual_ips: &[VirtualIp]) -> io::Result<()> {
    let mut netlink = Netlink::open()?;
    let interfaces = Interfaces::read(&mut netlink)?;
    for virtual_ip in virtual_ips {
        for one in &virtual_ip.addresses {
            match interfaces.find(&virtual_ip.interface, one.address) {
                Some(known) if known.is_permanent => tracing::warn!(
                    virtual_ip = %virtual_ip.name,
                    address = %one.address,
                    interface = virtual_ip.interface,
                    "address is configured for good and is virtual too; remove it from the system's \
                     network configuration"
                ),
                Some(known) => {
                    netlink.remove_address(known.interface, known.address, known.prefix)?;
                    tracing::info!(
                        virtual_ip = %virtual_ip.name,
                        address = %one.address,
                        "address left by an earlier process is removed"
                    );
                }
                None => {}
            }
        }
    }
    Ok(())
}
