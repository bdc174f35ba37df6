//! `catamaran load agent`, and `--agents`: secrets, addresses, and command lines that travel.

use anyhow::{Context as _, bail};
use catamaran_core::model::ClusterSecret;
use catamaran_load::agents::{Agent, Agents, Job, Load, OnLoss, Secret};
use clap::{Parser as _, ValueEnum};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Args, Command};

/// What else there is under `catamaran load`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Other {
    /// Work for load tests that are led from another machine (`--agents`)
    Agent(AgentArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    (umask 077; openssl rand -hex 32 > agents.key)    # once; copy it to all machines\n  \
    catamaran load agent --listen 10.0.0.2:7900 --secret-file agents.key\n  \
    catamaran load test.js --agents 10.0.0.2:7900,10.0.0.3:7900 --secret-file agents.key\n\n\
    It serves one run at a time, until SIGINT or SIGTERM. Who knows the secret can have it run any script.")]
pub(super) struct AgentArgs {
    /// Where coordinators connect to
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7900")]
    listen: SocketAddr,
    /// 64 hexadecimal digits, the same as of the coordinator
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// What `--agents` needs.
#[derive(Debug, Default, clap::Args)]
pub(super) struct AgentsArgs {
    /// Let agents on other machines do the work, each HOST:PORT of a `catamaran load agent`
    #[arg(
        long,
        value_name = "HOST:PORT,…",
        value_delimiter = ',',
        requires = "secret_file"
    )]
    agents: Vec<String>,
    /// With --agents: the file with the secret that they know
    #[arg(long, value_name = "FILE", requires = "agents")]
    secret_file: Option<PathBuf>,
    /// With --agents: what becomes of the run when one is lost
    #[arg(
        long,
        value_name = "WHAT",
        default_value = "incomplete",
        requires = "agents"
    )]
    on_agent_loss: OnAgentLoss,
}

/// What becomes of a run that loses an agent.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum OnAgentLoss {
    /// It goes on without that share of the load, is marked incomplete and ends with status 103
    #[default]
    Incomplete,
    /// It ends at once, is marked incomplete and ends with status 103
    Abort,
    /// The agents that are left take over that share of the load
    Takeover,
}

impl AgentsArgs {
    /// The agents of a run with this command line, and with files that it names.
    pub(super) fn agents(
        &self,
        files: BTreeMap<String, Vec<u8>>,
    ) -> anyhow::Result<Option<Agents>> {
        let (false, Some(secret)) = (self.agents.is_empty(), &self.secret_file) else {
            return Ok(None);
        };
        let arguments = std::env::args_os().map(|one| one.into_string().ok());
        let arguments: Option<Vec<String>> = arguments.collect();
        if let Some(wrong) = self.agents.iter().find(|one| !one.contains(':')) {
            bail!("--agents: `{wrong}` has no port; write {wrong}:7900");
        }
        Ok(Some(Agents {
            addresses: self.agents.clone(),
            secret: read_secret(secret)?,
            on_loss: match self.on_agent_loss {
                OnAgentLoss::Incomplete => OnLoss::Incomplete,
                OnAgentLoss::Abort => OnLoss::Abort,
                OnAgentLoss::Takeover => OnLoss::TakeOver,
            },
            arguments: arguments.context("--agents: the command line is no text (UTF-8)")?,
            files,
        }))
    }
}

/// Works for coordinators until a signal.
pub(super) async fn serve(args: AgentArgs) -> anyhow::Result<ExitCode> {
    let Some(path) = &args.secret_file else {
        bail!(
            "--secret-file is needed: who may connect can have this machine run any script. Make one with \
             `(umask 077; openssl rand -hex 32 > agents.key)` and give the coordinator the same"
        );
    };
    let secret = read_secret(path)?;
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", args.listen))?;
    let log = |text: &str| {
        // A terminal that has gone is no reason to end.
        let _ = writeln!(std::io::stderr(), "catamaran load agent: {text}");
    };
    log(&format!("listens on {}", listener.local_addr()?));
    let agent = Agent::new(secret, parse, Arc::new(log));
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        () = agent.serve(listener) => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    // Workers of a run that goes on end with the process; its coordinator sees that.
    log("ends");
    Ok(ExitCode::SUCCESS)
}

/// Reads the command line of a coordinator, which it found good.
fn parse(job: &Job) -> Result<Load, String> {
    let args = Args::try_parse_from(&job.arguments).map_err(|error| error.to_string())?;
    let Command::Load(mut args) = args.command else {
        return Err("the coordinator asks for something else than a load".to_owned());
    };
    // Its secret file and its agents are the coordinator's business.
    args.agents = AgentsArgs::default();
    let read = |path: &Path| {
        let bytes = job.files.get(&*path.to_string_lossy()).cloned();
        bytes.context("the coordinator did not send it")
    };
    args.load(&read).map_err(|error| format!("{error:#}"))
}

fn read_secret(path: &Path) -> anyhow::Result<Secret> {
    let shown = path.display();
    let make = format!(
        "make one with `(umask 077; openssl rand -hex 32 > {shown})` and copy it to all machines"
    );
    let meta = std::fs::metadata(path).with_context(|| format!("{shown}: {make}"))?;
    if meta.permissions().mode() & 0o077 != 0 {
        bail!(
            "others may read {shown}, and who knows the secret can have agents run any script; `chmod 600 {shown}` \
             mends that"
        );
    }
    if meta.len() > MAX_SECRET_BYTES {
        bail!("{shown} is no secret; {make}");
    }
    let text = std::fs::read_to_string(path).with_context(|| shown.to_string())?;
    let secret = ClusterSecret::from_hex(text.trim());
    let secret = secret.with_context(|| {
        format!("{shown} does not hold 64 hexadecimal digits and nothing else; {make}")
    })?;
    Ok(Secret::new(*secret.reveal()))
}

/// More than 64 digits and what stands around them.
const MAX_SECRET_BYTES: u64 = 4096;
