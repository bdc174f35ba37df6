//! The log writer: one thread per target, fed through a bounded queue.
//!
//! Whatever the target does (a full disk, a reader of our pipe that sleeps, a syslog daemon that
//! hangs) is this thread's trouble only: workers hand over by `try_send`, and what finds the queue
//! full is dropped and counted.

use super::Appender;
use super::sink::Sink;
use catamaran_core::model::{LogFormat, LogTarget};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A running log writer.
///
/// The thread lives as long as this or one of its [`Appender`]s, unless stopped. Shared by
/// reference: the control plane reopens and stops it, anyone reads its counts.
#[derive(Debug)]
pub struct Writer {
    sender: SyncSender<Batch>,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// Lines on their way to the writer.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Whole lines; empty only wakes the writer.
    pub(super) lines: Vec<u8>,
    /// Number of lines.
    pub(super) count: u64,
}

/// What workers, control plane and writer share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Lines that found the queue full.
    dropped: AtomicU64,
    /// Lines of batches that the target refused.
    failed: AtomicU64,
    reopen: AtomicBool,
    stop: AtomicBool,
}

impl Shared {
    pub(super) fn add_dropped(&self, lines: u64) {
        self.dropped.fetch_add(lines, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl Writer {
    /// Opens `target` and starts the thread that writes it.
    ///
    /// # Errors
    /// If the file or socket cannot be opened, or the thread not be started. A syslog daemon that
    /// does not listen yet is no error.
    pub fn start(target: &LogTarget) -> io::Result<Self> {
        let sink = Sink::open(target)?;
        let shared = Arc::new(Shared::default());
        let (sender, queue) = sync_channel(QUEUED_BATCHES);
        let task = Task {
            sink,
            shared: Arc::clone(&shared),
            last_report: None,
            reported_drops: 0,
        };
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || task.run(&queue))?;
        Ok(Self {
            sender,
            shared,
            thread,
        })
    }

    /// Makes the end that a worker appends to.
    #[must_use]
    pub fn appender(&self, format: LogFormat) -> Appender {
        Appender::new(format, self.sender.clone(), Arc::clone(&self.shared))
    }

    /// Opens the file anew by its name before the next line (SIGUSR1 after log rotation).
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        self.wake();
    }

    /// Lines dropped so far because the target was too slow.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped()
    }

    /// Lines lost so far, at most, because the target could not be written.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.shared.failed()
    }

    /// Writes what was handed over and ends the thread, waiting `patience` at most. Returns
    /// whether it ended. Stop the workers first: lines that come after it has are dropped.
    #[must_use]
    pub fn stop(&self, patience: Duration) -> bool {
        self.shared.stop.store(true, Ordering::Release);
        self.wake();
        let since = Instant::now();
        while !self.thread.is_finished() && since.elapsed() < patience {
            std::thread::sleep(STOP_POLL);
        }
        self.thread.is_finished()
    }

    /// Makes an idle writer look at its flags; one whose queue is full is not idle.
    fn wake(&self) {
        let _ = self.sender.try_send(Batch::default());
    }
}

/// What the thread owns.
struct Task {
    sink: Sink,
    shared: Arc<Shared>,
    /// When trouble was last logged.
    last_report: Option<Instant>,
    /// Drops logged so far.
    reported_drops: u64,
}

impl Task {
    fn run(mut self, queue: &Receiver<Batch>) {
        while let Ok(batch) = queue.recv() {
            self.handle(&batch);
            if self.shared.stop.load(Ordering::Acquire) {
                while let Ok(batch) = queue.try_recv() {
                    self.handle(&batch);
                }
                return;
            }
        }
    }

    fn handle(&mut self, batch: &Batch) {
        if self.shared.reopen.swap(false, Ordering::AcqRel)
            && let Err(error) = self.sink.reopen()
        {
            self.report(&error);
        }
        if batch.lines.is_empty() {
            return;
        }
        match self.sink.write(&batch.lines) {
            Ok(()) => self.report_drops(),
            Err(error) => {
                self.shared.failed.fetch_add(batch.count, Ordering::Relaxed);
                self.report(&error);
            }
        }
    }

    fn report(&mut self, error: &io::Error) {
        if self.may_report() {
            let failed = self.shared.failed();
            tracing::error!(%error, failed, "access log cannot be written");
        }
    }

    fn report_drops(&mut self) {
        let dropped = self.shared.dropped();
        if dropped > self.reported_drops && self.may_report() {
            self.reported_drops = dropped;
            tracing::warn!(
                dropped,
                "access log lines were dropped, its target is too slow"
            );
        }
    }

    /// Whether trouble may be logged now: once a minute.
    fn may_report(&mut self) -> bool {
        let due = self
            .last_report
            .is_none_or(|last| last.elapsed() >= REPORT_INTERVAL);
        if due {
            self.last_report = Some(Instant::now());
        }
        due
    }
}

/// Batches that wait for the writer: 4 MiB of lines, more than a second of 10,000 requests a
/// second. Chosen.
const QUEUED_BATCHES: usize = 256;

/// How often a stop looks whether the thread has ended: joining it could wait for ever. Chosen.
const STOP_POLL: Duration = Duration::from_millis(2);

/// Least time between two reports of trouble. Chosen.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);
