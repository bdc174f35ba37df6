//! `catamaran completions`: scripts that complete the command line in a shell.

use crate::args::{Args, CompletionsArgs, Shell};
use clap::CommandFactory as _;
use std::io::Write as _;
use std::process::ExitCode;

/// Prints the script of the shell that `args` name.
pub(crate) fn run(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    // Gathered first: written straight to a pipe that closes, it would panic.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "catamaran", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
