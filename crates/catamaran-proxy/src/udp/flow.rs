//! One flow, as the listener's task and its own see it.
//!
//! The listener's task sends to the flow's server itself; what it cannot send goes to the backlog,
//! and the flow's task is woken to find a server for it.

use super::{BATCH, DRAIN_SILENCE, FlowKey, Received};
use crate::worker::{Slot, Worker};
use catamaran_core::Timestamp;
use catamaran_core::flow::Backlog;
use catamaran_core::health::Blame;
use catamaran_sys::socket::send_to_from;
use socket2::SockRef;
use std::cell::{Cell, RefCell};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::{Context, Waker};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// What a flow's socket is watched for. Linux reports that nobody listens as an error alone, not
/// as something to read.
pub(super) const TO_READ: Interest = Interest::READABLE.add(Interest::ERROR);

/// One client's datagrams and their answers.
#[derive(Debug)]
pub(super) struct Flow {
    /// The listener that it came by; a flow keeps no frontend, as a tunnel does not.
    pub(super) slot: Rc<Slot>,
    pub(super) key: FlowKey,
    /// The listener's socket, from which answers leave.
    listener: Rc<UdpSocket>,
    link: RefCell<Link>,
    /// When a datagram last went either way.
    last_datagram: Cell<Timestamp>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    is_evicted: Cell<bool>,
    /// Whether a drain no longer waits for it.
    is_let_go: Cell<bool>,
    /// The flow's task.
    waker: RefCell<Option<Waker>>,
}

/// The way to the server.
#[derive(Debug, Default)]
struct Link {
    /// Connected to the server; none while one is being chosen.
    socket: Option<Rc<UdpSocket>>,
    /// What waits for that. Empty while there is a socket.
    backlog: Backlog,
    /// Why the last socket was given up, until the flow's task has looked at it.
    error: Option<io::Error>,
}

impl Flow {
    pub(super) fn new(
        slot: Rc<Slot>,
        key: FlowKey,
        listener: Rc<UdpSocket>,
        now: Timestamp,
    ) -> Self {
        Self {
            slot,
            key,
            listener,
            link: RefCell::default(),
            last_datagram: Cell::new(now),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            is_evicted: Cell::new(false),
            is_let_go: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// Passes a datagram of the client on, or keeps it until there is a server.
    pub(super) fn forward(&self, worker: &Worker, datagram: &[u8], now: Timestamp) {
        self.last_datagram.set(now);
        add(&self.bytes_in, datagram.len());
        let mut link = self.link.borrow_mut();
        if let Some(socket) = &link.socket {
            match send(socket, datagram) {
                Ok(Sent::Yes) => return,
                Ok(Sent::Lost) => {
                    worker.metrics.datagrams_dropped.add_alone(1);
                    return;
                }
                Err(error) => {
                    link.socket = None;
                    link.error = Some(error);
                }
            }
        }
        if !link.backlog.push(datagram) {
            worker.metrics.datagrams_dropped.add_alone(1);
        }
        drop(link);
        self.wake();
    }

    /// Uses `socket` from now on; sends what has waited for it.
    pub(super) fn open(&self, worker: &Worker, socket: &Rc<UdpSocket>) {
        let mut link = self.link.borrow_mut();
        while let Some(datagram) = link.backlog.pop() {
            match send(socket, &datagram) {
                Ok(Sent::Yes) => {}
                Ok(Sent::Lost) => worker.metrics.datagrams_dropped.add_alone(1),
                Err(error) => {
                    link.backlog.push(&datagram);
                    link.error = Some(error);
                    return;
                }
            }
        }
        link.socket = Some(Rc::clone(socket));
    }

    /// Uses no socket until the next [`Self::open`].
    pub(super) fn close(&self) {
        let mut link = self.link.borrow_mut();
        link.socket = None;
        link.error = None;
    }

    /// Drops what still waits for a server.
    pub(super) fn drop_backlog(&self, worker: &Worker) {
        let backlog = std::mem::take(&mut self.link.borrow_mut().backlog);
        worker
            .metrics
            .datagrams_dropped
            .add_alone(backlog.len() as u64);
    }

    /// Takes the error for which [`Self::forward`] gave the socket up.
    pub(super) fn take_error(&self) -> Option<io::Error> {
        self.link.borrow_mut().error.take()
    }

    /// Whether datagrams wait for a server.
    pub(super) fn has_backlog(&self) -> bool {
        !self.link.borrow().backlog.is_empty()
    }

    /// Passes a batch of answers from `socket` to the client.
    pub(super) fn answer_batch(&self, worker: &Worker, socket: &UdpSocket) -> io::Result<Received> {
        let mut buffer = worker.buffers.large();
        let mut result = Ok(Received::Batch);
        for _ in 0..BATCH {
            let received = receive(socket, buffer.spare());
            match received {
                Ok(len) => self.answer(worker, &buffer.spare()[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    result = Ok(Received::All);
                    break;
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        worker.buffers.give_back(buffer);
        result
    }

    fn answer(&self, worker: &Worker, datagram: &[u8]) {
        let FlowKey { client, local, .. } = self.key;
        self.last_datagram.set(Worker::now());
        match send_to_from(self.listener.as_fd(), datagram, client, local) {
            Ok(sent) => add(&self.bytes_out, sent),
            Err(_) => worker.metrics.datagrams_dropped.add_alone(1),
        }
    }

    /// Ends the flow, which is no longer in the table.
    pub(super) fn evict(&self) {
        self.is_evicted.set(true);
        self.wake();
    }

    pub(super) fn is_evicted(&self) -> bool {
        self.is_evicted.get()
    }

    /// Whether nothing has gone either way for [`DRAIN_SILENCE`], and nothing waits to go.
    pub(super) fn is_silent(&self, now: Timestamp) -> bool {
        now.saturating_since(self.last_datagram.get()) >= DRAIN_SILENCE && !self.has_backlog()
    }

    /// Lets a drain end without this flow.
    pub(super) fn let_go(&self) {
        if !self.is_let_go.replace(true) {
            self.wake();
        }
    }

    pub(super) fn is_let_go(&self) -> bool {
        self.is_let_go.get()
    }

    /// When the flow ends if nothing comes any more.
    pub(super) fn idle_at(&self) -> Timestamp {
        self.last_datagram.get() + self.slot.frontend().model.timeouts.tunnel
    }

    /// Bytes from the client and to it.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.bytes_in.get(), self.bytes_out.get())
    }

    /// Wakes this task when something changes.
    pub(super) fn watch(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(known) => known.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// Receives from a connected socket what a server sent, or that it refused.
fn receive(socket: &UdpSocket, buf: &mut [u8]) -> io::Result<usize> {
    let mut read = || (&*SockRef::from(socket)).read(buf);
    // One interest at a time: tokio takes no socket for ready for two.
    match socket.try_io(Interest::READABLE, &mut read) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            socket.try_io(Interest::ERROR, read)
        }
        received => received,
    }
}

/// What became of a datagram.
enum Sent {
    Yes,
    /// It is lost, for a reason that says nothing of the server.
    Lost,
}

/// Sends on a connected socket. An error is the server's: it, or one before it, refused.
fn send(socket: &UdpSocket, datagram: &[u8]) -> io::Result<Sent> {
    match SockRef::from(socket).send(datagram) {
        Ok(_) => Ok(Sent::Yes),
        Err(error) if is_of_the_datagram(&error) => Ok(Sent::Lost),
        Err(error) => Err(error),
    }
}

/// Whether sending failed for the datagram's size, a filter of ours, or want of room.
fn is_of_the_datagram(error: &io::Error) -> bool {
    Blame::of_connect_error(error) == Blame::Ours
        || error.kind() == io::ErrorKind::PermissionDenied
        || error.raw_os_error() == Some(EMSGSIZE)
}

/// Linux's number for "message too long".
const EMSGSIZE: i32 = 90;

fn add(counter: &Cell<u64>, bytes: usize) {
    counter.set(counter.get() + bytes as u64);
}
