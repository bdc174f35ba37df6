//! One run of a load generator, pinned to its core, and what it cost.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use catamaran_testkit::Usage;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::bench::cores::CoreTime;

/// The core that generators run on; the origin has the other one.
const CORE: &str = "1";
/// How often the memory of a run is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Beyond what it was told to take, a run may take this long.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a process used from its start to its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Cost {
    /// CPU seconds in user mode and in the kernel, to the tick.
    pub(super) user: f64,
    pub(super) system: f64,
    /// Seconds from start to end.
    pub(super) elapsed: f64,
    /// The most resident memory.
    pub(super) peak_bytes: f64,
    /// How resident memory grew from [`Order::settled`] to shortly before the end.
    pub(super) grown_bytes: f64,
    /// Time that the host gave the cores to others, 0 to 1.
    pub(super) stolen: f64,
    pub(super) stdout: String,
}

impl Cost {
    /// CPU seconds in all.
    pub(super) fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

/// A process to run.
pub(super) struct Order<'a> {
    pub(super) program: &'a Path,
    pub(super) words: Vec<String>,
    pub(super) directory: &'a Path,
    /// How long it will run, about.
    pub(super) expected: Duration,
    /// From when on memory should not grow any more, since the start.
    pub(super) settled: Duration,
}

/// Runs it to its end.
pub(super) fn run(order: &Order<'_>) -> Result<Cost> {
    let (stdout, stderr) = (
        order.directory.join("stdout"),
        order.directory.join("stderr"),
    );
    let cores = CoreTime::now()?;
    let begin = Instant::now();
    let child = Command::new("taskset")
        .args(["-c", CORE])
        .arg(order.program)
        .args(&order.words)
        .current_dir(order.directory)
        .stdin(Stdio::null())
        .stdout(File::create(&stdout)?)
        .stderr(File::create(&stderr)?)
        .spawn()
        .context("taskset (util-linux) is needed to pin the generators")?;
    let mut cost = watch(child, order, begin)
        .with_context(|| fs::read_to_string(&stderr).unwrap_or_default())?;
    cost.elapsed = begin.elapsed().as_secs_f64();
    cost.stolen = CoreTime::now()?.stolen_since(&cores);
    cost.stdout = fs::read_to_string(&stdout)?;
    Ok(cost)
}

/// Looks at a process until it has ended, and takes its last figures before it is forgotten.
fn watch(mut child: Child, order: &Order<'_>, begin: Instant) -> Result<Cost> {
    let number = i32::try_from(child.id())?;
    let pid = Pid::from_raw(number).context("a process has a number")?;
    let mut cost = Cost::default();
    let mut settled = None;
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    while waitid(WaitId::Pid(pid), ended)?.is_none() {
        if begin.elapsed() > order.expected + PATIENCE {
            child.kill().ok();
            child.wait().ok();
            bail!("it does not end");
        }
        if let Some(memory) = Memory::of(number) {
            cost.peak_bytes = cost.peak_bytes.max(memory.peak);
            if begin.elapsed() >= order.settled {
                let settled = *settled.get_or_insert(memory.now);
                // What is added while the summary is made is no growth of the run.
                if begin.elapsed() < order.expected {
                    cost.grown_bytes = memory.now - settled;
                }
            }
        }
        thread::sleep(LOOK);
    }
    let usage = Usage::of(child.id())?;
    let status = child.wait()?;
    if !status.success() {
        bail!("it failed with {status}");
    }
    cost.user = usage.user.as_secs_f64();
    cost.system = usage.system.as_secs_f64();
    Ok(cost)
}

/// Resident memory by `/proc/PID/status`, in bytes.
struct Memory {
    now: f64,
    peak: f64,
}

impl Memory {
    fn of(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let kilobytes = |name: &str| -> Option<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches(" kB").parse().ok()
        };
        Some(Self {
            now: kilobytes("VmRSS:")? * 1024.0,
            peak: kilobytes("VmHWM:")? * 1024.0,
        })
    }
}
