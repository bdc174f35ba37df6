//! A virtual user without a script: one connection for each target, one request an iteration.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use catamaran_sys::clock::now_nanos;
use tokio::net::UdpSocket;

use super::options::{PlainOptions, Protocol, Version};
use super::target::{Target, USER_AGENT};
use crate::board::Answered;
#[cfg(feature = "http3")]
use crate::client::Http3;
use crate::client::websocket::{Event, Handshake, Opcode, WebSocket};
use crate::client::{
    Alpn, Connection, Endpoint, Failure, Http2, Line as HttpLine, Phases, RequestText, Url,
    set_timeout,
};
use crate::engine::{Crew, Ended, Iteration, Local, Stop, UnderWay, Vu};
use crate::metric::{MetricId, builtin};
use crate::sink::as_f64;
use crate::tags::TagsId;

/// Makes virtual users that ask the targets.
#[derive(Debug)]
pub(super) struct PlainCrew {
    pub(super) options: Arc<PlainOptions>,
    pub(super) targets: Arc<Vec<Target>>,
}

/// One virtual user.
#[derive(Debug)]
pub(super) struct PlainVu {
    local: Rc<Local>,
    options: Arc<PlainOptions>,
    targets: Arc<Vec<Target>>,
    /// By target: the connection, once there is one.
    lines: Vec<Option<Line>>,
    all_weights: u64,
    rng: fastrand::Rng,
    timeout_nanos: u64,
    tags: Labels,
}

/// A connection that waits for the next request.
#[derive(Debug)]
enum Line {
    Http(HttpLine),
    Stream(Connection),
    WebSocket(WebSocket),
    Udp(UdpSocket),
}

impl Line {
    /// Whether nothing more can be asked on it, as far as it is known.
    fn is_over(&self) -> bool {
        match self {
            Self::Http(line) => line.is_over(),
            Self::Stream(connection) => connection.is_closed(),
            Self::WebSocket(_) | Self::Udp(_) => false,
        }
    }
}

/// What one request came to.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    status: u16,
    phases: Phases,
    sent: u64,
    received: u64,
    /// Messages of WebSockets that went and came.
    messages: (u64, u64),
    /// How long opening a WebSocket took, connecting included.
    session: Option<u64>,
}

/// The sets of tags used lately.
#[derive(Debug, Default)]
struct Labels {
    known: Vec<((usize, u16), TagsId)>,
}

impl Crew for PlainCrew {
    type Vu = PlainVu;

    const MAKES_AT_ONCE: bool = true;

    fn make(&self, local: &Rc<Local>, _scenario: usize, number: u64) -> Result<PlainVu, String> {
        let timeout = u64::try_from(self.options.timeout.as_nanos()).unwrap_or(u64::MAX / 4);
        Ok(PlainVu {
            local: Rc::clone(local),
            options: Arc::clone(&self.options),
            targets: Arc::clone(&self.targets),
            lines: self.targets.iter().map(|_| None).collect(),
            all_weights: self.targets.iter().map(|target| target.weight).sum(),
            // The same requests in the same order, run after run.
            rng: fastrand::Rng::with_seed(number),
            timeout_nanos: timeout,
            tags: Labels::default(),
        })
    }

    fn not_begun(&self, local: &Local, _scenario: usize, waited: u64, times: u64) {
        // They have waited so long already; how long they would have had to, nobody knows.
        let metric = corrected_metric(self.options.protocol);
        let mut recorder = local.recorder.borrow_mut();
        let tags = TagsId::default();
        recorder.record_times(metric, tags, as_f64(waited) / 1e6, times, now_nanos());
    }
}

impl Vu for PlainVu {
    const MAY_BE_DROPPED: bool = true;

    async fn iterate(&mut self, iteration: Iteration, _stop: &Rc<Stop>) -> Ended {
        let target = self.choose();
        let corrected = corrected_metric(self.options.protocol);
        let due = iteration
            .intended
            .map(|due| (corrected, TagsId::default(), due));
        let under_way = UnderWay::new(&self.local, due);
        let begin = now_nanos();
        let deadline = begin + self.timeout_nanos;
        let mut done = Done::default();
        let result = set_timeout(deadline, self.ask(target, &mut done)).await;
        let end = now_nanos();
        under_way.over();
        if result.is_err() && done.phases.duration() == 0 {
            // What was waited for in vain counts as the request's time.
            done.phases.waiting = end - begin - done.phases.blocked.min(end - begin);
        }
        self.note(target, &done, &result, iteration.intended, end);
        Ended::Whole
    }
}

impl PlainVu {
    /// Picks a target by weight.
    fn choose(&mut self) -> usize {
        if self.targets.len() == 1 {
            return 0;
        }
        let mut drawn = self.rng.u64(0..self.all_weights);
        for (index, target) in self.targets.iter().enumerate() {
            if drawn < target.weight {
                return index;
            }
            drawn -= target.weight;
        }
        0
    }

    /// Sends one request and reads its answer, on the connection at hand or on a new one.
    async fn ask(&mut self, index: usize, done: &mut Done) -> Result<(), Failure> {
        let kept = self.lines[index].take().filter(|line| !line.is_over());
        let is_reused = match kept {
            Some(line) => match self.ask_on(line, index, done).await {
                Err(failure) if self.may_repeat(index, &failure, done) => true,
                result => return result,
            },
            None => false,
        };
        debug_assert!(!is_reused || done.received == 0, "an answer has begun");
        let begin = now_nanos();
        // On the heap: most requests need none of it, and all would carry it along.
        let line = Box::pin(self.open(index, done)).await?;
        done.phases.blocked = now_nanos() - begin;
        self.ask_on(line, index, done).await
    }

    /// Whether the request may be sent again, on a new connection: the target closed the idle one
    /// while the request was under way.
    fn may_repeat(&self, index: usize, failure: &Failure, done: &Done) -> bool {
        let request = self.targets[index].request.as_ref();
        failure.is_stale_connection()
            && done.received == 0
            && request.is_none_or(|request| request.is_idempotent)
    }

    async fn open(&self, index: usize, done: &mut Done) -> Result<Line, Failure> {
        let endpoint = &self.targets[index].endpoint;
        if let (Protocol::Udp, Endpoint::Tcp(addr)) = (self.options.protocol, endpoint) {
            return Ok(Line::Udp(udp_to(*addr).await?));
        }
        #[cfg(feature = "http3")]
        if self.options.version == Version::Http3 {
            return self.open_http3(index, done).await.map(Line::Http);
        }
        let begin = now_nanos();
        let opened = Connection::open(endpoint, None, self.options.exchange.proxy).await?;
        done.phases.connecting = opened.connecting_nanos;
        done.sent += opened.sent;
        let target = &self.targets[index];
        let mut connection = opened.connection;
        if let Some(url) = &target.socket {
            let socket = self.open_socket(connection, target, url, done).await;
            done.session = Some(now_nanos() - begin);
            return socket.map(Line::WebSocket);
        }
        if target.request.is_none() {
            return Ok(Line::Stream(connection));
        }
        let is_http2 = self.options.version == Version::Http2;
        if let Some((client, host)) = &self.targets[index].tls {
            let begin = now_nanos();
            let alpn = if is_http2 { Alpn::Http2 } else { Alpn::Http1 };
            connection = connection.secure(client, host, alpn).await?;
            done.phases.handshaking = now_nanos() - begin;
            if is_http2 && !connection.speaks_http2() {
                let text = "the server did not agree to speak HTTP/2 (ALPN)";
                return Err(Failure::Tls(text.to_owned()));
            }
        }
        Ok(Line::Http(if is_http2 {
            HttpLine::Http2(Http2::begin(connection).await?)
        } else {
            HttpLine::Http1(connection)
        }))
    }

    /// The handshake of QUIC is that of TLS, too.
    #[cfg(feature = "http3")]
    async fn open_http3(&self, index: usize, done: &mut Done) -> Result<HttpLine, Failure> {
        let target = &self.targets[index];
        let (Endpoint::Tcp(addr), Some((client, host))) = (&target.endpoint, &target.tls) else {
            return Err(Failure::Http3("only https can be asked".to_owned()));
        };
        let begin = now_nanos();
        let connection = Http3::connect(*addr, None, host, client).await?;
        done.phases.handshaking = now_nanos() - begin;
        Ok(HttpLine::Http3(connection))
    }

    async fn open_socket(
        &self,
        mut connection: Connection,
        target: &Target,
        url: &Url,
        done: &mut Done,
    ) -> Result<WebSocket, Failure> {
        if let Some((client, host)) = &target.tls {
            let begin = now_nanos();
            connection = connection.secure(client, host, Alpn::Http1).await?;
            done.phases.handshaking = now_nanos() - begin;
        }
        let handshake = Handshake::new(url, &self.options.exchange.fields, USER_AGENT);
        let handshake = handshake.map_err(|error| Failure::WebSocket(error.to_string()))?;
        let shaken = WebSocket::shake_hands(connection, &handshake).await?;
        done.sent += shaken.moved.0;
        done.received += shaken.moved.1;
        shaken.socket
    }

    async fn ask_on(&mut self, line: Line, index: usize, done: &mut Done) -> Result<(), Failure> {
        let body = self.options.exchange.body.as_deref().unwrap_or_default();
        match line {
            Line::Udp(socket) => {
                Box::pin(ask_udp(&socket, body, done)).await?;
                self.lines[index] = Some(Line::Udp(socket));
            }
            Line::WebSocket(mut socket) => {
                Box::pin(ask_socket(&mut socket, body, done)).await?;
                if self.options.exchange.keeps_connections {
                    self.lines[index] = Some(Line::WebSocket(socket));
                }
            }
            Line::Http(mut line) => {
                let Some(request) = &self.targets[index].request else {
                    return Ok(());
                };
                if ask_http(&mut line, request, body, done).await?
                    && self.options.exchange.keeps_connections
                {
                    self.lines[index] = Some(Line::Http(line));
                }
            }
            Line::Stream(connection) => {
                if let Protocol::Tcp { answer_bytes } = self.options.protocol {
                    ask_tcp(&connection, body, answer_bytes, done).await?;
                }
                if self.options.exchange.keeps_connections {
                    self.lines[index] = Some(Line::Stream(connection));
                }
            }
        }
        Ok(())
    }

    /// Records what a request came to.
    fn note(
        &mut self,
        target: usize,
        done: &Done,
        result: &Result<(), Failure>,
        intended: Option<u64>,
        end: u64,
    ) {
        let mut recorder = self.local.recorder.borrow_mut();
        let tags = self.tags.of(target, done.status, || {
            let name = &*self.targets[target].name;
            let status = done.status.to_string();
            recorder.intern(&[("name", name), ("status", &status), ("scenario", "default")])
        });
        let mut add = |metric: MetricId, value: f64| recorder.record(metric, tags, value, end);
        let millis = |nanos: u64| as_f64(nanos) / 1e6;
        let is_http = self.options.protocol == Protocol::Http;
        let is_failed = result.is_err() || (is_http && !(200..400).contains(&done.status));
        let phases = &done.phases;
        let [count, failed, duration, connecting] = if is_http {
            [
                builtin::HTTP_REQS,
                builtin::HTTP_REQ_FAILED,
                builtin::HTTP_REQ_DURATION,
                builtin::HTTP_REQ_CONNECTING,
            ]
        } else {
            [
                builtin::EXCHANGES,
                builtin::EXCHANGE_FAILED,
                builtin::EXCHANGE_DURATION,
                builtin::EXCHANGE_CONNECTING,
            ]
        };
        add(count, 1.0);
        add(failed, f64::from(u8::from(is_failed)));
        add(duration, millis(phases.duration()));
        add(connecting, millis(phases.connecting));
        if let Some(intended) = intended {
            let corrected = millis(end.saturating_sub(intended));
            add(corrected_metric(self.options.protocol), corrected);
        }
        if is_http {
            add(builtin::HTTP_REQ_BLOCKED, millis(phases.blocked));
            if self.targets[target].tls.is_some() {
                add(
                    builtin::HTTP_REQ_TLS_HANDSHAKING,
                    millis(phases.handshaking),
                );
            }
            add(builtin::HTTP_REQ_SENDING, millis(phases.sending));
            add(builtin::HTTP_REQ_WAITING, millis(phases.waiting));
            add(builtin::HTTP_REQ_RECEIVING, millis(phases.receiving));
        }
        if let Some(opening) = done.session {
            add(builtin::WS_SESSIONS, 1.0);
            add(builtin::WS_CONNECTING, millis(opening));
        }
        if self.options.protocol == Protocol::WebSocket {
            add(builtin::WS_MSGS_SENT, as_f64(done.messages.0));
            add(builtin::WS_MSGS_RECEIVED, as_f64(done.messages.1));
        }
        add(builtin::DATA_SENT, as_f64(done.sent));
        add(builtin::DATA_RECEIVED, as_f64(done.received));
        recorder.answered(match result {
            Ok(()) if is_http => Answered::Status(done.status),
            Ok(()) => Answered::Bytes,
            Err(failure) => Answered::Failure(failure.to_string()),
        });
    }
}

impl Labels {
    fn of(&mut self, target: usize, status: u16, make: impl FnOnce() -> TagsId) -> TagsId {
        let key = (target, status);
        let known = self.known.iter().find(|(known, _)| *known == key);
        if let Some(&(_, tags)) = known {
            return tags;
        }
        let tags = make();
        self.known.push((key, tags));
        tags
    }
}

/// The metric of times since requests should have begun.
fn corrected_metric(protocol: Protocol) -> MetricId {
    match protocol {
        Protocol::Http => builtin::HTTP_REQ_CORRECTED_DURATION,
        Protocol::Tcp { .. } | Protocol::Udp | Protocol::WebSocket => {
            builtin::EXCHANGE_CORRECTED_DURATION
        }
    }
}

/// Sends a request. Returns whether the connection is good for another.
async fn ask_http(
    line: &mut HttpLine,
    request: &RequestText,
    body: &[u8],
    done: &mut Done,
) -> Result<bool, Failure> {
    let answer = line.exchange(request, body, None).await?;
    done.status = answer.status;
    done.received = answer.received;
    done.sent += answer.sent;
    done.phases = Phases {
        blocked: done.phases.blocked,
        connecting: done.phases.connecting,
        handshaking: done.phases.handshaking,
        ..answer.phases
    };
    Ok(answer.keeps_connection)
}

/// Sends bytes and waits for `answer_bytes` of an answer.
async fn ask_tcp(
    connection: &Connection,
    bytes: &[u8],
    answer_bytes: usize,
    done: &mut Done,
) -> Result<(), Failure> {
    let begin = now_nanos();
    connection.write(bytes, &[]).await?;
    done.sent += bytes.len() as u64;
    let sent = now_nanos();
    done.phases.sending = sent - begin;
    let mut first = None;
    while done.received < answer_bytes as u64 {
        let len = connection.read(<[u8]>::len).await?;
        if len == 0 {
            return Err(Failure::Closed);
        }
        first.get_or_insert_with(now_nanos);
        done.received += len as u64;
    }
    let end = now_nanos();
    let first = first.unwrap_or(end);
    done.phases.waiting = first - sent;
    done.phases.receiving = end.saturating_sub(first);
    Ok(())
}

/// Sends a message and waits for one.
async fn ask_socket(socket: &mut WebSocket, bytes: &[u8], done: &mut Done) -> Result<(), Failure> {
    let outbox = socket.outbox();
    let begin = now_nanos();
    let opcode = match str::from_utf8(bytes) {
        Ok(_) => Opcode::Text,
        Err(_) => Opcode::Binary,
    };
    done.sent += outbox.send(opcode, bytes).await?;
    done.messages.0 += 1;
    let sent = now_nanos();
    done.phases.sending = sent - begin;
    loop {
        match socket.next(&mut done.received).await? {
            Event::Text(_) | Event::Binary(_) => break,
            Event::Ping(payload) => done.sent += outbox.send(Opcode::Pong, &payload).await?,
            Event::Pong(_) => {}
            Event::Close(..) => return Err(Failure::Closed),
        }
    }
    done.messages.1 += 1;
    done.phases.waiting = now_nanos() - sent;
    Ok(())
}

/// Sends a datagram and waits for one.
async fn ask_udp(socket: &UdpSocket, bytes: &[u8], done: &mut Done) -> Result<(), Failure> {
    let begin = now_nanos();
    socket.send(bytes).await?;
    done.sent += bytes.len() as u64;
    let sent = now_nanos();
    done.phases.sending = sent - begin;
    let mut buf = [0; MAX_DATAGRAM];
    let len = socket.recv(&mut buf).await?;
    done.received += len as u64;
    done.phases.waiting = now_nanos() - sent;
    Ok(())
}

async fn udp_to(addr: SocketAddr) -> Result<UdpSocket, Failure> {
    let any: SocketAddr = if addr.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0; 16], 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(addr).await?;
    Ok(socket)
}

/// Bytes of a datagram that are read; what is longer is cut, and still an answer.
const MAX_DATAGRAM: usize = 2048;
