//! The connections of a virtual user, and the addresses that they go to.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;

use catamaran_sys::clock::now_nanos;
use tokio::sync::Mutex;

use super::ask::Ask;
use super::reply::Reply;
use super::send::Written;
use crate::client::{
    Alpn, Answer, Connection, Endpoint, Failure, Kept, Line, Phases, ProxyHeader, RequestText, Url,
};
use crate::script::host::Host;

/// Where a connection goes: its address, the host of one over TLS, and whether it is over QUIC.
type Place = (SocketAddr, Option<String>, bool);

/// The connections of one virtual user, and the addresses of names.
#[derive(Debug, Default)]
pub(in crate::script) struct Pool {
    /// Those that wait for a request.
    idle: HashMap<Place, Vec<Line>>,
    /// Those that requests share.
    shared: HashMap<Place, Line>,
    /// Places that were found not to share connections.
    http1: HashSet<Place>,
    /// Held while it is found out whether a place shares connections, so that there is one only.
    opening: Rc<Mutex<()>>,
    /// Addresses of names, and until when they hold.
    known: HashMap<(String, u16), (SocketAddr, u64)>,
    /// Requests without anything unusual, written before; the latest last.
    written: Vec<Rc<Written>>,
}

impl Pool {
    /// Closes all connections.
    pub(in crate::script) fn clear(&mut self) {
        self.idle.clear();
        self.shared.clear();
    }

    /// A request that was written before.
    pub(super) fn written(&self, is_it: impl Fn(&&Rc<Written>) -> bool) -> Option<Rc<Written>> {
        self.written.iter().rev().find(is_it).map(Rc::clone)
    }

    /// Keeps a request for the next time.
    pub(super) fn keep_written(&mut self, written: &Rc<Written>) {
        if self.written.len() >= MAX_WRITTEN {
            self.written.remove(0);
        }
        self.written.push(Rc::clone(written));
    }

    /// A connection that is there, for the next request.
    fn take(&mut self, place: &Place) -> Option<Line> {
        if let Some(line) = self.shared.get(place) {
            if let Some(line) = line.share().filter(|line| !line.is_over()) {
                return Some(line);
            }
            self.shared.remove(place);
        }
        let idle = self.idle.get_mut(place)?;
        // A target closes what has been idle for long; a request sent there would fail for no reason.
        loop {
            let line = idle.pop()?;
            if !line.is_over() {
                return Some(line);
            }
        }
    }

    /// Keeps a connection that is good for another request.
    fn put(&mut self, place: Place, line: Line) {
        if self.idle.len() + self.shared.len() >= MAX_PLACES {
            self.clear();
        }
        match line {
            line @ Line::Http1(_) => self.idle.entry(place).or_default().push(line),
            line => {
                self.shared.insert(place, line);
            }
        }
    }
}

/// Sends a request on a connection that is there or on a new one; it began at `begin`.
pub(super) async fn send(
    host: &Rc<Host>,
    ask: &Ask,
    url: &Url,
    request: &RequestText,
    begin: u64,
    kept: &mut Kept,
    reply: &mut Reply,
) -> Result<Answer, Failure> {
    let body = ask.body.as_deref().unwrap_or_default();
    let addr = resolve(host, url).await?;
    reply.remote = Some(addr);
    let is_http3 = ask.http3 && url.is_tls;
    let place = (addr, url.is_tls.then(|| url.host.clone()), is_http3);
    loop {
        let kept_line = host.pool.borrow_mut().take(&place);
        let (mut line, is_new) = match kept_line {
            Some(line) => (line, false),
            // On the heap: most requests need none of it, and all would carry it along.
            None => Box::pin(new_line(host, url, &place, reply)).await?,
        };
        if url.is_tls {
            reply.agreed = line.agreed();
        }
        reply.phases.blocked = now_nanos() - begin;
        match line.exchange(request, body, Some(kept)).await {
            Err(failure) => {
                // Others may still get their answers on it; no further request goes there.
                if failure.is_stale_connection() {
                    host.pool.borrow_mut().shared.remove(&place);
                }
                let may_repeat = failure.is_unprocessed()
                    || (request.is_idempotent && failure.is_stale_connection());
                if is_new || !may_repeat {
                    return Err(failure);
                }
            }
            Ok(answer) => {
                reply.phases = Phases {
                    blocked: reply.phases.blocked,
                    connecting: reply.phases.connecting,
                    handshaking: reply.phases.handshaking,
                    ..answer.phases
                };
                if answer.keeps_connection && host.settings.keeps_connections {
                    host.pool.borrow_mut().put(place, line);
                }
                return Ok(answer);
            }
        }
    }
}

/// Makes a connection, or takes the one that another request has made meanwhile. Returns whether it is new.
async fn new_line(
    host: &Host,
    url: &Url,
    place: &Place,
    reply: &mut Reply,
) -> Result<(Line, bool), Failure> {
    let opening = {
        let pool = host.pool.borrow();
        let may_share = url.is_tls && host.settings.keeps_connections;
        (may_share && !pool.http1.contains(place)).then(|| Rc::clone(&pool.opening))
    };
    let Some(opening) = opening else {
        return Ok((open(host, url, place, reply).await?, true));
    };
    let _turn = opening.lock().await;
    if let Some(line) = host.pool.borrow_mut().take(place) {
        return Ok((line, false));
    }
    let line = open(host, url, place, reply).await?;
    let mut pool = host.pool.borrow_mut();
    match line.share() {
        Some(shared) => pool.put(place.clone(), shared),
        None => {
            pool.http1.insert(place.clone());
        }
    }
    Ok((line, true))
}

/// Makes a connection, and notes what it took.
async fn open(
    host: &Host,
    url: &Url,
    &(addr, _, is_http3): &Place,
    reply: &mut Reply,
) -> Result<Line, Failure> {
    if is_http3 {
        return open_http3(host, url, addr, reply).await;
    }
    let opened = Connection::open(&Endpoint::Tcp(addr), host.source(), ProxyHeader::None).await?;
    reply.phases.connecting = opened.connecting_nanos;
    if !url.is_tls {
        return Ok(Line::Http1(opened.connection));
    }
    let begin = now_nanos();
    let tls = host.settings.tls.client(&url.host)?;
    let secured = opened.connection.secure(tls, &url.host, Alpn::Either);
    let connection = secured.await?;
    reply.phases.handshaking = now_nanos() - begin;
    Line::agreed_on(connection).await
}

/// Makes a connection over QUIC, whose handshake is that of TLS, too.
#[cfg(feature = "http3")]
async fn open_http3(
    host: &Host,
    url: &Url,
    addr: SocketAddr,
    reply: &mut Reply,
) -> Result<Line, Failure> {
    let begin = now_nanos();
    let tls = host.settings.tls.client(&url.host)?;
    let connection = crate::client::Http3::connect(addr, host.source(), &url.host, tls).await?;
    reply.phases.handshaking = now_nanos() - begin;
    Ok(Line::Http3(connection))
}

#[cfg(not(feature = "http3"))]
async fn open_http3(
    _host: &Host,
    _url: &Url,
    _addr: SocketAddr,
    _reply: &mut Reply,
) -> Result<Line, Failure> {
    let text = "this program was built without HTTP/3 (the feature load-http3)";
    Err(Failure::Tls(text.to_owned()))
}

/// The address of a URL's host; names are asked for again when their time is over.
pub(in crate::script) async fn resolve(host: &Rc<Host>, url: &Url) -> Result<SocketAddr, Failure> {
    let names = &host.settings.names;
    if let Some(addr) = names.known(url)? {
        return names.admit(addr);
    }
    let failed = |why: String| Failure::Lookup {
        name: url.host.clone(),
        why,
    };
    let key = (url.host.clone(), url.port);
    let now = now_nanos();
    if let Some((addr, until)) = host.pool.borrow().known.get(&key)
        && now < *until
    {
        return Ok(*addr);
    }
    let found = Box::pin(tokio::net::lookup_host((url.host.as_str(), url.port))).await;
    let found: Vec<_> = found.map_err(|error| failed(error.to_string()))?.collect();
    let addr = names.choose(&found);
    let addr = names.admit(addr.ok_or_else(|| failed("no such host".to_owned()))?)?;
    let known = &mut host.pool.borrow_mut().known;
    if known.len() >= MAX_NAMES {
        known.clear();
    }
    let ttl = u64::try_from(names.dns.ttl.as_nanos()).unwrap_or(u64::MAX);
    known.insert(key, (addr, now.saturating_add(ttl)));
    Ok(addr)
}

/// Names whose addresses a virtual user remembers.
const MAX_NAMES: usize = 1000;
/// Targets to which a virtual user keeps connections.
const MAX_PLACES: usize = 256;
/// Requests that a virtual user keeps written.
const MAX_WRITTEN: usize = 8;
