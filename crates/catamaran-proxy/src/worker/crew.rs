//! The threads of the workers: how many there are, and how many of them take clients.
//!
//! A worker that was started stays: when fewer are wanted it gives its listening sockets to others,
//! serves to the end what it has, and waits to be wanted again.

use super::{Command, Opened, Start, runtime, start};
use crate::proxy::StartError;
use crate::state::{Shared, lock};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::sync::mpsc;

/// The workers of a process.
#[derive(Debug)]
pub(crate) struct Crew {
    /// Workers with a thread: the first so many.
    started: AtomicUsize,
    /// Workers that take clients: the first so many of those.
    active: AtomicUsize,
    /// Whether some listener has fewer sockets than there are active workers.
    is_uneven: AtomicBool,
    threads: Mutex<Threads>,
}

#[derive(Debug)]
struct Threads {
    /// The commands of workers without a thread, in their order.
    spare: VecDeque<mpsc::UnboundedReceiver<Command>>,
    running: Vec<JoinHandle<()>>,
    /// The processor for each of the first workers.
    cpus: Vec<usize>,
}

impl Crew {
    pub(crate) fn new(commands: Vec<mpsc::UnboundedReceiver<Command>>, cpus: Vec<usize>) -> Self {
        Self {
            started: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            is_uneven: AtomicBool::new(false),
            threads: Mutex::new(Threads {
                spare: commands.into(),
                running: Vec::new(),
                cpus,
            }),
        }
    }

    /// Whether connections are to be shared out evenly by hand, since sockets alone do not.
    pub(crate) fn is_uneven(&self) -> bool {
        self.is_uneven.load(Ordering::Relaxed)
    }

    pub(crate) fn set_uneven(&self, is_uneven: bool) {
        self.is_uneven.store(is_uneven, Ordering::Relaxed);
    }
}

impl Shared {
    /// Workers that have a thread, whether or not they take clients now: the first so many.
    pub fn started_workers(&self) -> usize {
        self.crew.started.load(Ordering::Acquire)
    }

    /// Workers that take clients: the first so many.
    pub fn active_workers(&self) -> usize {
        self.crew.active.load(Ordering::Acquire)
    }

    /// Workers that there may come to be.
    pub const fn max_workers(&self) -> usize {
        self.commands.len()
    }

    /// Has the first `count` workers, and no others, be those that take clients; starts those that
    /// have no thread yet, each with its part of `opened`.
    pub(crate) fn start_workers(
        self: &Arc<Self>,
        count: usize,
        opened: Vec<Vec<Opened>>,
    ) -> Result<(), StartError> {
        let mut threads = lock(&self.crew.threads);
        let begin = self.started_workers();
        // All of them before the first one accepts and could use the descriptors up.
        let runtimes = (begin..count).map(|_| runtime());
        let runtimes: Vec<_> = runtimes
            .collect::<Result<_, _>>()
            .map_err(StartError::Thread)?;
        let mut opened = opened.into_iter();
        // Before any of them looks at its neighbours.
        for index in begin..count {
            self.pulses[index].beat(super::Worker::now());
        }
        for (index, runtime) in (begin..count).zip(runtimes) {
            let Some(commands) = threads.spare.pop_front() else {
                break;
            };
            let parts = Start {
                index,
                shared: Arc::clone(self),
                opened: opened.next().unwrap_or_default(),
                commands,
                cpu: threads.cpus.get(index).copied(),
            };
            let thread = start(parts, runtime).map_err(StartError::Thread)?;
            threads.running.push(thread);
            self.crew.started.store(index + 1, Ordering::Release);
        }
        self.crew.active.store(count, Ordering::Release);
        Ok(())
    }

    /// The threads, to be waited for.
    pub(crate) fn take_threads(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut lock(&self.crew.threads).running)
    }
}
