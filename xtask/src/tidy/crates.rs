//! Rules about which crate may depend on which.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Finding;
use crate::shell;

/// What each crate may use of our own crates; arrows point down and never turn back.
const OWN: &[(&str, &[&str])] = &[
    ("alerts", &[]),
    (
        "catamaran",
        &[
            "catamaran-config",
            "catamaran-control",
            "catamaran-core",
            "catamaran-etcd",
            "catamaran-http1",
            "catamaran-load",
            "catamaran-proxy",
            "catamaran-sys",
            "catamaran-vrrp",
        ],
    ),
    ("catamaran-auth", &[]),
    (
        "catamaran-config",
        &["catamaran-auth", "catamaran-core", "catamaran-sys"],
    ),
    (
        "catamaran-control",
        &[
            "catamaran-config",
            "catamaran-core",
            "catamaran-etcd",
            "catamaran-http1",
            "catamaran-peers",
            "catamaran-proxy",
            "catamaran-sys",
        ],
    ),
    ("catamaran-core", &[]),
    ("catamaran-etcd", &["catamaran-core"]),
    ("catamaran-http1", &[]),
    (
        "catamaran-load",
        &["catamaran-http1", "catamaran-noise", "catamaran-sys"],
    ),
    ("catamaran-noise", &[]),
    ("catamaran-peers", &["catamaran-core", "catamaran-noise"]),
    (
        "catamaran-proxy",
        &[
            "catamaran-auth",
            "catamaran-core",
            "catamaran-http1",
            "catamaran-sys",
        ],
    ),
    ("catamaran-sys", &[]),
    ("catamaran-testkit", &[]),
    ("catamaran-vrrp", &["catamaran-core", "catamaran-sys"]),
    ("xtask", &["catamaran-testkit"]),
];

/// The whole list of foreign crates of those that do no I/O.
const CLOSED: &[(&str, &[&str])] = &[
    (
        "catamaran-core",
        &[
            "fastrand",
            "foldhash",
            "hashbrown",
            "thiserror",
            "xxhash-rust",
        ],
    ),
    ("catamaran-http1", &["memchr", "thiserror"]),
    (
        "catamaran-auth",
        &[
            "base64",
            "bcrypt",
            "ring",
            "serde_json",
            "sha-crypt",
            "thiserror",
        ],
    ),
];

/// Crates that no other may have but as a development dependency, with who may.
const DEVELOPMENT_ONLY: &[(&str, &[&str])] = &[("catamaran-testkit", &["xtask"])];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `None` is an ordinary dependency, else `dev` or `build`.
    kind: Option<String>,
    /// Set for crates of this workspace.
    path: Option<String>,
}

/// Checks all crates of the workspace.
pub(super) fn check() -> Result<Vec<Finding>> {
    let text = shell::output(
        "cargo",
        &["metadata", "--format-version", "1", "--no-deps", "--locked"],
    )?;
    let metadata: Metadata = serde_json::from_str(&text).context("unexpected cargo metadata")?;
    Ok(metadata.packages.iter().flat_map(check_package).collect())
}

fn check_package(package: &Package) -> Vec<Finding> {
    let own: BTreeMap<_, _> = OWN.iter().copied().collect();
    let closed: BTreeMap<_, _> = CLOSED.iter().copied().collect();
    let development: BTreeMap<_, _> = DEVELOPMENT_ONLY.iter().copied().collect();
    let name = package.name.as_str();
    let mut findings = Vec::new();
    let mut find = |message: String| {
        findings.push(Finding::new(name, 0, "dependency", message));
    };
    let Some(allowed) = own.get(name) else {
        find("is a new crate; say in xtask/src/tidy/crates.rs what it may use".to_owned());
        return findings;
    };
    let ordinary = package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind.as_deref() != Some("dev"));
    for dependency in ordinary {
        let other = dependency.name.as_str();
        if let Some(users) = development.get(other)
            && !users.contains(&name)
        {
            find(format!("may use `{other}` in tests only"));
        } else if dependency.path.is_some() {
            if !allowed.contains(&other) {
                find(format!("must not use `{other}`: arrows point down"));
            }
        } else if closed.get(name).is_some_and(|list| !list.contains(&other)) {
            find(format!("must not use `{other}`: its list is closed"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(name: &str, dependencies: &[(&str, Option<&str>, bool)]) -> Vec<String> {
        let dependencies = dependencies
            .iter()
            .map(|(name, kind, is_own)| Dependency {
                name: (*name).to_owned(),
                kind: kind.map(str::to_owned),
                path: is_own.then(String::new),
            })
            .collect();
        let package = Package {
            name: name.to_owned(),
            dependencies,
        };
        let findings = check_package(&package).into_iter();
        findings.map(|finding| finding.message).collect()
    }

    #[test]
    fn an_arrow_down_is_fine_and_an_arrow_back_is_not() {
        assert!(findings("catamaran-proxy", &[("catamaran-core", None, true)]).is_empty());
        let back = findings("catamaran-core", &[("catamaran-proxy", None, true)]);
        assert_eq!(back, ["must not use `catamaran-proxy`: arrows point down"]);
    }

    #[test]
    fn the_core_takes_no_new_crate_but_its_tests_may() {
        assert_eq!(
            findings("catamaran-core", &[("tokio", None, false)]).len(),
            1
        );
        assert!(findings("catamaran-core", &[("tokio", Some("dev"), false)]).is_empty());
        assert!(findings("catamaran-proxy", &[("tokio", None, false)]).is_empty());
    }

    #[test]
    fn the_testkit_is_for_tests() {
        let testkit = ("catamaran-testkit", None, true);
        assert_eq!(findings("catamaran", &[testkit]).len(), 1);
        assert!(findings("xtask", &[testkit]).is_empty());
        let in_tests = ("catamaran-testkit", Some("dev"), true);
        assert!(findings("catamaran", &[in_tests]).is_empty());
    }

    #[test]
    fn a_new_crate_must_be_entered() {
        assert_eq!(findings("catamaran-new", &[]).len(), 1);
    }
}
