//! Commands and files that are watched. Backends and interfaces are known without asking.

use crate::hooks::exit_of;
use crate::shell::News;
use catamaran_core::model::{Track, Tracked, VirtualIp};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// What one watched thing adds to the priority from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Index of the virtual address.
    pub(crate) virtual_ip: usize,
    /// Index in its list.
    pub(crate) track: usize,
    /// What it adds.
    pub(crate) add: i32,
}

/// What a thing of this weight adds while it fails or is well.
pub(crate) fn add_of(track: &Track, fails: bool) -> i32 {
    if fails { -i32::from(track.weight) } else { 0 }
}

/// Starts a task for every command and file; each tells its changes.
pub(crate) fn start(virtual_ips: &[VirtualIp], findings: &mpsc::Sender<News>) {
    for (virtual_ip, one) in virtual_ips.iter().enumerate() {
        for (index, track) in one.track.iter().enumerate() {
            let tell = {
                let findings = findings.clone();
                move |add| {
                    let finding = Finding {
                        virtual_ip,
                        track: index,
                        add,
                    };
                    let findings = findings.clone();
                    async move { findings.send(News::Found(finding)).await.is_ok() }
                }
            };
            match track.what.clone() {
                Tracked::Command {
                    argv,
                    interval,
                    timeout,
                } => {
                    tokio::spawn(watch_command(argv, interval, timeout, track.clone(), tell));
                }
                Tracked::File { path, interval } => {
                    let weight = i32::from(track.weight);
                    tokio::spawn(watch_file(path, interval, weight, tell));
                }
                Tracked::Backend(_) | Tracked::Interface(_) | Tracked::Replication => {}
            }
        }
    }
}

async fn watch_command<F: Future<Output = bool>>(
    argv: Vec<String>,
    every: Duration,
    timeout: Duration,
    track: Track,
    tell: impl Fn(i32) -> F,
) {
    let Some((program, arguments)) = argv.split_first() else {
        return;
    };
    let mut ticks = ticks(every);
    let mut failed = false;
    loop {
        ticks.tick().await;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        let outcome = exit_of(command, timeout).await;
        if outcome.is_err() == failed {
            continue;
        }
        failed = outcome.is_err();
        match outcome {
            Ok(()) => tracing::info!(program, "tracked command is well again"),
            Err(problem) => tracing::warn!(program, "tracked command {problem}"),
        }
        if !tell(add_of(&track, failed)).await {
            return;
        }
    }
}

async fn watch_file<F: Future<Output = bool>>(
    path: PathBuf,
    every: Duration,
    weight: i32,
    tell: impl Fn(i32) -> F,
) {
    let mut ticks = ticks(every);
    let mut known = 0;
    loop {
        ticks.tick().await;
        // On a thread of its own: a file may lie on a disk that hangs.
        let read = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || read_number(&path))
        };
        let number = match read.await {
            Ok(Ok(number)) => number,
            Ok(Err(problem)) => {
                tracing::warn!(path = %path.display(), "tracked file {problem}");
                0
            }
            Err(_) => return,
        };
        if number == known {
            continue;
        }
        tracing::info!(path = %path.display(), number, "tracked file has changed");
        known = number;
        if !tell(number.saturating_mul(weight)).await {
            return;
        }
    }
}

/// The number in the file; 0 without the file.
fn read_number(path: &Path) -> Result<i32, String> {
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Ok(0),
        Ok(text) => {
            let number = text.trim().parse::<i32>();
            let number = number.map_err(|_| "holds no number; write one such as `-20`".to_owned());
            number.map(|number| number.clamp(-254, 254))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset_at(Instant::now());
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_a_number_or_counts_as_zero() {
        let path = std::env::temp_dir().join(format!("catamaran-track-{}", std::process::id()));
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_number(&path)
        };
        assert_eq!(read("-20\n"), Ok(-20));
        assert_eq!(read(""), Ok(0));
        assert_eq!(read("99999"), Ok(254));
        assert!(read("ten").is_err());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read_number(&path), Ok(0));
    }

    #[tokio::test]
    async fn a_command_that_fails_or_hangs_is_told_from_one_that_passes() {
        let run = async |argv: &[&str]| {
            let mut command = Command::new(argv[0]);
            command.args(&argv[1..]).kill_on_drop(true);
            exit_of(command, Duration::from_millis(200)).await
        };
        assert_eq!(run(&["/bin/true"]).await, Ok(()));
        assert!(run(&["/bin/false"]).await.is_err());
        assert!(
            run(&["/bin/sleep", "60"])
                .await
                .unwrap_err()
                .contains("killed")
        );
        assert!(run(&["/no/such/program"]).await.is_err());
    }

    #[tokio::test]
    async fn what_a_command_started_ends_with_it_when_it_is_too_slow() {
        let (mut ours, theirs) = std::io::pipe().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 600 & wait"]).stdout(theirs);
        let outcome = exit_of(command, Duration::from_millis(200)).await;
        assert!(outcome.unwrap_err().contains("killed"));
        // Whoever still has its end would keep this from ending.
        let end =
            tokio::task::spawn_blocking(move || std::io::copy(&mut ours, &mut std::io::sink()));
        let end = tokio::time::timeout(Duration::from_secs(60), end).await;
        assert_eq!(end.unwrap().unwrap().unwrap(), 0);
    }
}
