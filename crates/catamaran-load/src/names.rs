//! Where the names of URLs lead: the options `hosts`, `dns`, `blockHostnames` and `blacklistIPs`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::client::{Failure, Url};

/// What a script says of names and addresses.
#[derive(Debug, Default)]
pub struct Names {
    /// Addresses of names, in place of what the system says.
    pub hosts: BTreeMap<String, String>,
    /// Names that are not to be asked; `*.a.test` stands for all below `a.test`.
    pub blocked: Vec<String>,
    /// Networks that are not to be asked.
    pub forbidden: Vec<Network>,
    /// How addresses of names are chosen.
    pub dns: Dns,
    /// Choices by turns so far.
    turns: AtomicUsize,
}

/// How the address of a name is chosen, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dns {
    /// How long a choice holds.
    pub ttl: Duration,
    /// Which of several.
    pub select: Select,
    /// Of which family.
    pub policy: Policy,
}

/// Which of several addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Select {
    /// The first.
    First,
    /// Any.
    #[default]
    Random,
    /// The next, over all virtual users.
    RoundRobin,
}

/// Addresses of which family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// IPv4, or IPv6 where there is none.
    #[default]
    PreferV4,
    /// IPv6, or IPv4 where there is none.
    PreferV6,
    /// IPv4.
    OnlyV4,
    /// IPv6.
    OnlyV6,
    /// Both alike.
    Any,
}

/// A network such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Default for Dns {
    /// As k6 has it: any IPv4 address, for five minutes.
    fn default() -> Self {
        Self {
            ttl: Duration::from_mins(5),
            select: Select::default(),
            policy: Policy::default(),
        }
    }
}

impl Names {
    /// Those that a script or its environment says.
    #[must_use]
    pub fn new(
        hosts: BTreeMap<String, String>,
        blocked: Vec<String>,
        forbidden: Vec<Network>,
        dns: Dns,
    ) -> Self {
        Self {
            hosts,
            blocked,
            forbidden,
            dns,
            turns: AtomicUsize::new(0),
        }
    }

    /// The address of a URL that needs no name server: the option `hosts` has it, or it is an address.
    ///
    /// # Errors
    /// [`Failure::Blocked`] of a name that is blocked; [`Failure::Lookup`], if `hosts` has nonsense.
    pub fn known(&self, url: &Url) -> Result<Option<SocketAddr>, Failure> {
        let literal = url.host.parse::<IpAddr>();
        if literal.is_err()
            && self
                .blocked
                .iter()
                .any(|pattern| is_like(pattern, &url.host))
        {
            return Err(Failure::Blocked);
        }
        if let Some(text) = self.mapped(url) {
            let addr = text.parse().or_else(|_| {
                let ip: Result<IpAddr, _> = text.parse();
                ip.map(|ip| SocketAddr::new(ip, url.port))
            });
            let addr = addr.map_err(|_| Failure::Lookup {
                name: url.host.clone(),
                why: format!("`hosts` says `{text}`, which is no address"),
            });
            return addr.map(Some);
        }
        Ok(literal.ok().map(|ip| SocketAddr::new(ip, url.port)))
    }

    /// The address to go to, of those that a name has.
    #[must_use]
    pub fn choose(&self, found: &[SocketAddr]) -> Option<SocketAddr> {
        let of_v6 = |is_v6: bool| -> Vec<SocketAddr> {
            let own = found.iter().filter(|addr| addr.is_ipv6() == is_v6);
            own.copied().collect()
        };
        let else_all = |own: Vec<SocketAddr>| match own.is_empty() {
            true => found.to_vec(),
            false => own,
        };
        let from = match self.dns.policy {
            Policy::PreferV4 => else_all(of_v6(false)),
            Policy::PreferV6 => else_all(of_v6(true)),
            Policy::OnlyV4 => of_v6(false),
            Policy::OnlyV6 => of_v6(true),
            Policy::Any => found.to_vec(),
        };
        let count = from.len().max(1);
        let at = match self.dns.select {
            Select::First => 0,
            Select::Random => fastrand::usize(..count),
            Select::RoundRobin => self.turns.fetch_add(1, Ordering::Relaxed) % count,
        };
        from.get(at).copied()
    }

    /// Whether an address may be asked.
    ///
    /// # Errors
    /// [`Failure::Forbidden`], if not.
    pub fn admit(&self, addr: SocketAddr) -> Result<SocketAddr, Failure> {
        let is_forbidden = self
            .forbidden
            .iter()
            .any(|network| network.holds(addr.ip()));
        if is_forbidden {
            return Err(Failure::Forbidden);
        }
        Ok(addr)
    }

    /// What the option `hosts` says of a host, with or without its port.
    fn mapped(&self, url: &Url) -> Option<&String> {
        let hosts = &self.hosts;
        if hosts.is_empty() {
            return None;
        }
        let with_port = format!("{}:{}", url.host, url.port);
        let exact = hosts.get(&with_port).or_else(|| hosts.get(&url.host));
        // Of several the longest is meant.
        let wild = || {
            let wild = hosts.keys().filter(|key| key.starts_with('*'));
            let fits = wild.filter(|key| is_like(key, &url.host));
            hosts.get(fits.max_by_key(|key| key.len())?)
        };
        exact.or_else(wild)
    }
}

/// Whether a name is that of the pattern, or ends as a pattern with `*` does.
pub(crate) fn is_like(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(end) => {
            let start = name.len().checked_sub(end.len());
            let own_end = start.and_then(|start| name.get(start..));
            own_end.is_some_and(|own| own.eq_ignore_ascii_case(end))
        }
        None => name.eq_ignore_ascii_case(pattern),
    }
}

impl Network {
    /// Reads one; an address alone is a network of one.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address.parse().ok()?, bits.parse().ok()?),
            None => {
                let address: IpAddr = text.parse().ok()?;
                (address, if address.is_ipv4() { 32 } else { 128 })
            }
        };
        let width = if address.is_ipv4() { 32 } else { 128 };
        (bits <= width).then_some(Self { address, bits })
    }

    fn holds(self, other: IpAddr) -> bool {
        let (own, other, width) = match (self.address, other.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (u128::from(own.to_bits()), u128::from(other.to_bits()), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits(), other.to_bits(), 128),
            _ => return false,
        };
        let rest = u32::from(width - self.bits);
        own.checked_shr(rest) == other.checked_shr(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_network_holds_what_begins_like_it() {
        let holds = |network: &str, address: &str| {
            let network = Network::read(network).unwrap();
            network.holds(address.parse().unwrap())
        };
        assert!(holds("10.0.0.0/8", "10.255.0.1"));
        assert!(!holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("10.0.0.0/8", "::ffff:10.0.0.1"));
        assert!(holds("0.0.0.0/0", "1.2.3.4"));
        assert!(!holds("0.0.0.0/0", "::1"));
        assert!(holds("::/0", "::1"));
        assert!(holds("192.0.2.1", "192.0.2.1"));
        assert!(!holds("2001:db8::/32", "2001:db9::1"));
        for text in ["x", "10.0.0.0/33", "10.0.0.0/", "/8", "::/129"] {
            assert_eq!(Network::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_blocked_name_is_not_asked_and_an_address_is_no_name() {
        let names = Names {
            blocked: vec!["*.a.test".to_owned(), "b.test".to_owned(), "*".to_owned()],
            hosts: BTreeMap::from([("b.test".to_owned(), "127.0.0.1".to_owned())]),
            ..Names::default()
        };
        for text in ["http://x.a.test/", "http://B.test/", "http://other/"] {
            assert_eq!(names.known(&url(text)), Err(Failure::Blocked), "{text}");
        }
        let known = names.known(&url("http://127.0.0.1:81/"));
        assert_eq!(known, Ok(Some("127.0.0.1:81".parse().unwrap())));
    }

    #[test]
    fn of_several_addresses_policy_and_select_choose() {
        let found: Vec<SocketAddr> = ["[::1]:1", "10.0.0.1:1", "10.0.0.2:1"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let choose = |select, policy| {
            let dns = Dns {
                select,
                policy,
                ..Dns::default()
            };
            let names = Names {
                dns,
                ..Names::default()
            };
            [
                names.choose(&found),
                names.choose(&found),
                names.choose(&found),
            ]
        };
        let at = |index: usize| Some(found[index]);
        assert_eq!(choose(Select::First, Policy::PreferV4), [at(1); 3]);
        assert_eq!(choose(Select::First, Policy::PreferV6), [at(0); 3]);
        assert_eq!(choose(Select::First, Policy::Any), [at(0); 3]);
        let turns = choose(Select::RoundRobin, Policy::OnlyV4);
        assert_eq!(turns, [at(1), at(2), at(1)]);
        assert!(!choose(Select::Random, Policy::OnlyV4).contains(&at(0)));
        let none = Names {
            dns: Dns {
                policy: Policy::OnlyV6,
                ..Dns::default()
            },
            ..Names::default()
        };
        assert_eq!(none.choose(&found[1..]), None);
    }
}
