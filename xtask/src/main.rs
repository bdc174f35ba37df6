//! Developer commands of the workspace: `cargo xtask ci`, `tidy`, `fuzz`, `sim`, `bench`,
//! `callgrind`, `deb`, `images`, `interop`, `sbom`.

mod bench;
mod callgrind;
mod ci;
mod deb;
mod docker;
mod fuzz;
mod interop;
mod sbom;
mod shell;
mod sim;
mod tidy;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const HELP: &str = "\
cargo xtask COMMAND

  ci [--skip-tests]   everything a change must pass, with a table of times
  tidy                the style rules that a program can check
  fuzz                the fuzz targets for a short time each; `fuzz --help`
  sim                 simulations of nodes and networks, seed by seed; `sim --help`
  bench               side by side with HAProxy and nginx; `bench --help`
  callgrind           instructions per request against the bound in xtask/hot-path.toml;
                      `callgrind --help`
  deb                 the Debian package, from packaging/debian; `deb --help`
  images              the container images of deploy/docker; `images --help`
  interop             tests that need root or a real peer; `interop --help`
  sbom                what the program is made of, as CycloneDX; `sbom --help`";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = manifest_dir.parent().context("xtask has a parent")?;
    env::set_current_dir(root)?;
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else {
        bail!("no command\n\n{HELP}");
    };
    match command.as_str() {
        "bench" if asks_help(rest) && rest[0] != "load" => shell::say(bench::HELP),
        "fuzz" if asks_help(rest) => shell::say(fuzz::HELP),
        "callgrind" if asks_help(rest) => shell::say(callgrind::HELP),
        "deb" if asks_help(rest) => shell::say(deb::HELP),
        "images" if asks_help(rest) => shell::say(docker::images::HELP),
        "sim" if asks_help(rest) => shell::say(sim::HELP),
        "interop" if asks_help(rest) => shell::say(interop::HELP),
        "sbom" if asks_help(rest) => shell::say(sbom::HELP),
        "bench" => bench::run(rest)?,
        "bench-origin" => bench::run_origin(rest)?,
        "bench-load" => bench::run_load(rest)?,
        "interop-load" => interop::run_load(rest)?,
        "interop-probe" => interop::run_probe(rest)?,
        "callgrind" => callgrind::run(rest)?,
        "ci" => ci::run(rest)?,
        "deb" => deb::run(rest)?,
        "fuzz" => fuzz::run(rest)?,
        "images" => docker::images::run(rest)?,
        "interop" => interop::run(rest)?,
        "sim" => sim::run(rest)?,
        "sbom" => sbom::run(rest)?,
        "tidy" => tidy::run()?,
        "--help" | "-h" | "help" => shell::say(HELP),
        other => bail!("unknown command `{other}`\n\n{HELP}"),
    }
    Ok(())
}

fn asks_help(arguments: &[String]) -> bool {
    arguments.iter().any(|word| word == "--help")
}
