//! No false alarms: both cores are busy with other things all the time, more of them than there are
//! cores, and the address stays where it is.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::setpriority_process;

use super::super::lab::{Lab, Running};
use super::super::pair;
use super::{V4, V4_NET, V6_NET};
use crate::shell;

/// Runs it: for half an hour in full.
pub(super) fn run(program: &str) -> Result<()> {
    let time = Duration::from_secs(if pair::is_full() { 1800 } else { 10 });
    let lab = Lab::new(&["one", "two"])?;
    let _servers = [
        pair::start_server(&lab, program, "one")?,
        pair::start_server(&lab, program, "two")?,
    ];
    let start = |machine, priority| {
        let addresses = [V4_NET, V6_NET];
        pair::start_balancer(&lab, program, machine, priority, &addresses, "")
    };
    let one = start("one", 150)?;
    lab.wait_for_holder("one", V4)?;
    let two = start("two", 100)?;
    pair::wait_for_backup(&two)?;
    let before = changes(&one)? + changes(&two)?;
    saturate(|| {
        let end = Instant::now() + time;
        while Instant::now() < end {
            // Looking all the time would be part of the load; the logs tell of every change.
            let is_steady = lab.stays("one", V4, Duration::from_millis(100));
            is_steady.with_context(|| {
                let texts = [&one, &two].map(|node| node.text().unwrap_or_default());
                texts.concat()
            })?;
            thread::sleep(Duration::from_millis(400));
        }
        Ok(())
    })?;
    let changes = changes(&one)? + changes(&two)? - before;
    shell::say(&format!(
        "both cores busy for {} s at the default interval: {changes} transitions",
        time.as_secs()
    ));
    ensure!(changes == 0, "{}{}", one.text()?, two.text()?);
    Ok(())
}

/// Does `work` while every core has two threads more than it can serve.
fn saturate(work: impl FnOnce() -> Result<()>) -> Result<()> {
    let is_over = AtomicBool::new(false);
    let cores = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        for _ in 0..2 * cores {
            scope.spawn(|| {
                // Of this thread alone. Whoever else works here is to get on with it.
                let _ = setpriority_process(None, 10);
                while !is_over.load(Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let result = work();
        is_over.store(true, Relaxed);
        result
    })
}

/// How many changes of state a node has written of.
fn changes(node: &Running) -> Result<usize> {
    Ok(node.text()?.matches(" -> ").count())
}
