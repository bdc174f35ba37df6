//! Routes that come and go with virtual addresses.

use crate::addresses::LIFETIME;
use catamaran_core::model::{VirtualAddress, VirtualRoute};
use catamaran_sys::netlink::{Existing, Netlink, Route};
use std::io;
use std::net::IpAddr;

/// The routes of a virtual router over `interface`, as the kernel takes them. Their source is the
/// first of `addresses`: with it they go when everything of ours is killed.
pub(crate) fn of_router(
    interface: u32,
    addresses: &[VirtualAddress],
    routes: &[VirtualRoute],
) -> Vec<Route> {
    let is_global = |one: &&VirtualAddress| !crate::neighbours::is_link_local(one.address);
    let Some(source) = addresses.iter().find(is_global) else {
        return Vec::new();
    };
    let of_family = |route: &&VirtualRoute| route.to.is_ipv4() == source.address.is_ipv4();
    let routes = routes.iter().filter(of_family).map(|route| Route {
        to: route.to.first(),
        prefix: route.to.prefix(),
        via: route.via,
        interface,
        source: source.address,
        table: route.table,
        metric: route.metric,
    });
    routes.collect()
}

/// Adds `routes`. Returns how many could not be.
pub(crate) fn add(netlink: &mut Netlink, routes: &[Route]) -> u64 {
    count_failures(routes, "added", |route| {
        netlink.add_route(route, LIFETIME, Existing::Refuse)
    })
}

/// Renews `routes`, which were added, and adds those again that were lost.
pub(crate) fn renew(netlink: &mut Netlink, routes: &[Route]) -> u64 {
    count_failures(routes, "renewed", |route| match route.to {
        IpAddr::V6(_) => netlink.add_route(route, LIFETIME, Existing::Replace),
        IpAddr::V4(_) => match netlink.add_route(route, LIFETIME, Existing::Refuse) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            outcome => outcome,
        },
    })
}

/// Removes `routes`. Returns how many could not be.
pub(crate) fn remove(netlink: &mut Netlink, routes: &[Route]) -> u64 {
    count_failures(routes, "removed", |route| netlink.remove_route(route))
}

fn count_failures(
    routes: &[Route],
    what: &str,
    mut change: impl FnMut(&Route) -> io::Result<()>,
) -> u64 {
    let mut failures = 0;
    for route in routes {
        if let Err(error) = change(route) {
            let (to, prefix) = (route.to, route.prefix);
            tracing::error!(to = %format_args!("{to}/{prefix}"), %error, "route could not be {what}");
            failures += 1;
        }
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_has_the_routes_of_its_family_from_its_first_address_that_is_no_link_local_one() {
        let address = |text: &str| VirtualAddress {
            address: text.parse().unwrap(),
            prefix: 64,
        };
        let route = |to: &str| VirtualRoute {
            to: to.parse().unwrap(),
            via: None,
            table: 254,
            metric: 7,
        };
        let addresses = ["fe80::10", "2001:db8::10", "2001:db8::11"].map(address);
        let routes = of_router(3, &addresses, &["10.0.0.0/8", "2001:db8:1::/48"].map(route));
        assert_eq!(routes.len(), 1);
        assert_eq!(routes[0].to, "2001:db8:1::".parse::<IpAddr>().unwrap());
        assert_eq!((routes[0].prefix, routes[0].metric), (48, 7));
        assert_eq!(routes[0].source, addresses[1].address);
        let none = of_router(3, &addresses[..1], &[route("2001:db8:1::/48")]);
        assert_eq!(none, []);
    }
}
