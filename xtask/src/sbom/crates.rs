//! The crates that the program is made of.
//!
//! `cargo tree` says which they are, since it resolves features for the one program; `cargo
//! metadata`, which knows the whole workspace only, says the rest of them; Cargo.lock has the
//! checksums.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::shell;

/// One crate in one version.
#[derive(Debug)]
pub(crate) struct Crate {
    /// As in its manifest.
    pub(crate) name: String,
    /// As in its manifest.
    pub(crate) version: String,
    /// What it is, in its own words.
    pub(crate) description: Option<String>,
    /// As in its manifest.
    pub(crate) license: Option<String>,
    /// SHA-256 of its package; ours have none.
    pub(crate) checksum: Option<String>,
    /// Where it is developed.
    pub(crate) repository: Option<String>,
    /// Where its sources are on this machine.
    pub(crate) directory: PathBuf,
    is_own: bool,
    uses: BTreeSet<Id>,
}

/// Name and version.
type Id = (String, String);

/// The crates of the program, the program among them.
#[derive(Debug)]
pub(crate) struct Crates(BTreeMap<Id, Crate>);

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    description: Option<String>,
    license: Option<String>,
    repository: Option<String>,
    /// `None` for those of this workspace.
    source: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    /// `None` is an ordinary dependency, else `dev` or `build`.
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

impl Crate {
    /// Its package URL.
    pub(crate) fn purl(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }
}

impl Crates {
    /// Reads what the `catamaran` program is made of.
    pub(crate) fn of_the_program() -> Result<Self> {
        let host = shell::host()?;
        let tree = shell::output("cargo", &tree_arguments(&host))?;
        let members = tree.lines().filter_map(id_of_line).collect();
        let format = ["metadata", "--format-version", "1", "--locked"];
        let metadata = shell::output(
            "cargo",
            &[&format[..], &["--filter-platform", &host]].concat(),
        )?;
        let metadata: Metadata =
            serde_json::from_str(&metadata).context("unexpected cargo metadata")?;
        let lock = metadata.workspace_root.join("Cargo.lock");
        let lock = std::fs::read_to_string(lock).context("cannot read Cargo.lock")?;
        let lock = toml::from_str(&lock).context("unexpected Cargo.lock")?;
        Ok(Self::assemble(&members, metadata, lock))
    }

    fn assemble(members: &BTreeSet<Id>, metadata: Metadata, lock: Lock) -> Self {
        let locked = lock.package.into_iter();
        let mut checksums: BTreeMap<Id, String> = locked
            .filter_map(|locked| Some(((locked.name, locked.version), locked.checksum?)))
            .collect();
        let ids: BTreeMap<String, Id> = metadata
            .packages
            .iter()
            .map(|package| {
                let id = (package.name.clone(), package.version.clone());
                (package.id.clone(), id)
            })
            .collect();
        let mut uses: BTreeMap<&Id, BTreeSet<Id>> = BTreeMap::new();
        for node in &metadata.resolve.nodes {
            let ordinary = node
                .deps
                .iter()
                .filter(|edge| edge.dep_kinds.iter().any(|kind| kind.kind.is_none()));
            let used = ordinary.filter_map(|edge| ids.get(&edge.pkg).cloned());
            let used = used.filter(|id| members.contains(id)).collect();
            uses.insert(&ids[&node.id], used);
        }
        let packages = metadata.packages.into_iter().filter_map(|package| {
            let id = (package.name.clone(), package.version.clone());
            members.contains(&id).then(|| {
                let part = Crate {
                    name: package.name,
                    version: package.version,
                    description: package.description,
                    license: package.license,
                    checksum: checksums.remove(&id),
                    repository: package.repository,
                    directory: package
                        .manifest_path
                        .parent()
                        .unwrap_or_else(|| Path::new(""))
                        .to_owned(),
                    is_own: package.source.is_none(),
                    uses: uses.get(&id).cloned().unwrap_or_default(),
                };
                (id, part)
            })
        });
        Self(packages.collect())
    }

    /// All of them, by name and version.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Crate> {
        self.0.values()
    }

    /// Those of others.
    pub(crate) fn foreign(&self) -> impl Iterator<Item = &Crate> {
        self.all().filter(|part| !part.is_own)
    }

    /// Those of this workspace but the program itself.
    pub(crate) fn own(&self) -> impl Iterator<Item = &Crate> {
        let own = self.all().filter(|part| part.is_own);
        own.filter(|part| part.name != PROGRAM)
    }

    /// The program.
    pub(crate) fn program(&self) -> &Crate {
        let mut all = self.all();
        all.find(|part| part.name == PROGRAM)
            .expect("the tree begins with it")
    }

    /// What a crate uses of the others.
    pub(crate) fn used_by<'a>(&'a self, part: &'a Crate) -> impl Iterator<Item = &'a Crate> {
        part.uses.iter().map(|id| &self.0[id])
    }
}

fn tree_arguments(host: &str) -> [&str; 11] {
    [
        "tree",
        "--package",
        PROGRAM,
        "--locked",
        "--target",
        host,
        "--prefix",
        "none",
        "--edges=normal,no-proc-macro",
        "--format",
        "{p}",
    ]
}

/// The crate that a line such as `tokio v1.47.0` or `catamaran-core v0.1.0 (…)` is about.
fn id_of_line(line: &str) -> Option<Id> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    let version = words.next()?.strip_prefix('v')?;
    Some((name.to_owned(), version.to_owned()))
}

const PROGRAM: &str = "catamaran";

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{
        "packages": [
            {"id": "1", "name": "catamaran", "version": "1.0.0", "manifest_path": "/a/Cargo.toml"},
            {"id": "2", "name": "used", "version": "2.0.0", "license": "MIT", "source": "registry",
             "manifest_path": "/b/Cargo.toml"},
            {"id": "3", "name": "for-tests", "version": "3.0.0", "source": "registry",
             "manifest_path": "/c/Cargo.toml"}
        ],
        "resolve": {"nodes": [
            {"id": "1", "deps": [
                {"pkg": "2", "dep_kinds": [{"kind": null}, {"kind": "dev"}]},
                {"pkg": "3", "dep_kinds": [{"kind": "dev"}]}]},
            {"id": "2", "deps": []},
            {"id": "3", "deps": [{"pkg": "2", "dep_kinds": [{"kind": null}]}]}
        ]},
        "workspace_root": "/a"
    }"#;

    const LOCK: &str = "[[package]]\nname = \"used\"\nversion = \"2.0.0\"\nchecksum = \"beef\"\n";

    #[test]
    fn a_crate_is_what_the_three_sources_say_of_it() {
        let tree = "catamaran v1.0.0 (/a)\nused v2.0.0\nused v2.0.0 (*)\n";
        let members = tree.lines().filter_map(id_of_line).collect();
        let metadata = serde_json::from_str(METADATA).unwrap();
        let crates = Crates::assemble(&members, metadata, toml::from_str(LOCK).unwrap());
        let used: Vec<_> = crates.used_by(crates.program()).collect();
        assert_eq!(used.len(), 1);
        assert_eq!(used[0].purl(), "pkg:cargo/used@2.0.0");
        assert_eq!(used[0].checksum.as_deref(), Some("beef"));
        assert_eq!(crates.foreign().count(), 1);
        assert_eq!(crates.own().count(), 0);
        assert_eq!(used[0].directory, Path::new("/b"));
    }
}
