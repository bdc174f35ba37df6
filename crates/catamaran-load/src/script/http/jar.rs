//! Cookies (RFC 6265), as far as clients of load tests meet them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::client::Url;

/// The cookies of a virtual user.
#[derive(Debug, Default)]
pub(in crate::script) struct Jar {
    /// By domain, path and name.
    cookies: BTreeMap<(String, String, String), Cookie>,
    /// Cookies that were ever made.
    made: u64,
}

#[derive(Debug)]
struct Cookie {
    value: String,
    /// Which of all it was, when it was first set.
    nth: u64,
    /// Whether only the host that set it gets it.
    is_host_only: bool,
    is_secure: bool,
    expires: Option<SystemTime>,
}

impl Jar {
    /// Whether there are no cookies.
    pub(super) fn is_empty(&self) -> bool {
        self.cookies.is_empty()
    }

    /// Forgets all.
    pub(in crate::script) fn clear(&mut self) {
        self.cookies.clear();
    }

    /// Forgets the cookies that a request to this URL would carry, or the one of this name.
    pub(in crate::script) fn remove(&mut self, url: &Url, name: Option<&str>) {
        self.cookies.retain(|(domain, path, own), _| {
            let is_place = is_within(&url.host, domain) && is_below(path_of(url), path);
            !(is_place && name.is_none_or(|name| name == own))
        });
    }

    /// Takes the value of a `Set-Cookie` field of an answer from `url` (RFC 6265 §5.2 and §5.3).
    pub(in crate::script) fn take(&mut self, url: &Url, line: &str) {
        let mut parts = line.split(';');
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return;
        };
        let mut domain = url.host.to_ascii_lowercase();
        let mut path = default_path(&url.target).to_owned();
        let mut cookie = Cookie {
            value: value.trim().trim_matches('"').to_owned(),
            nth: self.made,
            is_host_only: true,
            is_secure: false,
            expires: None,
        };
        let mut max_age = None;
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "domain" if !value.is_empty() => {
                    let wanted = value.trim_start_matches('.').to_ascii_lowercase();
                    if !is_within(&domain, &wanted) {
                        return;
                    }
                    domain = wanted;
                    cookie.is_host_only = false;
                }
                "path" if value.starts_with('/') => value.clone_into(&mut path),
                "secure" => cookie.is_secure = true,
                "max-age" => max_age = value.parse::<i64>().ok(),
                "expires" => cookie.expires = read_date(value),
                _ => {}
            }
        }
        if let Some(seconds) = max_age {
            let age = Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(MAX_AGE));
            cookie.expires = Some(SystemTime::now() + age);
        }
        let key = (domain, path, name.trim().to_owned());
        let is_over = cookie.expires.is_some_and(|at| at <= SystemTime::now());
        if is_over {
            self.cookies.remove(&key);
        } else if self.cookies.len() < MAX_COOKIES || self.cookies.contains_key(&key) {
            if let Some(known) = self.cookies.get(&key) {
                cookie.nth = known.nth;
            }
            self.made += 1;
            self.cookies.insert(key, cookie);
        }
    }

    /// Names and values that a request to `url` carries: longer paths first, then older cookies (RFC 6265
    /// §5.4).
    pub(in crate::script) fn cookies_for(&self, url: &Url) -> Vec<(String, String)> {
        if self.cookies.is_empty() {
            return Vec::new();
        }
        let path = path_of(url);
        let host = url.host.to_ascii_lowercase();
        let now = SystemTime::now();
        // What goes to this machine itself nobody else hears.
        let is_safe = url.is_tls || is_this_machine(&host);
        let fits = |((domain, own_path, _), cookie): &(&(String, String, String), &Cookie)| {
            let is_host = if cookie.is_host_only {
                *domain == host
            } else {
                is_within(&host, domain)
            };
            let is_path = is_below(path, own_path);
            let is_alive = cookie.expires.is_none_or(|at| at > now);
            is_host && is_path && is_alive && (is_safe || !cookie.is_secure)
        };
        let mut found: Vec<_> = self.cookies.iter().filter(fits).collect();
        found.sort_by_key(|((_, path, _), cookie)| (std::cmp::Reverse(path.len()), cookie.nth));
        let pairs = found.into_iter();
        pairs
            .map(|((_, _, name), cookie)| (name.clone(), cookie.value.clone()))
            .collect()
    }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    address.map_or_else(
        |_| is_within(host, "localhost"),
        |address| address.is_loopback(),
    )
}

fn path_of(url: &Url) -> &str {
    url.target.split('?').next().unwrap_or("/")
}

/// Whether a path is `place` or below it (RFC 6265 §5.1.4).
fn is_below(path: &str, place: &str) -> bool {
    path == place
        || path
            .strip_prefix(place)
            .is_some_and(|rest| place.ends_with('/') || rest.starts_with('/'))
}

/// Whether a host is a domain or within it (RFC 6265 §5.1.3).
fn is_within(host: &str, domain: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == domain
        || host
            .strip_suffix(domain)
            .is_some_and(|rest| rest.ends_with('.') && host.parse::<std::net::IpAddr>().is_err())
}

/// RFC 6265 §5.1.4
fn default_path(target: &str) -> &str {
    let path = target.split('?').next().unwrap_or("/");
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(at) => &path[..at],
    }
}

/// A date as `Wed, 21 Oct 2026 07:28:00 GMT`, with blanks or dashes.
fn read_date(text: &str) -> Option<SystemTime> {
    let text = text.replace('-', " ");
    let mut words = text.split_whitespace().skip(1);
    let day: i64 = words.next()?.parse().ok()?;
    let month = words.next()?.to_ascii_lowercase();
    let month = MONTHS
        .iter()
        .position(|name| month.starts_with(name))
        .and_then(|at| i64::try_from(at).ok())?
        + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let year = match year {
        0..=69 => year + 2000,
        70..=99 => year + 1900,
        _ => year,
    };
    let mut time = words
        .next()?
        .split(':')
        .map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    // RFC 6265 §5.1.1; what is far beyond would overflow below.
    let is_date = (1..=31).contains(&day) && (1601..=9999).contains(&year);
    let is_time = [(hour, 24), (minute, 60), (second, 60)];
    let is_time = is_time.iter().all(|(at, end)| (0..*end).contains(at));
    if !is_date || !is_time {
        return None;
    }
    // Days since 1970 (the count of days from a civil date, with years that begin in March).
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Some(SystemTime::UNIX_EPOCH + since)
}

const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
/// Cookies of one jar, as browsers bound them.
const MAX_COOKIES: usize = 3000;
/// Seconds that a cookie lasts at most: 400 days.
const MAX_AGE: u64 = 34_560_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(jar: &Jar, url: &str) -> String {
        let cookies = jar.cookies_for(&Url::parse(url).unwrap()).into_iter();
        let texts: Vec<_> = cookies
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        texts.join("; ")
    }

    #[test]
    fn cookies_go_to_the_hosts_and_paths_that_they_are_for() {
        let mut jar = Jar::default();
        let url = Url::parse("http://www.a.test/dir/page").unwrap();
        for line in [
            "host=1",
            "domain=2; Domain=.a.test; Path=/",
            "root=3; path=/",
            "other=4; Domain=b.test",
            "gone=5; Max-Age=0",
            "past=6; Expires=Wed, 21 Oct 2015 07:28:00 GMT; path=/",
            "future=7; Expires=Wed, 21-Oct-2099 07:28:00 GMT; path=/x",
        ] {
            jar.take(&url, line);
        }
        assert_eq!(
            sent(&jar, "http://www.a.test/dir/x"),
            "host=1; domain=2; root=3"
        );
        assert_eq!(sent(&jar, "http://www.a.test/dirx"), "domain=2; root=3");
        assert_eq!(sent(&jar, "http://a.test/dir/"), "domain=2");
        assert_eq!(
            sent(&jar, "http://www.a.test/x"),
            "future=7; domain=2; root=3"
        );
        assert_eq!(sent(&jar, "http://ba.test/"), "");
        jar.take(&url, "root=; Max-Age=-1; path=/");
        assert_eq!(sent(&jar, "http://www.a.test/"), "domain=2");
    }

    #[test]
    fn secure_cookies_go_over_tls_and_to_this_machine() {
        for (url, is_sent) in [
            ("http://a.test/", false),
            ("https://a.test/", true),
            ("http://localhost/", true),
            ("http://app.localhost/", true),
            ("http://127.0.0.2/", true),
            ("http://[::1]/", true),
            ("http://192.0.2.1/", false),
        ] {
            let mut jar = Jar::default();
            jar.take(&Url::parse(url).unwrap(), "a=1; Secure");
            assert_eq!(!sent(&jar, url).is_empty(), is_sent, "{url}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "Wed, 21 Oct 9223372036854775807 07:28:00 GMT",
            "Wed, 9223372036854775807 Oct 2026 07:28:00 GMT",
            "Wed, 21 Oct 2026 9223372036854775807:28:00 GMT",
            "Wed, 21 Oct 2026 07:-1:00 GMT",
            "Wed, 0 Oct 2026 07:28:00 GMT",
            "Wed, 21 Oct 1600 07:28:00 GMT",
            "tomorrow",
        ] {
            assert_eq!(read_date(text), None, "{text}");
        }
        let last = read_date("Fri, 31 Dec 9999 23:59:59 GMT").unwrap();
        assert!(last > SystemTime::now());
    }

    #[test]
    fn dates_are_read_to_the_second() {
        let at = |text: &str| {
            let since = read_date(text)?.duration_since(SystemTime::UNIX_EPOCH);
            Some(since.ok()?.as_secs())
        };
        assert_eq!(at("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(at("Tue, 29 Feb 2000 12:00:00 GMT"), Some(951_825_600));
        assert_eq!(at("Sunday, 06-Nov-94 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(at("soon"), None);
    }
}
