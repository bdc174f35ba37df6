//! The `catamaran` binary: reads the command line and hands over to the command.

mod admin;
mod args;
mod bind;
mod channel;
mod check;
mod completions;
mod ctl;
mod custody;
mod data;
mod demo;
mod door;
mod echo;
mod engine;
mod fleet;
mod handover;
mod host;
mod identity;
mod limits;
mod load;
mod logging;
mod man;
mod ports;
mod probe;
mod pulse;
#[cfg(feature = "etcd")]
mod register;
mod reload;
mod reopen;
mod sandbox;
mod source;
mod stop;
mod succession;
mod supervisor;
mod systemd;
mod top;
mod virtual_ip;
mod vrrp;

use anyhow::Context as _;
use args::{Args, Command};
use catamaran_sys::process::set_name;
use clap::Parser as _;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    match logging::start(args.log.as_deref()).and_then(|()| run(args.command)) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(std::io::stderr(), "catamaran: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check(args) => check::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Ctl(args) => Ok(ctl::run(&args)),
        Command::Data(args) => {
            set_name(c"catamaran-data");
            block_on(data::run_supervised(&args))
        }
        Command::Demo(args) => block_on(demo::run(&args)),
        Command::Echo(args) => {
            set_name(c"catamaran-echo");
            block_on(echo::run(&args))
        }
        Command::Load(args) => block_on(load::run(*args)),
        Command::Top(args) => Ok(top::run(&args)),
        Command::Vrrp(args) => {
            set_name(c"catamaran-vrrp");
            block_on(vrrp::run(&args))
        }
        Command::Man(args) => man::run(&args),
        Command::Speaks => {
            writeln!(std::io::stdout(), "{}", supervisor::speech())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Probe(args) => probe::run(&args),
        #[cfg(feature = "etcd")]
        Command::Register(args) => block_on(register::run(&args)),
        Command::Run(args) => {
            // An upgrade executes it by a descriptor, whose number would be its name.
            set_name(c"catamaran");
            match args.no_supervisor {
                true => block_on(data::run_foreground(&args)),
                false => block_on(supervisor::run(&args)),
            }
        }
    }
}

/// Whether whoever read our output has gone, as `head` does.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<std::io::Error>();
    cause.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Runs a command on the main thread, which thereby is the one that spawns children.
fn block_on(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the event loop could not be started")?
        .block_on(command)
}
