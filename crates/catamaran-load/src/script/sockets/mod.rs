//! WebSockets of scripts: the functions behind `k6/ws` and `k6/websockets`.
//!
//! Each open socket has a task that reads and writes; the script hands it what to send, and takes one
//! event after the other from it.

mod opening;
mod task;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use catamaran_sys::clock::now_nanos;
use rquickjs_core::{Array, Ctx, IntoJs, Object, Result, Value};

use super::host::{Host, Natives, Outcome, buffer, millis, must_run, wait};
use super::http::{self, Ask, Reply};
use super::seam;
use crate::client::websocket::{Event, Opcode, close_payload};
use opening::{connect, handshake_url};
use task::{ABNORMAL, Happened, Socket};

/// The sockets of one virtual user, by number.
#[derive(Default)]
pub(super) struct Sockets {
    open: HashMap<u32, Rc<Socket>>,
    last: u32,
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

/// Waits for the next event of a socket; `None` of one that has none any more.
async fn next(socket: Rc<Socket>) -> Option<Happened> {
    socket.events.lock().await.recv().await
}

/// An event as the script's module takes it: a name and what belongs to it.
fn event_into_js<'js>(ctx: &Ctx<'js>, happened: Option<Happened>) -> Result<Value<'js>> {
    let bytes = |bytes: Vec<u8>| Ok::<_, rquickjs_core::Error>(buffer(ctx, &bytes)?.into_value());
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

/// How long a socket of `k6/ws`, whose script has moved on, may take to say farewell.
const FAREWELL: Duration = Duration::from_secs(1);
