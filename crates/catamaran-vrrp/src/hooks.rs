//! The commands that are told of changes.

use catamaran_core::model::{Hook, VirtualIp};
use catamaran_core::vrrp::{Reason, State};
use catamaran_sys::process::kill_group;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::mpsc;

/// The hook of one virtual address: runs one command at a time, in the order of the changes.
#[derive(Debug)]
pub(crate) struct Hooks {
    changes: mpsc::Sender<Change>,
}

/// What a hook is told.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) family: &'static str,
    pub(crate) from: State,
    pub(crate) to: State,
    pub(crate) reason: Reason,
    pub(crate) priority: u8,
}

impl Hooks {
    /// Starts the task that runs the commands; `None` if there is no hook.
    pub(crate) fn start(virtual_ip: &VirtualIp) -> Option<Self> {
        let hook = virtual_ip.on_change.clone()?;
        let (changes, mut waiting) = mpsc::channel::<Change>(MAX_WAITING);
        let addresses: Vec<String> = virtual_ip
            .addresses
            .iter()
            .map(|one| format!("{}/{}", one.address, one.prefix))
            .collect();
        let fixed = [
            ("CATAMARAN_VIRTUAL_IP", virtual_ip.name.to_string()),
            ("CATAMARAN_INTERFACE", virtual_ip.interface.clone()),
            ("CATAMARAN_ROUTER_ID", virtual_ip.router_id.to_string()),
            ("CATAMARAN_ADDRESSES", addresses.join(" ")),
        ];
        tokio::spawn(async move {
            while let Some(change) = waiting.recv().await {
                run(&hook, &fixed, &change).await;
            }
        });
        Some(Self { changes })
    }

    /// Has the command run; it is left out, with a log line, when too many wait.
    pub(crate) fn tell(&self, change: Change) {
        if self.changes.try_send(change).is_err() {
            tracing::error!(
                "a change is not told: `on-change` is too slow for the changes that come; lower \
                 `on-change-timeout`"
            );
        }
    }
}

async fn run(hook: &Hook, fixed: &[(&str, String)], change: &Change) {
    let Some((program, arguments)) = hook.argv.split_first() else {
        return;
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(fixed.iter().map(|(name, value)| (name, value)))
        .env("CATAMARAN_FAMILY", change.family)
        .env("CATAMARAN_STATE", change.to.as_str())
        .env("CATAMARAN_FORMER_STATE", change.from.as_str())
        .env("CATAMARAN_REASON", change.reason.to_string())
        .env("CATAMARAN_PRIORITY", change.priority.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let outcome = exit_of(command, hook.timeout).await;
    match outcome {
        Ok(()) => tracing::info!(program, state = %change.to, "`on-change` was run"),
        Err(problem) => tracing::error!(program, state = %change.to, "`on-change` {problem}"),
    }
}

/// Runs `command` to its end; what went wrong, in words. One that is too slow, or nobody waits for any
/// more, ends with all that it started.
pub(crate) async fn exit_of(mut command: Command, timeout: Duration) -> Result<(), String> {
    let mut child = command
        .process_group(0)
        .spawn()
        .map_err(|error| format!("did not start: {error}"))?;
    let mut group = Group(child.id());
    let outcome = tokio::time::timeout(timeout, child.wait()).await;
    if outcome.is_ok() {
        // What it left behind on purpose stays; its number may be another's by now.
        group.0 = None;
    }
    match outcome {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("ended with {status}")),
        Ok(Err(error)) => Err(format!("was lost: {error}")),
        // It is reaped by the runtime; waiting for it could take as long again.
        Err(_) => Err(format!("was killed after {timeout:?}")),
    }
}

/// A command and what it started, by the number of the command; killed when dropped.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // What is gone needs no killing.
            let _ = kill_group(leader);
        }
    }
}

/// Changes that may wait for a slow command.
const MAX_WAITING: usize = 16;
