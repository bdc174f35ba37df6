//! Routes.

use super::Netlink;
use super::message::{put, put_address};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// A route that comes and goes with virtual addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Network that it leads to.
    pub to: IpAddr,
    /// Length of that network's prefix in bits.
    pub prefix: u8,
    /// Next hop; without one the network is on the link.
    pub via: Option<IpAddr>,
    /// Index of the interface.
    pub interface: u32,
    /// Address that packets come from if their sender named none.
    pub source: IpAddr,
    /// Routing table; 254 is the main one.
    pub table: u32,
    /// Lower ones come first; 0 is the kernel's default.
    pub metric: u32,
}

/// What is to become of a route that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is an error.
    Refuse,
    /// It is replaced, with a new lifetime.
    Replace,
}

impl Netlink {
    /// Adds a route. One of IPv6 stays for `lifetime` (whole seconds); one of IPv4 in the main table
    /// for as long as its source is an address of this host.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, or what the kernel has against it.
    pub fn add_route(
        &mut self,
        route: &Route,
        lifetime: Duration,
        existing: Existing,
    ) -> io::Result<()> {
        let scope = match (route.to, route.via) {
            (IpAddr::V4(_), None) => libc::RT_SCOPE_LINK,
            _ => libc::RT_SCOPE_UNIVERSE,
        };
        let mut body = header(route, scope, libc::RTN_UNICAST);
        put_address(&mut body, libc::RTA_PREFSRC, route.source);
        if route.to.is_ipv6() {
            let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
            put(&mut body, RTA_EXPIRES, &seconds.to_ne_bytes());
        }
        let flags = match existing {
            Existing::Refuse => libc::NLM_F_EXCL,
            Existing::Replace => libc::NLM_F_REPLACE,
        };
        self.request(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | flags, &body)
    }

    /// Removes a route that [`Netlink::add_route`] added; no error if it is not there.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN.
    pub fn remove_route(&mut self, route: &Route) -> io::Result<()> {
        let body = header(route, libc::RT_SCOPE_NOWHERE, 0);
        match self.request(libc::RTM_DELROUTE, 0, &body) {
            Err(error) if GONE.contains(&error.raw_os_error()) => Ok(()),
            outcome => outcome,
        }
    }
}

/// rtmsg and the attributes by which a route is known.
fn header(route: &Route, scope: u8, kind: u8) -> Vec<u8> {
    let family = match route.to {
        IpAddr::V4(_) => libc::AF_INET,
        IpAddr::V6(_) => libc::AF_INET6,
    };
    let family = u8::try_from(family).unwrap_or_default();
    // Family, lengths of destination and source, TOS, table, protocol, scope, type, flags.
    let table = u8::try_from(route.table).unwrap_or(libc::RT_TABLE_UNSPEC);
    let mut body = vec![
        family,
        route.prefix,
        0,
        0,
        table,
        PROTOCOL,
        scope,
        kind,
        0,
        0,
        0,
        0,
    ];
    put_address(&mut body, libc::RTA_DST, route.to);
    put(&mut body, libc::RTA_OIF, &route.interface.to_ne_bytes());
    put(&mut body, libc::RTA_TABLE, &route.table.to_ne_bytes());
    if let Some(via) = route.via {
        put_address(&mut body, libc::RTA_GATEWAY, via);
    }
    if route.metric != 0 {
        put(&mut body, libc::RTA_PRIORITY, &route.metric.to_ne_bytes());
    }
    body
}

/// By this number `ip route show proto 112` finds them: that of VRRP itself.
const PROTOCOL: u8 = 112;
/// linux/rtnetlink.h; libc has it not.
const RTA_EXPIRES: u16 = 23;
/// What the kernel says of a route or an interface that is not there.
const GONE: [Option<i32>; 2] = [Some(libc::ESRCH), Some(libc::ENODEV)];
