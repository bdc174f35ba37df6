//! Exchanges that were sampled, on their way from the workers to who sends them away.

use super::{Metered, lock};
use crate::trace::Record;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

/// The queue of all workers. It never makes one wait: what finds it full is dropped and counted.
#[derive(Debug)]
pub struct Spans {
    sender: mpsc::UnboundedSender<Box<Record>>,
    receiver: Mutex<Option<mpsc::UnboundedReceiver<Box<Record>>>>,
    /// Exchanges that wait, those included that were taken and are not done with.
    waiting: AtomicUsize,
    /// How many may.
    max: AtomicUsize,
    /// Exchanges that found it full.
    pub dropped: Metered,
    /// Exchanges that were not sampled because as many were as may be.
    pub limited: Metered,
}

/// The end of the queue that exchanges are taken from. Dropped, it can be had again.
#[derive(Debug)]
pub struct SpansTaker {
    spans: Arc<Spans>,
    /// Always there but while it is dropped.
    receiver: Option<mpsc::UnboundedReceiver<Box<Record>>>,
    /// Exchanges that were taken and are not done with.
    taken: usize,
}

impl Spans {
    pub(crate) fn new() -> Arc<Self> {
        let (sender, receiver) = mpsc::unbounded_channel();
        Arc::new(Self {
            sender,
            receiver: Mutex::new(Some(receiver)),
            waiting: AtomicUsize::new(0),
            max: AtomicUsize::new(0),
            dropped: Metered::new(),
            limited: Metered::new(),
        })
    }

    /// The end that exchanges are taken from; there is one at a time.
    pub fn taker(self: &Arc<Self>) -> Option<SpansTaker> {
        let receiver = lock(&self.receiver).take()?;
        Some(SpansTaker {
            spans: Arc::clone(self),
            receiver: Some(receiver),
            taken: 0,
        })
    }

    /// Exchanges that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    pub(crate) fn push(&self, record: Box<Record>) {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let has_room = before < self.max.load(Ordering::Relaxed);
        if !has_room || self.sender.send(record).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped.add(1);
        }
    }
}

impl SpansTaker {
    /// Waits for exchanges and adds them to `batch`, at most so many. They count as waiting until
    /// [`Self::done`].
    pub async fn take(&mut self, batch: &mut Vec<Box<Record>>, most: usize) {
        let count = match &mut self.receiver {
            Some(receiver) => receiver.recv_many(batch, most).await,
            None => 0,
        };
        self.taken += count;
        if count == 0 && most > 0 {
            // Nobody is left who could send any.
            std::future::pending::<()>().await;
        }
    }

    /// Takes note that what was taken waits no more.
    pub fn done(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        self.spans.waiting.fetch_sub(taken, Ordering::Relaxed);
    }
}

impl Drop for SpansTaker {
    fn drop(&mut self) {
        self.done();
        *lock(&self.spans.receiver) = self.receiver.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Request;
    use catamaran_core::Timestamp;
    use catamaran_core::trace::{Beginning, Ratio, SpanId};

    fn record() -> Box<Record> {
        let mut rng = fastrand::Rng::new();
        let beginning = Beginning::of(None, false, Ratio::ALL, &mut rng);
        let request = Request {
            method: "GET".into(),
            path: "/".into(),
            authority: "a".into(),
            user_agent: None,
            version: "1.1",
            client: [127, 0, 0, 1].into(),
            peer: ([127, 0, 0, 1], 1).into(),
            state: "".into(),
        };
        let span_id = SpanId::random(&mut rng);
        Box::new(Record::new(&beginning, span_id, Timestamp::ZERO, request))
    }

    #[tokio::test]
    async fn what_finds_the_queue_full_is_dropped_and_counted() {
        let spans = Spans::new();
        spans.push(record());
        assert_eq!((spans.waiting(), spans.dropped.total()), (0, 1));
        spans.set_max(3);
        for _ in 0..5 {
            spans.push(record());
        }
        assert_eq!((spans.waiting(), spans.dropped.total()), (3, 3));
        let mut taker = spans.taker().unwrap();
        assert!(spans.taker().is_none());
        let mut batch = Vec::new();
        taker.take(&mut batch, 2).await;
        assert_eq!((batch.len(), spans.waiting()), (2, 3));
        spans.push(record());
        assert_eq!(spans.dropped.total(), 4);
        taker.done();
        spans.push(record());
        assert_eq!((spans.waiting(), spans.dropped.total()), (2, 4));
        taker.take(&mut batch, 1).await;
        drop(taker);
        assert_eq!(spans.waiting(), 1, "what was taken is not waited for");
        assert!(spans.taker().is_some());
    }
}
