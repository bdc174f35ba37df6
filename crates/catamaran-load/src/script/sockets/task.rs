//! One open socket: what the script holds of it, and the task that reads and writes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use catamaran_sys::clock::now_nanos;
use rquickjs_core::{Ctx, Exception, Result};
use tokio::sync::{Mutex, mpsc};
use tokio::task::AbortHandle;

use crate::client::Failure;
use crate::client::websocket::{Event, FrameError, Opcode, WebSocket, close_payload};
use crate::engine::Local;
use crate::metric::{MetricId, builtin};
use crate::sink::as_f64;
use crate::tags::TagsId;

/// One open socket, as the script holds it.
pub(super) struct Socket {
    commands: mpsc::UnboundedSender<Command>,
    pub(super) events: Mutex<mpsc::Receiver<Happened>>,
    pub(super) state: Rc<State>,
    driver: AbortHandle,
}

/// What socket and task share.
pub(super) struct State {
    pub(super) local: Rc<Local>,
    pub(super) tags: TagsId,
    pub(super) begun: u64,
    pub(super) sent: Cell<u64>,
    pub(super) received: Cell<u64>,
    /// Bytes that wait to be sent.
    pub(super) waiting: Cell<usize>,
    /// Messages and control frames that do.
    pub(super) queued: Cell<usize>,
    /// Whether it is of `k6/websockets`, whose pings and closes count as messages in k6, and whose
    /// samples have the tag `name`.
    pub(super) is_newer: bool,
    /// Pings under way: what they carry, and when they went out.
    pub(super) pings: RefCell<HashMap<Vec<u8>, u64>>,
    pub(super) is_closing: Cell<bool>,
}

/// What the script wants sent.
struct Command {
    opcode: Opcode,
    payload: Vec<u8>,
}

/// What the script is told.
#[derive(Debug)]
pub(super) enum Happened {
    Event(Event),
    /// A pong after so many milliseconds.
    Pong(f64),
    Failed(String),
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.driver.abort();
        let state = &self.state;
        let took = as_f64(now_nanos() - state.begun) / 1e6;
        state.record(builtin::WS_SESSION_DURATION, took);
        state.record(builtin::DATA_SENT, as_f64(state.sent.get()));
        state.record(builtin::DATA_RECEIVED, as_f64(state.received.get()));
    }
}

impl State {
    pub(super) fn record(&self, metric: MetricId, value: f64) {
        self.local.record(metric, self.tags, value);
    }

    fn note_pong(&self, payload: &[u8]) -> f64 {
        let sent = self.pings.borrow_mut().remove(payload);
        let took = sent.map_or(0.0, |sent| as_f64(now_nanos() - sent) / 1e6);
        if sent.is_some() {
            self.record(builtin::WS_PING, took);
        }
        took
    }
}

/// Begins the task of a socket.
pub(super) fn start(socket: WebSocket, state: Rc<State>) -> Socket {
    let (commands, to_send) = mpsc::unbounded_channel();
    let (tell, events) = mpsc::channel(MAX_EVENTS);
    let pongs = commands.clone();
    let shared = Rc::clone(&state);
    let task = tokio::task::spawn_local(async move {
        let outbox = socket.outbox();
        let write = async {
            let mut to_send: mpsc::UnboundedReceiver<Command> = to_send;
            while let Some(command) = to_send.recv().await {
                let len = outbox.send(command.opcode, &command.payload).await?;
                shared
                    .waiting
                    .set(shared.waiting.get().saturating_sub(command.payload.len()));
                shared.queued.set(shared.queued.get() - 1);
                shared.sent.set(shared.sent.get() + len);
                let is_message = matches!(command.opcode, Opcode::Text | Opcode::Binary);
                if is_message || (shared.is_newer && command.opcode != Opcode::Pong) {
                    shared.record(builtin::WS_MSGS_SENT, 1.0);
                }
                if command.opcode == Opcode::Close {
                    // Whoever closes waits for the other side to do so, but not for ever.
                    tokio::time::sleep(CLOSE_TIMEOUT).await;
                    return Err(Failure::Timeout);
                }
            }
            Ok(())
        };
        let ended = tokio::select! {
            biased;
            ended = read(socket, &shared, &pongs, &tell) => ended,
            ended = write => ended,
        };
        let code = match ended {
            Ok(()) => return,
            Err(_) if shared.is_closing.get() => ABNORMAL,
            // The close without a word is told of by the module.
            Err(Failure::Closed | Failure::Reset) => ABNORMAL,
            Err(failure) => {
                let text = failure.to_string();
                let told = tell.send(Happened::Failed(text)).await;
                // Whoever does not listen any more has gone.
                drop(told);
                ABNORMAL
            }
        };
        let last = Event::Close(code, "unexpected EOF".to_owned());
        drop(tell.send(Happened::Event(last)).await);
    });
    Socket {
        commands,
        events: Mutex::new(events),
        state,
        driver: task.abort_handle(),
    }
}

/// Reads until the end, which the server's close is.
async fn read(
    mut socket: WebSocket,
    state: &State,
    answers: &mpsc::UnboundedSender<Command>,
    tell: &mpsc::Sender<Happened>,
) -> std::result::Result<(), Failure> {
    let outbox = socket.outbox();
    loop {
        let mut received = 0;
        let event = socket.next(&mut received).await;
        state.received.set(state.received.get() + received);
        let event = match event {
            Ok(event) => event,
            Err(failure) => {
                let payload = close_payload(failure_code(&failure), "");
                // The server may have gone, which is what is told then.
                let sent = outbox.send(Opcode::Close, &payload).await;
                drop(sent);
                return Err(failure);
            }
        };
        let is_over = matches!(event, Event::Close(..));
        let happened = match event {
            Event::Pong(payload) => Happened::Pong(state.note_pong(&payload)),
            Event::Ping(payload) => {
                // Of many pings the last may be answered alone (RFC 6455 §5.5.3); a server that does not read is
                // owed none.
                if state.queued.get() < MAX_PONGS {
                    state.queued.set(state.queued.get() + 1);
                    state.waiting.set(state.waiting.get() + payload.len());
                    // The writing half lives as long as this one.
                    let _ = answers.send(Command {
                        opcode: Opcode::Pong,
                        payload: payload.clone(),
                    });
                }
                Happened::Event(Event::Ping(payload))
            }
            Event::Close(code, reason) => {
                if !state.is_closing.get() {
                    let payload = close_payload(code, "");
                    let payload = if code == NO_CODE { Vec::new() } else { payload };
                    outbox.send(Opcode::Close, &payload).await?;
                }
                Happened::Event(Event::Close(code, reason))
            }
            message => {
                state.record(builtin::WS_MSGS_RECEIVED, 1.0);
                Happened::Event(message)
            }
        };
        let is_heard = tell.send(happened).await.is_ok();
        if is_over || !is_heard {
            return Ok(());
        }
    }
}

/// What the connection is closed with after a failure.
fn failure_code(failure: &Failure) -> u16 {
    match failure {
        Failure::Frame(error) => FrameError::close_code(error),
        _ => GOING_AWAY,
    }
}

impl Socket {
    pub(super) fn send(&self, ctx: &Ctx<'_>, opcode: Opcode, payload: Vec<u8>) -> Result<()> {
        let waiting = self.state.waiting.get() + payload.len();
        let queued = self.state.queued.get() + 1;
        if waiting > MAX_WAITING || queued > MAX_QUEUED {
            let text = format!(
                "more than {MAX_WAITING} bytes or {MAX_QUEUED} messages wait to be sent; the server does not read"
            );
            return Err(Exception::throw_range(ctx, &text));
        }
        // Of a socket that has ended the script is told by its last event.
        if self.commands.send(Command { opcode, payload }).is_ok() {
            self.state.waiting.set(waiting);
            self.state.queued.set(queued);
        }
        Ok(())
    }
}

/// Events that wait for the script; the server is not read from beyond.
const MAX_EVENTS: usize = 1024;
/// Bytes that wait to be sent on one socket.
const MAX_WAITING: usize = 256 * 1024 * 1024;
/// Messages that wait on one socket; empty ones have no bytes.
const MAX_QUEUED: usize = 1_000_000;
/// Frames that wait when pings are not answered any more.
const MAX_PONGS: usize = 1000;
/// How long the server has to close when it was asked to.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Closed without a word.
pub(super) const ABNORMAL: u16 = 1006;
/// Closed without a code.
const NO_CODE: u16 = 1005;
/// Closed because this end has no more use for it.
const GOING_AWAY: u16 = 1001;
