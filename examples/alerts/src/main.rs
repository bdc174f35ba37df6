//! The `alerts` binary: reads the command line and hands over to the command.

use std::io::Write as _;
use std::process::ExitCode;

use alerts::args::Args;
use alerts::commands;
use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .with_env_filter(&args.log)
        .init();
    match commands::run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(std::io::stderr(), "alerts: {error:#}");
            ExitCode::FAILURE
        }
    }
}
