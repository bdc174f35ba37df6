//! Another binary in place of this one, while clients are served.
//!
//! ```text
//! check the binary -> start its data process -> it is prepared      nothing has changed so far
//!   -> the old one leaves -> the new one serves                     the old one can still resume
//!   -> the old one drains -> this process executes the new binary
//! ```
//! This process comes last: until the new binary has proved that it serves, the old one can go on in
//! every part. What executes takes over the data process as after a supervisor that was killed.

use super::Options;
use super::child::DataProcess;
use super::kept::Kept;
use super::life::Life;
use crate::channel::{self, Raw};
use crate::handover::{Doors, Message};
use crate::stop::Stop;
use anyhow::Context as _;
use catamaran_core::model::Process;
use catamaran_sys::{fd_passing, process};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A binary that can take this one's place.
#[derive(Debug)]
pub(super) struct Binary {
    /// Kept open, so that what was checked is what is executed.
    file: File,
    /// What it says of itself.
    pub(super) version: String,
}

/// A data process of another binary that serves.
#[derive(Debug)]
pub(super) struct Successor {
    pub(super) child: DataProcess,
    pub(super) binary: Binary,
    /// Where the old data process is to report.
    pub(super) reports: OwnedFd,
}

impl Binary {
    /// Finds out whether the binary at `path`, else the one where this one stands, can take over.
    /// Those in `writable` are none: what meets clients could have written them.
    async fn check(path: Option<PathBuf>, writable: &[PathBuf]) -> anyhow::Result<Self> {
        let path = match path {
            Some(path) => path,
            None => usual_path()?,
        };
        let shown = path.display().to_string();
        let real =
            std::fs::canonicalize(&path).with_context(|| format!("{shown}: cannot be read"))?;
        let inside = |directory: &PathBuf| {
            std::fs::canonicalize(directory).is_ok_and(|directory| real.starts_with(directory))
        };
        anyhow::ensure!(
            !writable.iter().any(inside),
            "{shown}: the data process may write to that directory, and what it could have written \
             is not executed; put the binary elsewhere"
        );
        let file = File::open(&real).with_context(|| format!("{shown}: cannot be read"))?;
        let data = file.metadata().with_context(|| shown.clone())?;
        anyhow::ensure!(
            data.is_file() && data.mode() & 0o111 != 0,
            "{shown}: is no program"
        );
        let directory = real.parent().map(std::fs::metadata).transpose();
        let directory = directory.with_context(|| shown.clone())?;
        anyhow::ensure!(
            is_ours(&data) && !is_of_group(&data) && directory.as_ref().is_none_or(is_ours),
            "{shown}: others may change it; let it and its directory be owned by root or this user, \
             and be writable by nobody else"
        );
        let said = ask(&real).await.with_context(|| shown.clone())?;
        let version = read_speech(&said).with_context(|| shown)?;
        Ok(Self { file, version })
    }

    /// What further data processes are to be started of, for as long as this process lives.
    pub(super) fn into_program(self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.into_raw_fd()))
    }

    /// A path that leads to it for as long as it is held, in this process and those it starts.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

/// Whether a file or directory is root's or this user's, and not everybody may change it.
fn is_ours(data: &Metadata) -> bool {
    let owner = data.uid();
    (owner == 0 || owner == process::effective_user()) && data.mode() & 0o002 == 0
}

/// Whether a group may change a file that is neither root's nor that of this process.
fn is_of_group(data: &Metadata) -> bool {
    let group = data.gid();
    data.mode() & 0o020 != 0 && group != 0 && group != process::effective_group()
}

/// Where the binary of this process stands, or stood before another took its place.
fn usual_path() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe().context("where this binary stands is not known")?;
    let text = path.to_str().context("the path is not UTF-8")?;
    Ok(PathBuf::from(
        text.strip_suffix(" (deleted)").unwrap_or(text),
    ))
}

/// What a binary says of itself.
async fn ask(path: &Path) -> anyhow::Result<String> {
    let output = tokio::process::Command::new(path)
        .arg("speaks")
        // Whatever program that is: it is to find nothing of that name to read.
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(ASK, output).await.context("it does not answer")?;
    let output = output.context("it cannot be executed")?;
    anyhow::ensure!(
        output.status.success(),
        "it is no catamaran of this kind: it ended with {}",
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The version that `said` names, if hand-over between it and this one is possible.
fn read_speech(said: &str) -> anyhow::Result<String> {
    let mut words = said.split_whitespace();
    let parsed = (|| {
        if words.next()? != "catamaran" {
            return None;
        }
        let version = words.next()?.to_owned();
        if words.next()? != "handover" {
            return None;
        }
        let (first, last) = words.next()?.split_once('-')?;
        Some((version, first.parse().ok()?..=last.parse().ok()?))
    })();
    let (version, speaks): (_, std::ops::RangeInclusive<u16>) =
        parsed.context("it is no catamaran of this kind: it does not say what it speaks")?;
    anyhow::ensure!(
        speaks.contains(&channel::VERSION),
        "catamaran {version} takes over from those that speak {}-{}, this one speaks {}; restart \
         instead",
        speaks.start(),
        speaks.end(),
        channel::VERSION
    );
    Ok(version)
}

/// Has a data process of the binary at `path` serve in place of `old`. Until this returns the old one
/// can go on, and does if it fails.
pub(super) async fn succeed(
    old: &DataProcess,
    said: &mut mpsc::Receiver<Raw>,
    kept: &mut Kept,
    options: &Options,
    path: Option<PathBuf>,
) -> anyhow::Result<Successor> {
    let Process {
        upgrade_timeout,
        upgrade_pause,
        max_draining,
        ..
    } = kept.process();
    anyhow::ensure!(
        options.retired.len() < max_draining,
        "{max_draining} earlier data processes still have clients; wait, lower `drain-tunnels`, or \
         raise `max-draining`"
    );
    let binary = Binary::check(path, &kept.writable()).await?;
    tracing::info!(version = binary.version, "upgrade begins");
    let mut dialogue = Dialogue {
        old,
        said,
        kept,
        timeout: upgrade_timeout,
        pause: upgrade_pause,
    };
    old.tell(Message::Hold).await;
    let outcome = dialogue.change(options, &binary).await;
    match outcome {
        Ok((child, reports)) => Ok(Successor {
            child,
            binary,
            reports,
        }),
        Err(error) => {
            old.tell(Message::Resume).await;
            Err(error)
        }
    }
}

/// The talk with both data processes.
struct Dialogue<'a> {
    old: &'a DataProcess,
    said: &'a mut mpsc::Receiver<Raw>,
    kept: &'a mut Kept,
    /// What the new one may take until it could serve.
    timeout: Duration,
    /// How long clients may wait for it.
    pause: Duration,
}

impl Dialogue<'_> {
    async fn change(
        &mut self,
        options: &Options,
        binary: &Binary,
    ) -> anyhow::Result<(DataProcess, OwnedFd)> {
        self.hear("hold up reloads", SOON, |message| match message {
            Message::Held => Ok(()),
            other => Err(other),
        })
        .await?;
        let virtual_ips = options.virtual_ips.as_deref();
        let mut new = DataProcess::succeed(&binary.path(), options.orphans, virtual_ips)?;
        let begun = self.begin(&mut new, options).await;
        match begun {
            Ok(reports) => Ok((new, reports)),
            Err(error) => {
                // What could not be sent to it could not because it had ended.
                let error = match error.is::<io::Error>() {
                    true => or_its_end(&mut new, error).await,
                    false => error,
                };
                new.kill().await?;
                Err(error)
            }
        }
    }

    async fn begin(&mut self, new: &mut DataProcess, options: &Options) -> anyhow::Result<OwnedFd> {
        // One that hangs takes no more than the line holds.
        let sent = timeout(self.timeout, self.kept.handover().send(new.channel())).await;
        sent.context("the new data process does not take its configuration")??;
        expect(new, (self.timeout, "upgrade-timeout"), |m| {
            matches!(m, Message::Prepared)
        })
        .await?;
        self.old.tell(Message::Leave).await;
        let doors = self
            .hear("leave its clients", self.pause, |message| match message {
                Message::Left(doors) => Ok(doors),
                other => Err(other),
            })
            .await?;
        self.take(new, doors, options).await
    }

    async fn take(
        &self,
        new: &mut DataProcess,
        doors: Doors,
        options: &Options,
    ) -> anyhow::Result<OwnedFd> {
        let (ours, theirs) = fd_passing::seqpacket_pair().context("socket pair")?;
        Message::Take(doors, theirs).send(new.channel()).await?;
        if let Some(door) = &options.door {
            Message::Door(door.copy()?).send(new.channel()).await?;
        }
        expect(new, (self.pause, "upgrade-pause"), |m| {
            matches!(m, Message::Ready)
        })
        .await?;
        Ok(ours)
    }

    /// Waits for a word of the old data process, and answers what else it says.
    async fn hear<T>(
        &mut self,
        what: &str,
        patience: Duration,
        pick: impl Fn(Message) -> Result<T, Message>,
    ) -> anyhow::Result<T> {
        let until = tokio::time::Instant::now() + patience;
        loop {
            let raw = tokio::time::timeout_at(until, self.said.recv()).await;
            let raw = raw.with_context(|| format!("the old data process does not {what}"))?;
            match pick(Message::read(raw.context("the old data process is gone")?)?) {
                Ok(picked) => return Ok(picked),
                Err(Message::Ending | Message::EndAll) => {
                    process::send_signal(std::process::id(), libc::SIGTERM)?;
                    anyhow::bail!("the process is ending");
                }
                Err(Message::Beat | Message::Hung(_)) => {}
                Err(other) => self.kept.answer(other, self.old).await,
            }
        }
    }
}

/// The end of the new data process, which says more than its silence; `error` if it lives.
async fn or_its_end(new: &mut DataProcess, error: anyhow::Error) -> anyhow::Error {
    match timeout(SOON, new.wait()).await {
        Ok(Ok(status)) => {
            anyhow::anyhow!("the new data process ended with {status}; the log says why")
        }
        _ => error,
    }
}

/// Waits for a word of the new data process.
async fn expect(
    new: &mut DataProcess,
    (patience, key): (Duration, &str),
    is_it: impl Fn(&Message) -> bool,
) -> anyhow::Result<()> {
    let channel = std::sync::Arc::clone(new.channel());
    let word = async {
        loop {
            let raw = channel.receive().await?;
            let message = Message::read(raw.context("the new data process said no more")?)?;
            if is_it(&message) {
                return anyhow::Ok(());
            }
        }
    };
    tokio::select! {
        biased;
        word = timeout(patience, word) => match word {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(or_its_end(new, error).await),
            Err(_) => anyhow::bail!(
                "the new data process was not ready within {patience:?}; `{key}` sets that"
            ),
        },
        status = new.wait() => anyhow::bail!(
            "the new data process ended with {}; the log says why", status?
        ),
    }
}

/// Executes `binary` in place of this process, if that can find again what this one has. Returns only
/// if it does not.
pub(super) async fn execute(binary: &Binary, options: &Options, data: &DataProcess) {
    if options.door.is_none() {
        tracing::info!("this process stays as it is; the next start is of the new binary");
        return;
    }
    data.tell(Message::Expect).await;
    if let Some(virtual_ips) = &options.virtual_ips {
        virtual_ips.expect_another().await;
    }
    let retired = options.retired.iter().map(|life| life.pid().to_string());
    let mut command = std::process::Command::new(binary.path());
    let mut args = std::env::args_os();
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    command
        .args(args)
        .env(SUCCEEDS, retired.collect::<Vec<_>>().join(","));
    for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"] {
        command.env_remove(name);
    }
    let error = command.exec();
    tracing::error!(%error, "the supervisor cannot execute the new binary; the old one goes on");
}

/// What a supervisor before this one, of the same process, has told: the data processes that it
/// retired. `None` if there was none.
pub(super) fn predecessor() -> Option<Vec<Life>> {
    let told = std::env::var(SUCCEEDS).ok()?;
    let pids = told.split(',').filter_map(|pid| pid.parse().ok());
    Some(pids.filter_map(|pid| Life::adopt(pid).ok()).collect())
}

/// Forgets those of `retired` that have ended.
pub(super) fn forget_ended(retired: &mut Vec<Life>) {
    retired.retain_mut(|life| {
        let pid = life.pid();
        let has_ended = life.has_ended();
        if has_ended {
            tracing::info!(pid, "a data process that was replaced has ended");
        }
        !has_ended
    });
}

/// Asks `retired` to end soon.
pub(super) fn hurry(retired: &[Life]) {
    for life in retired {
        life.ask_to_end();
    }
}

/// Waits for the end of `retired`, which were asked to, for the time of a drain; then, or when another
/// request comes, they are killed.
pub(super) async fn end(
    retired: &mut Vec<Life>,
    drain: Duration,
    stops: &mpsc::Receiver<Stop>,
) -> anyhow::Result<()> {
    let until = tokio::time::Instant::now() + drain;
    while !retired.is_empty() && tokio::time::Instant::now() < until && stops.is_empty() {
        forget_ended(retired);
        tokio::time::sleep(LOOK).await;
    }
    for life in retired {
        life.kill().await?;
    }
    Ok(())
}

/// Says what this binary is and which hand-over it speaks; `catamaran speaks`.
pub(crate) fn speech() -> String {
    format!(
        "catamaran {} handover {}-{}",
        env!("CARGO_PKG_VERSION"),
        channel::VERSION,
        channel::VERSION
    )
}

/// In the environment of a supervisor that took another's place in the same process.
const SUCCEEDS: &str = "CATAMARAN_SUCCEEDS";
/// What a binary may take to say what it is.
const ASK: Duration = Duration::from_secs(5);
/// What the old data process may take for an answer.
const SOON: Duration = Duration::from_secs(5);
/// How often it is looked whether one has ended.
const LOOK: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_binary_says_is_understood() {
        assert_eq!(read_speech(&speech()).unwrap(), env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn a_binary_of_another_version_is_taken_if_it_speaks_ours() {
        let ours = channel::VERSION;
        let newer = format!("catamaran 9.1.0 handover {ours}-{}", ours + 5);
        assert_eq!(read_speech(&newer).unwrap(), "9.1.0");
        let too_new = format!("catamaran 9.2.0 handover {}-{}", ours + 1, ours + 5);
        let refused = read_speech(&too_new).unwrap_err().to_string();
        assert!(refused.contains("restart instead"), "{refused}");
        for other in ["", "nginx version: 1.2", "catamaran 1 handover x-y"] {
            assert!(read_speech(other).is_err(), "{other}");
        }
    }
}
