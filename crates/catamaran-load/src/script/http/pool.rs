//! The connections of a virtual user, and the addresses that they go to.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;

use catamaran_sys::clock::now_nanos;
use tokio::sync::Mutex;

use super::ask::Ask;
use super::reply::Reply;
use crate::client::{
    Alpn, Answer, Connection, Endpoint, Failure, Kept, Line, Phases, ProxyHeader, RequestText, Url,
};
use crate::script::host::Host;

/// Where a connection goes: its address, the host of one over TLS, and whether it is over QUIC.
type Place = (SocketAddr, Option<String>, bool);

/// The connections of one virtual user, and the addresses of names.
#[derive(Debug, Default)]
pub(in crate::script) struct Pool {
    /// Those that wait for a request; the latest last. Most virtual users have one or two.
    idle: Vec<(Place, Line)>,
    /// What most virtual users do without.
    seldom: Option<Box<Seldom>>,
}

/// What connections over TLS need, and names.
#[derive(Debug, Default)]
struct Seldom {
    /// Connections that requests share.
    shared: HashMap<Place, Line>,
    /// Places that were found not to share connections.
    http1: HashSet<Place>,
    /// Held while it is found out whether a place shares connections, so that there is one only.
    opening: Rc<Mutex<()>>,
    /// Addresses of names, and until when they hold.
    known: HashMap<(String, u16), (SocketAddr, u64)>,
}

impl Pool {
    /// Closes all connections.
    pub(in crate::script) fn clear(&mut self) {
        self.idle.clear();
        if let Some(seldom) = &mut self.seldom {
            seldom.shared.clear();
        }
    }

    /// A connection that is there, for the next request.
    fn take(&mut self, place: &Place) -> Option<Line> {
        if let Some(seldom) = &mut self.seldom
            && let Some(line) = seldom.shared.get(place)
        {
            if let Some(line) = line.share().filter(|line| !line.is_over()) {
                return Some(line);
            }
            seldom.shared.remove(place);
        }
        // A target closes what has been idle for long; a request sent there would fail for no reason.
        loop {
            let at = self.idle.iter().rposition(|(own, _)| own == place)?;
            let (_, line) = self.idle.remove(at);
            if !line.is_over() {
                return Some(line);
            }
        }
    }

    /// Keeps a connection that is good for another request.
    fn put(&mut self, place: Place, line: Line) {
        if matches!(line, Line::Http1(_)) {
            if self.idle.len() >= MAX_IDLE {
                self.idle.remove(0);
            }
            if self.idle.capacity() == 0 {
                // The room for four that it would take else is half a kilobyte.
                self.idle.reserve_exact(1);
            }
            self.idle.push((place, line));
            return;
        }
        let shared = &mut self.seldom().shared;
        if shared.len() >= MAX_SHARED {
            shared.clear();
        }
        shared.insert(place, line);
    }

    /// Forgets the connection that requests to a place share.
    fn forget_shared(&mut self, place: &Place) {
        if let Some(seldom) = &mut self.seldom {
            seldom.shared.remove(place);
        }
    }

    fn seldom(&mut self) -> &mut Seldom {
        self.seldom.get_or_insert_default()
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
                    host.pool.borrow_mut().forget_shared(&place);
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
        let mut pool = host.pool.borrow_mut();
        let may_share = url.is_tls && host.settings.keeps_connections;
        let seldom = may_share.then(|| pool.seldom());
        let seldom = seldom.filter(|seldom| !seldom.http1.contains(place));
        seldom.map(|seldom| Rc::clone(&seldom.opening))
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
            pool.seldom().http1.insert(place.clone());
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
        return Box::pin(open_http3(host, url, addr, reply)).await;
    }
    let opened = Connection::open(&Endpoint::Tcp(addr), host.source(), ProxyHeader::None).await?;
    reply.phases.connecting = opened.connecting_nanos;
    if !url.is_tls {
        return Ok(Line::Http1(opened.connection));
    }
    let begin = now_nanos();
    let tls = host.settings.tls.client(&url.host)?;
    // On the heap, and QUIC above: plain connections would carry it along.
    let secured = opened.connection.secure(tls, &url.host, Alpn::Either);
    let connection = Box::pin(secured).await?;
    reply.phases.handshaking = now_nanos() - begin;
    Box::pin(Line::agreed_on(connection)).await
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
    if let Some((addr, until)) = host.pool.borrow_mut().seldom().known.get(&key)
        && now < *until
    {
        return Ok(*addr);
    }
    let found = Box::pin(tokio::net::lookup_host((url.host.as_str(), url.port))).await;
    let found: Vec<_> = found.map_err(|error| failed(error.to_string()))?.collect();
    let addr = names.choose(&found);
    let addr = names.admit(addr.ok_or_else(|| failed("no such host".to_owned()))?)?;
    let mut pool = host.pool.borrow_mut();
    let known = &mut pool.seldom().known;
    if known.len() >= MAX_NAMES {
        known.clear();
    }
    let ttl = u64::try_from(names.dns.ttl.as_nanos()).unwrap_or(u64::MAX);
    known.insert(key, (addr, now.saturating_add(ttl)));
    Ok(addr)
}

/// Names whose addresses a virtual user remembers.
const MAX_NAMES: usize = 1000;
/// Connections that a virtual user keeps without sharing them; of more it closes the oldest.
const MAX_IDLE: usize = 1024;
/// Targets to which a virtual user keeps a connection that its requests share.
const MAX_SHARED: usize = 256;
