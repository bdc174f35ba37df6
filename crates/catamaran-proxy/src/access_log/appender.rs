//! A worker's end of the access log: formats lines into a buffer and hands it over when it is
//! full or old. Never waits.

use super::writer::{Batch, Shared};
use super::{Record, format};
use catamaran_core::Timestamp;
use catamaran_core::model::LogFormat;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

/// One worker's buffer before a [`super::Writer`]. Flushes itself when dropped.
#[derive(Debug)]
pub struct Appender {
    format: LogFormat,
    sender: SyncSender<Batch>,
    shared: Arc<Shared>,
    /// Whole lines.
    lines: Vec<u8>,
    /// Number of lines in `lines`.
    count: u64,
    /// When the first of `lines` came; `None` if there are none.
    since: Option<Timestamp>,
}

impl Appender {
    pub(super) const fn new(
        format: LogFormat,
        sender: SyncSender<Batch>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            format,
            sender,
            shared,
            lines: Vec::new(),
            count: 0,
            since: None,
        }
    }

    /// Adds a line. It is handed over with the batch it fills, or 100 ms later: see
    /// [`Self::poll_timeout`].
    pub fn append(&mut self, now: Timestamp, record: &Record<'_>) {
        if self.lines.capacity() == 0 {
            self.lines.reserve(BATCH_BYTES + LINE_ROOM);
        }
        format(record, self.format, &mut self.lines);
        self.count += 1;
        self.since.get_or_insert(now);
        if self.lines.len() >= BATCH_BYTES {
            self.flush();
        }
    }

    /// When [`Self::handle_timeout`] wants to be called; `None` while nothing waits.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.since.map(|since| since + MAX_DELAY)
    }

    /// Hands over what has waited long enough.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.poll_timeout().is_some_and(|due| now >= due) {
            self.flush();
        }
    }

    /// Hands over what waits. If the writer is so far behind that its queue is full, the lines are
    /// dropped and counted.
    pub fn flush(&mut self) {
        self.since = None;
        if self.lines.is_empty() {
            return;
        }
        let batch = Batch {
            lines: std::mem::take(&mut self.lines),
            count: std::mem::take(&mut self.count),
        };
        match self.sender.try_send(batch) {
            Ok(()) => {}
            Err(TrySendError::Full(mut batch) | TrySendError::Disconnected(mut batch)) => {
                self.shared.add_dropped(batch.count);
                batch.lines.clear();
                self.lines = batch.lines;
            }
        }
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Size at which a batch is handed over, about a hundred lines: each is one write. Chosen.
const BATCH_BYTES: usize = 16 * 1024;

/// Room for the line that fills a batch.
const LINE_ROOM: usize = 1024;

/// How long a line waits for its batch to fill. Chosen; a person watching does not notice.
const MAX_DELAY: Duration = Duration::from_millis(100);
