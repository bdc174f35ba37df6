//! The tags that the load test adds by itself, as far as they are wanted.

use std::collections::BTreeSet;

/// A tag that the load test adds by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::script) enum SystemTag {
    Check,
    Error,
    ErrorCode,
    ExpectedResponse,
    Group,
    Ip,
    Method,
    Name,
    Proto,
    Scenario,
    Service,
    Status,
    Subproto,
    TlsVersion,
    Url,
}

/// Those that are wanted.
#[derive(Clone, Debug)]
pub(in crate::script) struct SystemTags {
    /// A bit for each [`SystemTag`]: they are asked for with every sample.
    bits: u16,
    /// By name, others of k6 among them.
    pub(in crate::script) names: BTreeSet<String>,
}

impl SystemTags {
    /// Those of these names, or without names those that k6 has on.
    pub(in crate::script) fn new(names: Option<BTreeSet<String>>) -> Self {
        let names = names.unwrap_or_else(|| USUAL.iter().map(ToString::to_string).collect());
        let bit = |(name, tag): &(&str, SystemTag)| {
            let is_wanted = names.contains(*name);
            u16::from(is_wanted) << (*tag as u16)
        };
        Self {
            bits: KNOWN.iter().map(bit).fold(0, |bits, bit| bits | bit),
            names,
        }
    }

    /// Whether a tag is wanted.
    pub(in crate::script) const fn has(&self, tag: SystemTag) -> bool {
        self.bits & (1 << (tag as u16)) != 0
    }
}

const KNOWN: &[(&str, SystemTag)] = &[
    ("check", SystemTag::Check),
    ("error", SystemTag::Error),
    ("error_code", SystemTag::ErrorCode),
    ("expected_response", SystemTag::ExpectedResponse),
    ("group", SystemTag::Group),
    ("ip", SystemTag::Ip),
    ("method", SystemTag::Method),
    ("name", SystemTag::Name),
    ("proto", SystemTag::Proto),
    ("scenario", SystemTag::Scenario),
    ("service", SystemTag::Service),
    ("status", SystemTag::Status),
    ("subproto", SystemTag::Subproto),
    ("tls_version", SystemTag::TlsVersion),
    ("url", SystemTag::Url),
];

/// The tags that samples have unless `systemTags` says otherwise, as in k6.
const USUAL: &[&str] = &[
    "proto",
    "subproto",
    "status",
    "method",
    "url",
    "name",
    "group",
    "check",
    "error",
    "error_code",
    "tls_version",
    "scenario",
    "service",
    "expected_response",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_had_and_nothing_else() {
        let usual = SystemTags::new(None);
        assert!(usual.has(SystemTag::Url) && usual.has(SystemTag::Check));
        assert!(!usual.has(SystemTag::Ip));
        let one = SystemTags::new(Some(BTreeSet::from(["ip".to_owned()])));
        assert!(one.has(SystemTag::Ip) && !one.has(SystemTag::Url));
    }
}
