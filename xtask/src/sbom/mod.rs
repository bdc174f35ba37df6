//! `cargo xtask sbom`: the bill of materials of the `catamaran` program, as CycloneDX 1.5.
//!
//! It lists what is compiled into the program: the crates of `cargo tree` without tests, build
//! scripts and procedural macros, with licence, origin and checksum. The same sources give the same
//! bytes: no time, no serial number, nothing of the machine but its target.

mod crates;
pub(crate) mod notices;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

pub(crate) use self::crates::{Crate, Crates};
use crate::shell;

/// What `cargo xtask sbom --help` prints.
pub(crate) const HELP: &str = "\
cargo xtask sbom

Writes target/sbom/catamaran.cdx.json (CycloneDX 1.5): what the program is made of.";

/// Writes the bill where [`HELP`] says.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if !arguments.is_empty() {
        bail!("`sbom` takes no arguments\n\n{HELP}");
    }
    let crates = Crates::of_the_program()?;
    let path = write(&crates, Path::new("target/sbom"))?;
    shell::say(&format!(
        "{}: {} components",
        path.display(),
        crates.foreign().count() + crates.own().count()
    ));
    Ok(())
}

/// Writes the bill into a directory and returns its path.
pub(crate) fn write(crates: &Crates, directory: &Path) -> Result<PathBuf> {
    let path = directory.join(FILE);
    let text = format!("{:#}\n", bill(crates));
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(&path, text))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The bill as JSON.
fn bill(crates: &Crates) -> Value {
    let program = crates.program();
    let parts = crates.all().filter(|part| part.name != program.name);
    let components: Vec<_> = parts.map(|part| component(part, "library")).collect();
    let dependencies: Vec<_> = crates
        .all()
        .map(|part| {
            let used: Vec<_> = crates.used_by(part).map(Crate::purl).collect();
            json!({ "ref": part.purl(), "dependsOn": used })
        })
        .collect();
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": component(program, "application") },
        "components": components,
        "dependencies": dependencies,
    })
}

fn component(part: &Crate, kind: &str) -> Value {
    let purl = part.purl();
    let mut component = json!({
        "type": kind,
        "bom-ref": purl,
        "name": part.name,
        "version": part.version,
        "purl": purl,
        "scope": "required",
    });
    let mut set = |key: &str, value: Value| component[key] = value;
    if let Some(description) = &part.description {
        let words: Vec<_> = description.split_whitespace().collect();
        set("description", json!(words.join(" ")));
    }
    if let Some(license) = &part.license {
        set("licenses", json!([{ "expression": expression(license) }]));
    }
    if let Some(checksum) = &part.checksum {
        set("hashes", json!([{ "alg": "SHA-256", "content": checksum }]));
    }
    if let Some(repository) = &part.repository {
        set(
            "externalReferences",
            json!([{ "type": "vcs", "url": repository }]),
        );
    }
    component
}

/// A licence as SPDX has it; older manifests separate alternatives with a slash.
fn expression(license: &str) -> String {
    let alternatives: Vec<_> = license.split('/').map(str::trim).collect();
    alternatives.join(" OR ")
}

/// The file's name.
pub(crate) const FILE: &str = "catamaran.cdx.json";

#[cfg(test)]
mod tests {
    use super::*;

    /// What the schema of CycloneDX 1.5 asks for at least, and what readers of a bill need.
    #[test]
    fn the_bill_of_this_tree_has_what_the_schema_requires() {
        let crates = Crates::of_the_program().unwrap();
        let bill = bill(&crates);
        assert_eq!(bill["bomFormat"], "CycloneDX");
        assert_eq!(bill["specVersion"], "1.5");
        assert_eq!(bill["metadata"]["component"]["name"], "catamaran");
        let components = bill["components"].as_array().unwrap();
        let mut known = vec![bill["metadata"]["component"]["bom-ref"].clone()];
        for component in components {
            assert!(component["type"].is_string() && component["name"].is_string());
            assert!(component["version"].is_string(), "{component}");
            assert!(component["licenses"][0]["expression"].is_string());
            assert!(!known.contains(&component["bom-ref"]), "{component}");
            known.push(component["bom-ref"].clone());
        }
        let name = |name: &str| components.iter().find(|part| part["name"] == name);
        assert_eq!(name("tokio").unwrap()["hashes"][0]["alg"], "SHA-256");
        assert!(name("catamaran-core").unwrap()["hashes"].is_null());
        for absent in ["proptest", "catamaran-testkit", "serde_derive", "tonic"] {
            assert!(name(absent).is_none(), "{absent} is not in the program");
        }
        let dependencies = bill["dependencies"].as_array().unwrap();
        assert_eq!(dependencies.len(), known.len());
        for entry in dependencies {
            assert!(known.contains(&entry["ref"]));
            let used = entry["dependsOn"].as_array().unwrap();
            assert!(used.iter().all(|used| known.contains(used)), "{entry}");
        }
        assert_eq!(bill, super::bill(&Crates::of_the_program().unwrap()));
    }

    #[test]
    fn a_licence_becomes_an_expression() {
        assert_eq!(expression("MIT/Apache-2.0"), "MIT OR Apache-2.0");
        assert_eq!(expression("Apache-2.0 / MIT"), "Apache-2.0 OR MIT");
        assert_eq!(expression("MIT AND BSD-3-Clause"), "MIT AND BSD-3-Clause");
    }
}
