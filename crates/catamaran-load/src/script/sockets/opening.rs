//! Begins a WebSocket: its handshake, and what is recorded of that.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use catamaran_sys::clock::now_nanos;

use super::task::{State, start};
use crate::client::websocket::{Handshake, WebSocket, http_url};
use crate::client::{Alpn, Connection, Endpoint, Failure, ProxyHeader, Url, set_timeout};
use crate::metric::builtin;
use crate::script::host::{Host, SystemTag};
use crate::script::http::{self, Ask, Keep, Reply};
use crate::sink::as_f64;
use crate::tags::TagsId;

/// Shakes hands, and records that. Returns the answer and the socket's number, if there is one.
pub(super) async fn connect(host: &Rc<Host>, ask: &Ask, is_newer: bool) -> (Reply, Option<u32>) {
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
        queued: Cell::new(0),
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
) -> Result<WebSocket, Failure> {
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
    let opened = Connection::open(&Endpoint::Tcp(addr), host.source(), ProxyHeader::None).await?;
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
pub(super) fn handshake_url(text: &str) -> Result<Url, String> {
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
