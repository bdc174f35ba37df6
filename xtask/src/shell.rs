//! Running other programs and talking to the terminal.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Prints a line for whoever runs the command.
#[expect(clippy::print_stdout, reason = "the one place where xtask prints")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// Prints a complaint.
#[expect(clippy::print_stderr, reason = "the one place where xtask complains")]
pub(crate) fn complain(text: &str) {
    eprintln!("{text}");
}

/// A program to run, without what cargo has told this one of its package.
///
/// A cargo that inherits it believes that build scripts which read such variables, ring's among them,
/// must run again, and builds all that depends on them anew: twice for each command.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let ours = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if ours {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a program with our terminal; fails when it fails.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<()> {
    run_with(program, arguments, &[])
}

/// Like [`run`], with environment variables.
pub(crate) fn run_with(
    program: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Result<()> {
    let status = command(program)
        .args(arguments)
        .envs(variables.iter().copied())
        .status()
        .with_context(|| format!("cannot run `{program}`"))?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(program, arguments));
    }
    Ok(())
}

/// Builds the program of a package into `target/release`, whatever the environment says about
/// the directory.
pub(crate) fn build_release(package: &str) -> Result<()> {
    build_release_with(package, &[])
}

/// Like [`build_release`], with more arguments for cargo.
pub(crate) fn build_release_with(package: &str, more: &[&str]) -> Result<()> {
    let arguments = [
        "build",
        "--release",
        "--target-dir",
        "target",
        "--package",
        package,
    ];
    run("cargo", &[arguments.as_slice(), more].concat())
}

/// Runs a program and returns what it wrote to stdout; fails when it fails.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = command(program)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run `{program}`"))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", line(program, arguments), output.status);
    }
    String::from_utf8(output.stdout).context("output is not UTF-8")
}

/// Whether a program runs at all with these arguments; it shows nothing.
pub(crate) fn works(program: &str, arguments: &[&str]) -> bool {
    command(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A command as one would type it.
pub(crate) fn line(program: &str, arguments: &[&str]) -> String {
    let mut line = program.to_owned();
    for argument in arguments {
        line.push(' ');
        if argument.contains(' ') {
            line.push_str(&format!("'{argument}'"));
        } else {
            line.push_str(argument);
        }
    }
    line
}

/// Whether a program of this name is in the search path.
pub(crate) fn is_installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|dir| dir.join(program).is_file())
}

/// The name of the target that programs run on here.
pub(crate) fn host() -> Result<String> {
    let text = output("rustc", &["-vV"])?;
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("rustc names no host")?.to_owned())
}
