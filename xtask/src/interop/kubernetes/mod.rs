//! The case `kubernetes`: the manifests of `deploy/kubernetes` are what Kubernetes expects.
//!
//! There is no cluster here. kubectl renders the manifests, the JSON Schemas of Kubernetes judge
//! them strictly (a field that the schema does not know is an error), and [`references`] looks
//! whether what they name is there. That the judge is awake is shown by mistakes made on purpose.

mod references;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::docker::output;
use crate::shell;

/// Runs the case.
pub(super) fn run() -> Result<()> {
    install()?;
    let rendered = shell::output("kubectl", &["kustomize", "deploy/kubernetes"])?;
    for version in VERSIONS {
        let count = judge(&rendered, version)?;
        shell::say(&format!(
            "{count} resources are valid in Kubernetes {version}"
        ));
    }
    for (right, wrong) in MISTAKES {
        ensure!(
            rendered.contains(right),
            "`{right}` is gone from the manifests; make another mistake"
        );
        let mistaken = rendered.replacen(right, wrong, 1);
        ensure!(
            judge(&mistaken, VERSIONS[0]).is_err(),
            "`{wrong}` was not noticed"
        );
    }
    shell::say(&format!(
        "{} mistakes on purpose are noticed",
        MISTAKES.len()
    ));
    let findings = references::check(&resources(&rendered)?);
    ensure!(findings.is_empty(), findings.join("\n"));
    shell::say("everything that the manifests name is there");
    Ok(())
}

/// Installs the judge beside the other things that are built.
fn install() -> Result<()> {
    if shell::works(PYTHON, &["-c", "import kubernetes_validate"]) {
        return Ok(());
    }
    shell::run("python3", &["-m", "venv", "--clear", VENV])
        .context("python3 has no venv: apt-get install -y python3-venv")?;
    let pip = ["-m", "pip", "install", "--quiet"];
    let quiet = ["--disable-pip-version-check", "--only-binary=:all:"];
    shell::run(PYTHON, &[&pip[..], &quiet, &[JUDGE]].concat())
}

/// Judges the manifests by the schemas of a version; the number of resources if all are right.
fn judge(manifests: &str, version: &str) -> Result<usize> {
    let file = Path::new(VENV).join("manifests.yaml");
    fs::write(&file, manifests)?;
    let mut command = Command::new(PYTHON);
    command
        .args(["-m", "kubernetes_validate", "--strict", "-k", version])
        .arg(&file);
    let result = command.output().context("cannot run the judge")?;
    let said = String::from_utf8_lossy(&result.stdout) + String::from_utf8_lossy(&result.stderr);
    let errors: Vec<_> = said
        .lines()
        .filter(|line| !line.starts_with("INFO"))
        .collect();
    let passed = said
        .lines()
        .filter(|line| line.contains(" passed "))
        .count();
    if !result.status.success() || !errors.is_empty() || passed == 0 {
        bail!("Kubernetes {version}: {}", errors.join("\n"));
    }
    Ok(passed)
}

/// The rendered resources as values.
fn resources(manifests: &str) -> Result<Vec<Value>> {
    let file = Path::new(VENV).join("manifests.yaml");
    fs::write(&file, manifests)?;
    let json = output(Command::new(PYTHON).args(["-c", TO_JSON]).arg(&file))?;
    serde_json::from_str(&json).context("what Python wrote is not JSON")
}

/// Carries the schemas of Kubernetes; the only checker of them that a package registry serves.
const JUDGE: &str = "kubernetes-validate==1.37.0";

/// The oldest version that knows every field used, and the newest that the judge knows.
const VERSIONS: &[&str] = &["1.30", "1.37"];

/// What a slip of the pen looks like: a name, a place, a type.
const MISTAKES: &[(&str, &str)] = &[
    ("replicas: 3", "replica: 3"),
    ("readinessProbe:", "readynessProbe:"),
    ("maxUnavailable: 1", "maxUnavailible: 1"),
    (
        "readOnlyRootFilesystem: true",
        "readOnlyRootFileSystem: true",
    ),
    (
        "terminationGracePeriodSeconds: 45",
        "terminationGracePeriodSeconds: 45s",
    ),
    ("topologyKey:", "topology:"),
    ("sleep:", "sleeps:"),
    ("kind: PodDisruptionBudget", "kind: PodDisruptionBudgets"),
];

const VENV: &str = "target/interop-kubernetes";
const PYTHON: &str = "target/interop-kubernetes/bin/python";

const TO_JSON: &str = "import json, sys, yaml\n\
    print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
