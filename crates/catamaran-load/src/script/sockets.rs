//! WebSockets of scripts: the functions behind `k6/ws` and `k6/websockets`.
//!
//! Each open socket has a task that reads and writes; the script hands it what to send, and takes one
//! event after the other from it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use catamaran_sys::clock::now_nanos;
use rquickjs_core::{Array, Ctx, Exception, IntoJs, Object, Result, Value};
use tokio::sync::{Mutex, mpsc};
use tokio::task::AbortHandle;

use super::host::{Host, Natives, Outcome, SystemTag, buffer, millis, must_run, wait};
use super::http::{self, Ask, Keep, Reply};
use super::seam;
use crate::client::websocket::{
    Event, FrameError, Handshake, Opcode, WebSocket, close_payload, http_url,
};
use crate::client::{Alpn, Connection, Endpoint, Failure, ProxyHeader, Url, set_timeout};
use crate::engine::Local;
use crate::metric::{MetricId, builtin};
use crate::sink::as_f64;
use crate::tags::TagsId;

/// The sockets of one virtual user, by number.
#[derive(Default)]
pub(super) struct Sockets {
    open: HashMap<u32, Rc<Socket>>,
    last: u32,
}

/// One open socket, as the script holds it.
struct Socket {
    commands: mpsc::UnboundedSender<Command>,
    events: Mutex<mpsc::Receiver<Happened>>,
    state: Rc<State>,
    driver: AbortHandle,
}

/// What socket and task share.
struct State {
    local: Rc<Local>,
    tags: TagsId,
    begun: u64,
    sent: Cell<u64>,
    received: Cell<u64>,
    /// Bytes that wait to be sent.
    waiting: Cell<usize>,
    /// Whether it is of `k6/websockets`, whose pings and closes count as messages in k6, and whose
    /// samples have the tag `name`.
    is_newer: bool,
    /// Pings under way: what they carry, and when they went out.
    pings: RefCell<HashMap<Vec<u8>, u64>>,
    is_closing: Cell<bool>,
}

/// What the script wants sent.
struct Command {
    opcode: Opcode,
    payload: Vec<u8>,
}

/// What the script is told.
#[derive(Debug)]
enum Happened {
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
    fn record(&self, metric: MetricId, value: f64) {
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

impl Host {
    fn socket(&self, number: u32) -> Option<Rc<Socket>> {
        self.sockets.borrow().open.get(&number).map(Rc::clone)
    }

    fn add_socket(&self, socket: Socket) -> u32 {
        let mut sockets = self.sockets.borrow_mut();
        sockets.last += 1;
        let number = sockets.last;
        sockets.open.insert(number, Rc::new(socket));
        number
    }
}

/// Shakes hands, and records that. Returns the answer and the socket's number, if there is one.
async fn connect(host: &Rc<Host>, ask: &Ask, is_newer: bool) -> (Reply, Option<u32>) {
    let begin = now_nanos();
    let timeout = u64::try_from(ask.timeout.as_nanos()).unwrap_or(u64::MAX / 4);
    let mut reply = Reply {
        url: ask.url.clone(),
        keep: Keep::Text,
        ..Reply::default()
    };
    let mut moved = (0, 0);
    let work = shake_hands(host, ask, &mut reply, &mut moved);
    let opened = set_timeout(begin.saturating_add(timeout), work).await;
    let tags = tags_of(host, ask, &reply, is_newer);
    let connecting = as_f64(now_nanos() - begin) / 1e6;
    host.local.record(builtin::WS_SESSIONS, tags, 1.0);
    host.local.record(builtin::WS_CONNECTING, tags, connecting);
    let state = Rc::new(State {
        local: Rc::clone(&host.local),
        tags,
        begun: begin,
        sent: Cell::new(moved.0),
        received: Cell::new(moved.1),
        waiting: Cell::new(0),
        pings: RefCell::default(),
        is_newer,
        is_closing: Cell::new(false),
    });
    match opened {
        Ok(socket) => {
            let number = host.add_socket(start(socket, state));
            (reply, Some(number))
        }
        Err(failure) => {
            if !is_newer {
                state.record(builtin::WS_SESSION_DURATION, connecting);
            }
            reply.error = failure.to_string();
            reply.code = failure.code();
            (reply, None)
        }
    }
}

async fn shake_hands(
    host: &Rc<Host>,
    ask: &Ask,
    reply: &mut Reply,
    moved: &mut (u64, u64),
) -> std::result::Result<WebSocket, Failure> {
    let invalid = |why: String| Failure::WebSocket(why);
    let url = handshake_url(&ask.url).map_err(invalid)?;
    let mut fields = ask.fields.clone();
    let cookies = http::cookies(host, ask, &url);
    if !cookies.is_empty() {
        fields.push(("Cookie".to_owned(), cookies));
    }
    let handshake = Handshake::new(&url, &fields, &host.settings.user_agent);
    let handshake = handshake.map_err(|error| invalid(error.to_string()))?;
    let addr = http::resolve(host, &url).await?;
    reply.remote = Some(addr);
    let opened = Connection::open(&Endpoint::Tcp(addr), ProxyHeader::None).await?;
    let mut connection = opened.connection;
    if url.is_tls {
        let tls = host.settings.tls.client(&url.host)?;
        connection = connection.secure(tls, &url.host, Alpn::Http1).await?;
        reply.agreed = connection.agreed();
    }
    let shaken = WebSocket::shake_hands(connection, &handshake).await?;
    *moved = shaken.moved;
    reply.status = shaken.status;
    reply.head = shaken.head;
    reply.body = shaken.rest;
    http::take_cookies(host, ask, &url, reply);
    shaken.socket
}

/// The URL of the handshake.
fn handshake_url(text: &str) -> std::result::Result<Url, String> {
    let url = http_url(text).map_err(|error| error.to_string())?;
    Url::parse(&url).map_err(|error| error.to_string())
}

fn tags_of(host: &Host, ask: &Ask, reply: &Reply, is_newer: bool) -> TagsId {
    let own = || ask.tags.chunks_exact(2);
    let name = own().find(|pair| pair[0] == "name");
    let name = name.map(|pair| pair[1].as_str());
    let url = name.unwrap_or(&ask.url);
    let name = name.or_else(|| is_newer.then_some(url));
    let status = reply.status.to_string();
    let subproto = reply.field("sec-websocket-protocol").next();
    let subproto = (reply.status > 0).then(|| subproto.unwrap_or_default());
    let ip = reply.remote.map(|addr| addr.ip().to_string());
    let system = [
        (SystemTag::Name, "name", name),
        (SystemTag::Url, "url", Some(url)),
        (
            SystemTag::Status,
            "status",
            Some(status.as_str()).filter(|_| reply.status > 0),
        ),
        (SystemTag::Subproto, "subproto", subproto),
        (SystemTag::Ip, "ip", ip.as_deref()),
    ];
    let system = system.into_iter().filter_map(|(tag, name, value)| {
        value.filter(|_| host.has(tag)).map(|value| (name, value))
    });
    host.tags(system.chain(own().map(|pair| (pair[0].as_str(), pair[1].as_str()))))
}

/// Begins the task of a socket.
fn start(socket: WebSocket, state: Rc<State>) -> Socket {
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
                let opcode = Opcode::Pong;
                // The writing half lives as long as this one.
                let _ = answers.send(Command {
                    opcode,
                    payload: payload.clone(),
                });
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

/// Waits for the next event of a socket; `None` of one that has none any more.
async fn next(socket: Rc<Socket>) -> Option<Happened> {
    socket.events.lock().await.recv().await
}

/// An event as the script's module takes it: a name and what belongs to it.
fn event_into_js<'js>(ctx: &Ctx<'js>, happened: Option<Happened>) -> Result<Value<'js>> {
    let bytes = |bytes: Vec<u8>| Ok::<_, rquickjs_core::Error>(buffer(ctx, bytes)?.into_value());
    let list = Array::new(ctx.clone())?;
    let (name, value) = match happened {
        Some(Happened::Event(Event::Text(text))) => ("message", text.into_js(ctx)?),
        Some(Happened::Event(Event::Binary(data))) => ("binary", bytes(data)?),
        Some(Happened::Event(Event::Ping(data) | Event::Pong(data))) => ("ping", bytes(data)?),
        Some(Happened::Pong(millis)) => ("pong", millis.into_js(ctx)?),
        Some(Happened::Failed(text)) => ("error", text.into_js(ctx)?),
        Some(Happened::Event(Event::Close(code, reason))) => {
            list.set(2, reason)?;
            ("close", code.into_js(ctx)?)
        }
        None => ("close", ABNORMAL.into_js(ctx)?),
    };
    list.set(0, name)?;
    list.set(1, value)?;
    Ok(list.into_value())
}

fn connected_into_js<'js>(ctx: &Ctx<'js>, reply: Reply, number: Option<u32>) -> Result<Value<'js>> {
    let list = Array::new(ctx.clone())?;
    list.set(0, http::into_js(ctx, reply)?)?;
    list.set(1, number)?;
    Ok(list.into_value())
}

pub(super) fn install<'js>(natives: &Natives<'_, 'js>) -> Result<()> {
    install_opening(natives)?;
    install_events(natives)?;
    install_sending(natives)
}

fn install_opening<'js>(natives: &Natives<'_, 'js>) -> Result<()> {
    let own = Rc::clone(natives.host);
    natives.add(
        "socketOpen",
        move |ctx: Ctx<'js>, url: String, more: Object<'js>| {
            must_run(&ctx, "a WebSocket")?;
            let ask = Ask::read(&ctx, &own, "GET".to_owned(), url, None, Some(more))?;
            let (reply, number) = wait(&ctx, &own, connect(&own, &ask, false))?;
            connected_into_js(&ctx, reply, number)
        },
    )?;
    let own = Rc::clone(natives.host);
    natives.add(
        "startSocket",
        move |ctx: Ctx<'js>, number: u32, url: String, more: Object<'js>| {
            must_run(&ctx, "a WebSocket")?;
            let ask = Ask::read(&ctx, &own, "GET".to_owned(), url, None, Some(more))?;
            let host = Rc::clone(&own);
            own.begin_later(&ctx, number, async move {
                let (reply, socket) = connect(&host, &ask, true).await;
                let outcome: Outcome = Box::new(move |ctx| connected_into_js(ctx, reply, socket));
                Some(outcome)
            })
        },
    )?;
    natives.add("socketUrlError", |url: String| handshake_url(&url).err())
}

fn install_events<'js>(natives: &Natives<'_, 'js>) -> Result<()> {
    let own = Rc::clone(natives.host);
    natives.add(
        "startSocketNext",
        move |ctx: Ctx<'js>, number: u32, socket: u32| {
            let socket = own.socket(socket);
            own.begin_later(&ctx, number, async move {
                let happened = match socket {
                    Some(socket) => next(socket).await,
                    None => None,
                };
                let outcome: Outcome = Box::new(move |ctx| event_into_js(ctx, happened));
                Some(outcome)
            })
        },
    )?;
    let own = Rc::clone(natives.host);
    natives.add(
        "socketWait",
        move |ctx: Ctx<'js>, socket: u32, at_most: Option<f64>| {
            let Some(socket) = own.socket(socket) else {
                return event_into_js(&ctx, None);
            };
            let work = async {
                match at_most.map(millis) {
                    None => Some(next(socket).await),
                    Some(limit) => tokio::time::timeout(limit, next(socket)).await.ok(),
                }
            };
            match wait(&ctx, &own, work)? {
                Some(happened) => event_into_js(&ctx, happened),
                None => Ok(Value::new_undefined(ctx.clone())),
            }
        },
    )
}

fn install_sending<'js>(natives: &Natives<'_, 'js>) -> Result<()> {
    let own = Rc::clone(natives.host);
    natives.add(
        "socketSend",
        move |ctx: Ctx<'js>, socket: u32, kind: String, data: Value<'js>| {
            let Some(socket) = own.socket(socket) else {
                return Ok(());
            };
            let text = data.as_string().map(rquickjs_core::String::to_string);
            let (opcode, payload) = match (kind.as_str(), text) {
                ("ping", text) => (
                    Opcode::Ping,
                    text.transpose()?.unwrap_or_default().into_bytes(),
                ),
                (_, Some(text)) => (Opcode::Text, text?.into_bytes()),
                (_, None) => (Opcode::Binary, seam::bytes_of(&data).unwrap_or_default()),
            };
            if opcode == Opcode::Ping {
                let now = now_nanos();
                socket.state.pings.borrow_mut().insert(payload.clone(), now);
            }
            socket.send(&ctx, opcode, payload)
        },
    )?;
    let own = Rc::clone(natives.host);
    natives.add(
        "socketClose",
        move |ctx: Ctx<'js>, socket: u32, code: u16, reason: String| {
            let Some(socket) = own.socket(socket) else {
                return Ok(());
            };
            if socket.state.is_closing.replace(true) {
                return Ok(());
            }
            socket.send(&ctx, Opcode::Close, close_payload(code, &reason))
        },
    )?;
    let own = Rc::clone(natives.host);
    natives.add("socketWaiting", move |socket: u32| {
        own.socket(socket)
            .map_or(0, |socket| socket.state.waiting.get())
    })?;
    let own = Rc::clone(natives.host);
    // Lets what was sent last go out, and forgets the socket.
    natives.add("socketEnd", move |ctx: Ctx<'js>, number: u32| {
        let socket = own.sockets.borrow_mut().open.remove(&number);
        let Some(socket) = socket else {
            return Ok(());
        };
        let gone = async {
            while let Some(happened) = next(Rc::clone(&socket)).await {
                if matches!(happened, Happened::Event(Event::Close(..))) {
                    break;
                }
            }
        };
        wait(&ctx, &own, tokio::time::timeout(FAREWELL, gone)).map(drop)
    })
}

impl Socket {
    fn send(&self, ctx: &Ctx<'_>, opcode: Opcode, payload: Vec<u8>) -> Result<()> {
        let waiting = self.state.waiting.get() + payload.len();
        if waiting > MAX_WAITING {
            let text =
                format!("more than {MAX_WAITING} bytes wait to be sent; the server does not read");
            return Err(Exception::throw_range(ctx, &text));
        }
        self.state.waiting.set(waiting);
        // Of a socket that has ended the script is told by its last event.
        let _ = self.commands.send(Command { opcode, payload });
        Ok(())
    }
}

/// Events that wait for the script; the server is not read from beyond.
const MAX_EVENTS: usize = 1024;
/// Bytes that wait to be sent on one socket.
const MAX_WAITING: usize = 256 * 1024 * 1024;
/// How long the server has to close when it was asked to.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a socket of `k6/ws`, whose script has moved on, may take to say farewell.
const FAREWELL: Duration = Duration::from_secs(1);
/// Closed without a word.
const ABNORMAL: u16 = 1006;
/// Closed without a code.
const NO_CODE: u16 = 1005;
/// Closed because this end has no more use for it.
const GOING_AWAY: u16 = 1001;
