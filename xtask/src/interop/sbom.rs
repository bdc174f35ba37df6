//! The case `sbom`: the bill of materials is what CycloneDX's own schema says.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::sbom::{self, Crates};
use crate::shell;

/// Runs the case.
pub(super) fn run() -> Result<()> {
    install()?;
    let bill = sbom::write(&Crates::of_the_program()?, Path::new("target/sbom"))?;
    ensure!(is_valid(&bill)?, "{} is not valid", bill.display());
    let text = fs::read_to_string(&bill)?;
    let mistaken = Path::new(VENV).join("mistaken.json");
    for (right, wrong) in MISTAKES {
        ensure!(
            text.contains(right),
            "`{right}` is gone; make another mistake"
        );
        fs::write(&mistaken, text.replacen(right, wrong, 1))?;
        ensure!(!is_valid(&mistaken)?, "`{wrong}` was not noticed");
    }
    shell::say(&format!(
        "{} is valid; {} mistakes on purpose are noticed",
        bill.display(),
        MISTAKES.len()
    ));
    Ok(())
}

/// Installs the judge beside the other things that are built.
fn install() -> Result<()> {
    if shell::works(PYTHON, &["-c", "import cyclonedx, jsonschema"]) {
        return Ok(());
    }
    shell::run("python3", &["-m", "venv", "--clear", VENV])
        .context("python3 has no venv: apt-get install -y python3-venv")?;
    let pip = ["-m", "pip", "install", "--quiet"];
    let quiet = ["--disable-pip-version-check", "--only-binary=:all:"];
    shell::run(PYTHON, &[&pip[..], &quiet, &[JUDGE]].concat())
}

fn is_valid(bill: &Path) -> Result<bool> {
    let mut command = Command::new(PYTHON);
    let output = command.args(["-c", JUDGED]).arg(bill).output();
    let output = output.context("cannot run the judge")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "the judge failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(said.trim() == "None")
}

/// The project's own library, with its schemas.
const JUDGE: &str = "cyclonedx-python-lib[json-validation]==11.12.0";

const JUDGED: &str = "\
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
print(JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1]).read()))";

const MISTAKES: &[(&str, &str)] = &[
    ("\"type\": \"library\"", "\"type\": \"crate\""),
    ("\"SHA-256\"", "\"SHA256\""),
    ("\"scope\": \"required\"", "\"scoop\": \"required\""),
    ("\"ref\": ", "\"reference\": "),
];

const VENV: &str = "target/interop-sbom";
const PYTHON: &str = "target/interop-sbom/bin/python";
