//! The requests of scripts: redirects, connections, and the samples that each request makes.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use catamaran_sys::clock::now_nanos;
use rquickjs_core::{Array, ArrayBuffer, Ctx, Exception, FromJs, IntoJs, Result, Value};
use tokio::task::JoinSet;

use super::host::{Host, Settings};
use crate::board::Answered;
use crate::client::{
    Answer, Connection, Endpoint, Failure, Kept, Phases, ProxyHeader, RequestText, Url, exchange,
    set_timeout,
};
use crate::metric::{MetricId, builtin};
use crate::sink::as_f64;

/// The idle connections of one virtual user, and the addresses of names.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: HashMap<SocketAddr, Vec<Connection>>,
    known: HashMap<(String, u16), (SocketAddr, u64)>,
}

impl Pool {
    /// Closes all connections.
    pub(super) fn clear(&mut self) {
        self.idle.clear();
    }
}

/// What a script asks for.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    method: String,
    url: String,
    body: Option<Vec<u8>>,
    fields: Vec<(String, String)>,
    /// Names and values by turns.
    tags: Vec<String>,
    timeout: Duration,
    redirects: u32,
    keep: Keep,
    /// Pairs of least and greatest status that are expected; empty, if nothing is judged.
    expected: Option<Vec<u16>>,
}

/// How a body is given to the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Text,
    Binary,
    Nothing,
}

/// What a script gets back.
#[derive(Debug, Default)]
pub(super) struct Reply {
    status: u16,
    reason: String,
    url: String,
    error: String,
    code: u16,
    remote: Option<SocketAddr>,
    head: String,
    body: Vec<u8>,
    keep: Option<Keep>,
    phases: Phases,
    request: String,
}

impl Ask {
    pub(super) fn read<'js>(
        ctx: &Ctx<'js>,
        args: &Array<'js>,
        settings: &Settings,
    ) -> Result<Self> {
        let keep = match args.get::<String>(7)?.as_str() {
            "" if settings.discards_bodies => Keep::Nothing,
            "" | "text" => Keep::Text,
            "binary" => Keep::Binary,
            "none" => Keep::Nothing,
            other => {
                let text =
                    format!("no responseType is called `{other}`; there are text, binary, none");
                return Err(Exception::throw_message(ctx, &text));
            }
        };
        let body: Value<'js> = args.get(2)?;
        let body = if let Some(text) = body.as_string() {
            Some(text.to_string()?.into_bytes())
        } else if body.is_array() {
            Some(Vec::<u8>::from_js(ctx, body)?)
        } else {
            None
        };
        let fields: Vec<String> = args.get(3)?;
        let mut fields = fields.into_iter();
        let pairs = std::iter::from_fn(|| fields.next().zip(fields.next()));
        let redirects: f64 = args.get(6)?;
        let millis: f64 = args.get(5)?;
        Ok(Self {
            method: args.get(0)?,
            url: args.get(1)?,
            body,
            fields: pairs.collect(),
            tags: args.get(4)?,
            timeout: Duration::try_from_secs_f64(millis / 1e3).unwrap_or(Duration::from_secs(60)),
            redirects: if redirects < 0.0 {
                settings.max_redirects
            } else {
                FromJs::from_js(ctx, args.get(6)?)?
            },
            keep,
            expected: args.get(8)?,
        })
    }
}

impl Reply {
    pub(super) fn into_js<'js>(self, ctx: &Ctx<'js>) -> Result<Value<'js>> {
        let array = Array::new(ctx.clone())?;
        array.set(0, self.status)?;
        array.set(1, self.reason)?;
        array.set(2, self.url)?;
        array.set(3, self.error)?;
        array.set(4, self.code)?;
        array.set(
            5,
            self.remote
                .map_or_else(String::new, |addr| addr.ip().to_string()),
        )?;
        array.set(6, self.remote.map_or(0, |addr| addr.port()))?;
        array.set(7, self.head)?;
        let body = match self.keep {
            Some(Keep::Binary) => ArrayBuffer::new(ctx.clone(), self.body)?.into_value(),
            Some(Keep::Nothing) | None => Value::new_null(ctx.clone()),
            Some(Keep::Text) => String::from_utf8_lossy(&self.body)
                .into_owned()
                .into_js(ctx)?,
        };
        array.set(8, body)?;
        let phases = &self.phases;
        let times = [
            phases.blocked,
            phases.connecting,
            phases.sending,
            phases.waiting,
            phases.receiving,
        ];
        let times: Vec<f64> = times.iter().map(|&nanos| as_f64(nanos) / 1e6).collect();
        array.set(9, times)?;
        array.set(10, self.request)?;
        Ok(array.into_value())
    }
}

/// Sends a request and follows its redirects.
pub(super) async fn perform(host: Rc<Host>, mut ask: Ask) -> Reply {
    let deadline = now_nanos() + u64::try_from(ask.timeout.as_nanos()).unwrap_or(u64::MAX / 4);
    loop {
        let reply = once(&host, &ask, deadline).await;
        let Some(next) = redirected(&reply) else {
            return reply;
        };
        if ask.redirects == 0 {
            return reply;
        }
        ask.redirects -= 1;
        if matches!(reply.status, 301..=303) {
            if ask.method != "HEAD" {
                "GET".clone_into(&mut ask.method);
            }
            ask.body = None;
            ask.fields
                .retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        }
        ask.url = next;
    }
}

/// Sends the requests of a batch, some at a time, and gives the replies in their order.
pub(super) async fn perform_all(host: Rc<Host>, asks: Vec<Ask>) -> Vec<Reply> {
    let at_once = host.settings.batch.max(1);
    let mut replies: Vec<Option<Reply>> = asks.iter().map(|_| None).collect();
    let mut waiting = asks.into_iter().enumerate();
    let mut running = JoinSet::new();
    loop {
        while running.len() < at_once
            && let Some((index, ask)) = waiting.next()
        {
            let host = Rc::clone(&host);
            running.spawn_local(async move { (index, perform(host, ask).await) });
        }
        match running.join_next().await {
            Some(Ok((index, reply))) => replies[index] = Some(reply),
            Some(Err(_)) => {}
            None => break,
        }
    }
    replies.into_iter().map(Option::unwrap_or_default).collect()
}

/// Where an answer sends the client, if it does.
fn redirected(reply: &Reply) -> Option<String> {
    if !matches!(reply.status, 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = reply.head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("location").then(|| value.trim())
    })?;
    let url = Url::parse(&reply.url).ok()?;
    Some(url.join(location).ok()?.to_string())
}

/// Sends one request and records what came of it.
async fn once(host: &Rc<Host>, ask: &Ask, deadline: u64) -> Reply {
    let mut reply = Reply {
        url: ask.url.clone(),
        keep: Some(ask.keep),
        ..Reply::default()
    };
    let begin = now_nanos();
    let mut sent = 0;
    let mut received = 0;
    let result = prepare(host, ask);
    match result {
        Ok((url, request)) => {
            reply.url = url.to_string();
            reply.request = String::from_utf8_lossy(&request.head).into_owned();
            let mut kept = Kept::default();
            let work = send(host, ask, &url, &request, &mut kept, &mut reply);
            match set_timeout(deadline, work).await {
                Ok(answer) => {
                    sent = (request.head.len() + ask.body.as_ref().map_or(0, Vec::len)) as u64;
                    received = answer.received;
                    reply.head = String::from_utf8_lossy(&kept.head).into_owned();
                    reply.body = kept.body;
                    reply.status = answer.status;
                    let line = reply.head.split("\r\n").next().unwrap_or_default();
                    reply.reason = line.splitn(3, ' ').nth(2).unwrap_or_default().to_owned();
                    if answer.status >= 400 {
                        reply.code = 1000 + answer.status;
                    }
                }
                Err(failure) => {
                    reply.code = failure.code();
                    reply.error = failure.to_string();
                    reply.phases.waiting = now_nanos() - begin - reply.phases.blocked;
                }
            }
        }
        Err(why) => {
            reply.code = INVALID_URL;
            reply.error = why;
        }
    }
    record(host, ask, &reply, sent, received);
    reply
}

fn prepare(host: &Host, ask: &Ask) -> std::result::Result<(Url, RequestText), String> {
    let url = Url::parse(&ask.url).map_err(|error| error.to_string())?;
    let fields = if host.settings.keeps_connections {
        ask.fields.clone()
    } else {
        let close = ("Connection".to_owned(), "close".to_owned());
        ask.fields.iter().cloned().chain([close]).collect()
    };
    let len = ask.body.as_ref().map(Vec::len);
    let request = RequestText::new(&ask.method, &url, &fields, len, &host.settings.user_agent);
    Ok((url, request.map_err(|error| error.to_string())?))
}

/// Sends a request on an idle connection or on a new one.
async fn send(
    host: &Rc<Host>,
    ask: &Ask,
    url: &Url,
    request: &RequestText,
    kept: &mut Kept,
    reply: &mut Reply,
) -> std::result::Result<Answer, Failure> {
    let begin = now_nanos();
    let body = ask.body.as_deref().unwrap_or_default();
    let addr = resolve(host, url).await?;
    let mut is_new = false;
    loop {
        let idle = host
            .pool
            .borrow_mut()
            .idle
            .get_mut(&addr)
            .and_then(Vec::pop);
        let mut connection = match idle {
            Some(connection) => connection,
            None => {
                is_new = true;
                let opened = Connection::open(&Endpoint::Tcp(addr), ProxyHeader::None).await?;
                reply.phases.connecting = opened.connecting_nanos;
                opened.connection
            }
        };
        reply.remote = connection.remote_addr();
        reply.phases.blocked = now_nanos() - begin;
        let wanted = (ask.keep != Keep::Nothing).then_some(&mut *kept);
        // Heads are always kept; a body that nobody wants is read and forgotten.
        let mut head_only = Kept::default();
        let discards = wanted.is_none();
        let into = wanted.unwrap_or(&mut head_only);
        let result = exchange(
            &mut connection,
            &request.head,
            body,
            request.kind,
            Some(into),
        )
        .await;
        match result {
            Err(failure) if !is_new && request.is_idempotent && failure.is_stale_connection() => {}
            Err(failure) => return Err(failure),
            Ok(answer) => {
                if discards {
                    kept.head = head_only.head;
                }
                let (blocked, connecting) = (reply.phases.blocked, reply.phases.connecting);
                reply.phases = Phases {
                    blocked,
                    connecting,
                    ..answer.phases
                };
                if answer.keeps_connection && host.settings.keeps_connections {
                    let mut pool = host.pool.borrow_mut();
                    pool.idle.entry(addr).or_default().push(connection);
                }
                return Ok(answer);
            }
        }
    }
}

/// The address of a URL's host; names are asked for again after five minutes.
async fn resolve(host: &Rc<Host>, url: &Url) -> std::result::Result<SocketAddr, Failure> {
    if let Ok(ip) = url.host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, url.port));
    }
    let key = (url.host.clone(), url.port);
    let now = now_nanos();
    if let Some((addr, at)) = host.pool.borrow().known.get(&key)
        && now - at < NAME_NANOS
    {
        return Ok(*addr);
    }
    let failed = |why: String| Failure::Lookup {
        name: url.host.clone(),
        why,
    };
    let found = tokio::net::lookup_host((url.host.as_str(), url.port)).await;
    let found: Vec<_> = found.map_err(|error| failed(error.to_string()))?.collect();
    let v4 = found.iter().find(|addr| addr.is_ipv4());
    let addr = v4.or_else(|| found.first()).copied();
    let addr = addr.ok_or_else(|| failed("no such host".to_owned()))?;
    host.pool.borrow_mut().known.insert(key, (addr, now));
    Ok(addr)
}

/// Records the samples of a request.
fn record(host: &Host, ask: &Ask, reply: &Reply, sent: u64, received: u64) {
    let is_expected =
        ask.expected
            .as_ref()
            .map_or((200..400).contains(&reply.status), |expected| {
                let mut ranges = expected.chunks_exact(2);
                ranges.any(|range| (range[0]..=range[1]).contains(&reply.status))
            });
    let is_judged = ask
        .expected
        .as_ref()
        .is_none_or(|expected| !expected.is_empty());
    let name = ask.tags.chunks_exact(2).find(|pair| pair[0] == "name");
    let name = name.map_or(reply.url.as_str(), |pair| pair[1].as_str());
    let mut flat: Vec<String> = Vec::with_capacity(16 + ask.tags.len());
    let mut tag = |key: &str, value: &str| flat.extend([key.to_owned(), value.to_owned()]);
    tag("name", name);
    tag("url", name);
    tag("method", &ask.method);
    tag("status", &reply.status.to_string());
    if reply.status > 0 {
        tag("proto", "HTTP/1.1");
    }
    if is_judged {
        tag(
            "expected_response",
            if is_expected { "true" } else { "false" },
        );
    }
    if reply.code > 0 {
        tag("error_code", &reply.code.to_string());
    }
    if !reply.error.is_empty() {
        tag("error", &reply.error);
    }
    flat.extend_from_slice(&ask.tags);
    let tags = host.tags(&flat);
    let now = now_nanos();
    let corrected = host.intended.take();
    let mut recorder = host.local.recorder.borrow_mut();
    let phases = &reply.phases;
    let mut add = |metric: MetricId, value: f64| recorder.record(metric, tags, value, now);
    let mut times = |metric: MetricId, nanos: u64| add(metric, as_f64(nanos) / 1e6);
    times(builtin::HTTP_REQ_DURATION, phases.duration());
    times(builtin::HTTP_REQ_BLOCKED, phases.blocked);
    times(builtin::HTTP_REQ_CONNECTING, phases.connecting);
    times(builtin::HTTP_REQ_TLS_HANDSHAKING, 0);
    times(builtin::HTTP_REQ_SENDING, phases.sending);
    times(builtin::HTTP_REQ_WAITING, phases.waiting);
    times(builtin::HTTP_REQ_RECEIVING, phases.receiving);
    if let Some(intended) = corrected {
        times(
            builtin::HTTP_REQ_CORRECTED_DURATION,
            now.saturating_sub(intended),
        );
    }
    add(builtin::HTTP_REQS, 1.0);
    if is_judged {
        add(builtin::HTTP_REQ_FAILED, f64::from(u8::from(!is_expected)));
    }
    add(builtin::DATA_SENT, as_f64(sent));
    add(builtin::DATA_RECEIVED, as_f64(received));
    if !reply.error.is_empty() {
        recorder.answered(Answered::Failure(reply.error.clone()));
        drop(recorder);
        host.local.warn(format!(
            "Request Failed: {} {}: {}",
            ask.method, reply.url, reply.error
        ));
    }
}

/// k6's code of a URL that cannot be asked.
const INVALID_URL: u16 = 1020;
/// How long the address of a name is believed, as in k6.
const NAME_NANOS: u64 = 300_000_000_000;
