//! The case `admin-api`: schemathesis sends what the description of the admin API allows, and much
//! that it does not, and judges every answer by it.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use catamaran_testkit::{Client, Origin, Program, free_addr};

use crate::interop::browser::{PATIENCE, program};
use crate::shell;

/// Runs the case.
pub(super) fn run() -> Result<()> {
    install()?;
    let program = program()?;
    let (a, b) = (
        Origin::fixed(200, "a").start()?,
        Origin::fixed(200, "b").start()?,
    );
    let admin = free_addr()?;
    let config = format!(
        "[process]\nworkers = 1\n[admin]\nlisten = \"{admin}\"\nsocket = false\n\
         [frontend.web]\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n\
         [backend.app]\nservers = [\"{}\", \"{}\"]\nstick = {{ on = \"source-ip\", for = \"1h\" }}\n",
        a.addr(),
        b.addr()
    );
    let balancer = Program::run_config(&program, &config)?.start()?;
    balancer.wait_for_stderr(" serving", PATIENCE)?;
    let url = format!("http://{admin}/v1/openapi.json");
    let mut command = Command::new(SCHEMATHESIS);
    command.args(["run", &url]).args(ARGUMENTS);
    let status = command.status().context("cannot run schemathesis")?;
    ensure!(status.success(), "schemathesis found mistakes; see above");
    let host = format!("Host: {admin}");
    let alive = Client::connect(admin)?.request("GET", "/v1/process", &[&host], b"")?;
    ensure!(alive.status == 200, "the process answers {}", alive.status);
    ensure!(
        !balancer.stderr().contains("panicked"),
        "it panicked: {}",
        balancer.stderr()
    );
    shell::say("every answer is as described, and none is an error of ours");
    Ok(())
}

/// Installs it beside the other things that are built.
fn install() -> Result<()> {
    if shell::works(SCHEMATHESIS, &["--version"]) {
        return Ok(());
    }
    shell::run("python3", &["-m", "venv", "--clear", VENV])
        .context("python3 has no venv: apt-get install -y python3-venv")?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ];
    shell::run(PYTHON, &[&pip[..], &[PACKAGE]].concat())
}

/// `drain` would end the process, and `stream` has no end: tests of their own call them. Names of
/// servers are few and examples many, so that positive data is refused too (404): that is no
/// mistake. That a method is unknown on a path is said only to requests that are JSON: the guard looks
/// at that first, so it is not asked for here.
const ARGUMENTS: &[&str] = &[
    "--exclude-operation-id=drain",
    "--exclude-operation-id=stream",
    "--checks=not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
    "--max-examples=50",
    "--seed=1",
    "--request-timeout=30",
    "--no-color",
];
const PACKAGE: &str = "schemathesis==4.32.5";
const VENV: &str = "target/interop-admin-api";
const PYTHON: &str = "target/interop-admin-api/bin/python";
const SCHEMATHESIS: &str = "target/interop-admin-api/bin/schemathesis";
