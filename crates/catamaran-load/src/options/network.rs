//! Reads the options that say where requests may go, and how TLS is spoken.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::OptionsError;
use super::read::{duration, kind, names, object, text, texts};
use crate::client::{TlsIdentity, TlsSuites, TlsVersions};
use crate::names::{Dns, Network, Policy, Select};
use crate::sources::Sources;

/// Names, of which those that begin with `*` stand for many.
pub(super) fn patterns(name: &str, value: &Value) -> Result<Vec<String>, OptionsError> {
    let is_pattern = |text: &&String| !text.strip_prefix('*').unwrap_or(text).contains('*');
    let all = names(name, value)?;
    if let Some(odd) = all.iter().find(|text| !is_pattern(text)) {
        let expected = "a name such as a.test, or *.a.test for all below it";
        return Err(kind(name, &Value::from(odd.as_str()), expected));
    }
    Ok(all.into_iter().collect())
}

/// Networks with their texts.
pub(super) fn networks(name: &str, value: &Value) -> Result<Vec<(String, Network)>, OptionsError> {
    let read = |text: String| {
        let network = Network::read(&text);
        let expected = "a network such as 10.0.0.0/8";
        let network = network.ok_or_else(|| kind(name, &Value::from(text.as_str()), expected))?;
        Ok((text, network))
    };
    names(name, value)?.into_iter().map(read).collect()
}

/// Addresses that requests come from, with their text; none, if that is empty.
pub(super) fn sources(
    name: &str,
    value: &Value,
) -> Result<Option<(Sources, String)>, OptionsError> {
    let text = text(name, value)?;
    if text.is_empty() {
        return Ok(None);
    }
    let sources = Sources::read(&text);
    let sources = sources.map_err(|why| OptionsError::Other(format!("option `{name}`: {why}")))?;
    Ok(Some((sources, text)))
}

/// Cipher suites, with their names.
pub(super) fn suites(name: &str, value: &Value) -> Result<(TlsSuites, Vec<String>), OptionsError> {
    let list = value.as_array();
    let list = list.ok_or_else(|| kind(name, value, "a list of names"))?;
    let names = list.iter().map(|one| text(name, one));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    let suites = TlsSuites::read(names.iter().map(String::as_str));
    let suites = suites.map_err(|why| OptionsError::Other(format!("option `{name}`: {why}")))?;
    Ok((suites, names))
}

/// `{ttl, select, policy}`, with the words it was said in.
pub(super) fn dns(
    name: &str,
    value: &Value,
) -> Result<(Dns, BTreeMap<String, String>), OptionsError> {
    let words = texts(name, value)?;
    let mut dns = Dns::default();
    for (key, word) in &words {
        let path = format!("{name}.{key}");
        let given = Value::from(word.as_str());
        match &**key {
            "ttl" if word == "inf" => dns.ttl = Duration::MAX,
            "ttl" => dns.ttl = duration(&path, &given)?,
            "select" => dns.select = select(&path, &given)?,
            "policy" => dns.policy = policy(&path, &given)?,
            _ => {
                let found = Value::from(key.as_str());
                return Err(kind(name, &found, "one of ttl, select and policy"));
            }
        }
    }
    Ok((dns, words))
}

fn select(name: &str, value: &Value) -> Result<Select, OptionsError> {
    match value.as_str() {
        Some("first") => Ok(Select::First),
        Some("random") => Ok(Select::Random),
        Some("roundRobin") => Ok(Select::RoundRobin),
        _ => Err(kind(name, value, "first, random or roundRobin")),
    }
}

fn policy(name: &str, value: &Value) -> Result<Policy, OptionsError> {
    match value.as_str() {
        Some("preferIPv4") => Ok(Policy::PreferV4),
        Some("preferIPv6") => Ok(Policy::PreferV6),
        Some("onlyIPv4") => Ok(Policy::OnlyV4),
        Some("onlyIPv6") => Ok(Policy::OnlyV6),
        Some("any") => Ok(Policy::Any),
        _ => {
            let expected = "preferIPv4, preferIPv6, onlyIPv4, onlyIPv6 or any";
            Err(kind(name, value, expected))
        }
    }
}

/// `[{cert, key, domains}]`
pub(super) fn identities(name: &str, value: &Value) -> Result<Vec<TlsIdentity>, OptionsError> {
    let list = value.as_array();
    let list = list.ok_or_else(|| kind(name, &Value::Null, "a list of {cert, key, domains}"))?;
    let read = |value: &Value| {
        let map = object(name, value)?;
        let part = |key: &str| {
            let path = format!("{name}.{key}");
            text(&path, map.get(key).unwrap_or(&Value::Null))
        };
        if map.get("password").is_some_and(|value| !value.is_null()) {
            let text = "option `tlsAuth.password`: keys are read unencrypted only; decrypt it with \
                        `openssl pkey -in key.pem -out plain.pem`";
            return Err(OptionsError::Other(text.to_owned()));
        }
        let domains = match map.get("domains") {
            None | Some(Value::Null) => Vec::new(),
            Some(list) => patterns(&format!("{name}.domains"), list)?,
        };
        let (cert, key) = (part("cert")?, part("key")?);
        let identity = TlsIdentity::read(domains, &cert, &key);
        identity.map_err(|why| OptionsError::Other(format!("option `{name}`: {why}")))
    };
    list.iter().map(read).collect()
}

/// A version, or `{min, max}`, with the words for both.
pub(super) fn versions(
    name: &str,
    value: &Value,
) -> Result<(TlsVersions, [String; 2]), OptionsError> {
    let [min, max] = match value.as_object() {
        Some(map) => ["min", "max"].map(|key| map.get(key).unwrap_or(&Value::Null)),
        None => [value, value],
    };
    let place = |value: &Value, usual: usize| match value {
        Value::Null => Ok(usual),
        _ => {
            let found = VERSIONS
                .iter()
                .position(|version| Some(*version) == value.as_str());
            found.ok_or_else(|| kind(name, value, "tls1.0, tls1.1, tls1.2 or tls1.3"))
        }
    };
    let spoken = place(min, 0)?..=place(max, 3)?;
    let versions = TlsVersions {
        tls12: spoken.contains(&2),
        tls13: spoken.contains(&3),
    };
    if !versions.tls12 && !versions.tls13 {
        return Err(kind(name, value, "a range that has tls1.2 or tls1.3"));
    }
    let words = [min, max].map(|value| value.as_str().unwrap_or_default().to_owned());
    Ok((versions, words))
}

/// Versions of TLS, the oldest first.
const VERSIONS: [&str; 4] = ["tls1.0", "tls1.1", "tls1.2", "tls1.3"];
