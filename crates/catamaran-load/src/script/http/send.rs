//! Sends requests: redirects, cookies, authentication, and what comes of it.

use std::collections::HashMap;
use std::rc::Rc;

use catamaran_sys::clock::now_nanos;
use tokio::task::JoinSet;

use super::ask::{Ask, Auth, Keep};
use super::debug::DebugLog;
use super::digest;
use super::jar::Jar;
use super::pool::send;
use super::record::{Moved, note_begin, record};
use super::reply::Reply;
use crate::client::{Kept, RequestText, Url, set_timeout};
use crate::engine::sleep_until;
use crate::script::host::Host;

/// A request that is ready to be sent.
#[derive(Debug)]
pub(in crate::script) struct Written {
    pub(super) method: String,
    /// The URL as the script has it.
    pub(super) given: String,
    pub(super) url: Url,
    /// The URL as the samples and the script have it.
    pub(super) shown: String,
    pub(super) text: RequestText,
}

/// Sends a request and follows its redirects.
pub(in crate::script) async fn perform(host: &Rc<Host>, mut ask: Ask) -> Reply {
    let timeout = u64::try_from(ask.timeout.as_nanos()).unwrap_or(u64::MAX / 4);
    let deadline = now_nanos().saturating_add(timeout);
    let method = ask.method.clone();
    let has_referer = ask.fields.iter().any(|(name, _)| name == "Referer");
    loop {
        let mut reply = match ask.auth {
            Auth::Basic => once(host, &ask, deadline).await,
            Auth::Digest => Box::pin(authorized(host, &ask, deadline)).await,
        };
        reply.method.clone_from(&method);
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
            let is_of_body = |name: &str| name.eq_ignore_ascii_case("content-type");
            ask.fields.retain(|(name, _)| !is_of_body(name));
        }
        let (from, to) = (Url::parse(&reply.url).ok(), Url::parse(&next).ok());
        let is_elsewhere = match (&from, &to) {
            (Some(from), Some(to)) => from.authority != to.authority,
            _ => true,
        };
        if is_elsewhere {
            // What is secret is not for another host.
            let is_secret = |name: &str| name.eq_ignore_ascii_case("authorization");
            ask.fields.retain(|(name, _)| !is_secret(name));
        }
        if !has_referer {
            ask.fields.retain(|(name, _)| name != "Referer");
            // Where a request came from over TLS is not told in the clear.
            if to.is_some_and(|to| to.is_tls) || reply.url.starts_with("http:") {
                ask.fields.push(("Referer".to_owned(), reply.url.clone()));
            }
        }
        ask.url = next;
    }
}

/// Sends the requests of a batch, some at a time, and gives the replies in their order.
pub(in crate::script) async fn perform_all(host: &Rc<Host>, asks: Vec<Ask>) -> Vec<Reply> {
    let at_once = host.settings.batch.max(1);
    let per_host = host.settings.batch_per_host.max(1);
    let mut replies: Vec<Option<Reply>> = asks.iter().map(|_| None).collect();
    let mut waiting: Vec<_> = asks.into_iter().enumerate().rev().collect();
    let mut of_host: HashMap<String, usize> = HashMap::new();
    let mut running = JoinSet::new();
    loop {
        while running.len() < at_once {
            let has_room = |(_, ask): &(usize, Ask)| {
                of_host.get(&authority(&ask.url)).copied().unwrap_or(0) < per_host
            };
            let Some(at) = waiting.iter().rposition(has_room) else {
                break;
            };
            let (index, ask) = waiting.remove(at);
            let name = authority(&ask.url);
            *of_host.entry(name.clone()).or_default() += 1;
            let host = Rc::clone(host);
            running.spawn_local(async move { (index, name, perform(&host, ask).await) });
        }
        match running.join_next().await {
            Some(Ok((index, name, reply))) => {
                replies[index] = Some(reply);
                of_host.entry(name).and_modify(|count| *count -= 1);
            }
            Some(Err(_)) => {}
            None => break,
        }
    }
    replies.into_iter().map(Option::unwrap_or_default).collect()
}

fn authority(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or("").to_owned()
}

/// Where an answer sends the client, if it does. What is no URL fails as the next request.
fn redirected(reply: &Reply) -> Option<String> {
    if !matches!(reply.status, 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = reply.field("location").next()?;
    // Without a place to go to, the answer is the last one.
    let from = Url::parse(&reply.url)
        .ok()
        .filter(|_| !location.is_empty())?;
    Some(from.resolve(location))
}

/// Sends one request twice: the first answer says what digest authentication wants proved.
async fn authorized(host: &Rc<Host>, ask: &Ask, deadline: u64) -> Reply {
    let Some((url, user)) = Url::parse(&ask.url)
        .ok()
        .and_then(|url| url.user.clone().map(|user| (url, user)))
    else {
        return once(host, ask, deadline).await;
    };
    let mut first = ask.clone();
    first.expected = Some(vec![401, 401]);
    first.url = url.to_string();
    let reply = once(host, &first, deadline).await;
    let nonce = format!("{:016x}", fastrand::u64(..));
    let answer = reply.field("www-authenticate").find_map(|challenge| {
        digest::authorization(challenge, &user, &ask.method, &url.target, &nonce)
    });
    let Some(answer) = answer.filter(|_| reply.status == 401) else {
        return reply;
    };
    let field = ("Authorization".to_owned(), answer);
    first.fields.push(field);
    first.expected.clone_from(&ask.expected);
    once(host, &first, deadline).await
}

/// Sends one request and records what came of it.
async fn once(host: &Rc<Host>, ask: &Ask, deadline: u64) -> Reply {
    let mut reply = Reply {
        keep: ask.keep,
        ..Reply::default()
    };
    if let Some(pace) = &host.settings.pace {
        sleep_until(pace.claim(now_nanos())).await;
    }
    let begin = now_nanos();
    let under_way = note_begin(host, begin);
    let mut moved = Moved::default();
    match prepare(host, ask) {
        Ok(written) => {
            let (url, request) = (&written.url, &written.text);
            reply.url.clone_from(&written.shown);
            let debug = DebugLog::new(host);
            if let Some(debug) = &debug {
                debug.request(ask, &written);
            }
            let mut kept = Kept {
                // Heads are always kept; a body that nobody wants is read and forgotten.
                skips_body: ask.keep == Keep::Nothing
                    && !debug.as_ref().is_some_and(DebugLog::wants_bodies),
                ..Kept::default()
            };
            let work = send(host, ask, url, request, begin, &mut kept, &mut reply);
            match set_timeout(deadline, work).await {
                Ok(answer) => {
                    moved.sent = answer.sent;
                    moved.received = answer.received;
                    reply.status = answer.status;
                    reply.head = kept.head;
                    reply.body = kept.body;
                    if let Some(debug) = &debug {
                        debug.answer(&reply);
                    }
                    if ask.keep == Keep::Nothing {
                        reply.body.clear();
                    }
                    if answer.status >= 400 {
                        reply.code = 1000 + answer.status;
                    }
                    take_cookies(host, ask, url, &reply);
                    reply.unpack();
                    reply.charge(&host.kept_bytes);
                }
                Err(failure) => {
                    reply.code = failure.code();
                    reply.error = failure.to_string();
                    let taken = now_nanos() - begin;
                    reply.phases.waiting = taken.saturating_sub(reply.phases.blocked);
                }
            }
            reply.request = Some(written);
        }
        Err((code, why)) => {
            reply.url.clone_from(&ask.url);
            reply.code = code;
            reply.error = why;
        }
    }
    if let Some(body) = ask.body.as_ref().filter(|_| ask.keep != Keep::Nothing) {
        reply.sent_body.clone_from(body);
    }
    under_way.over();
    record(host, ask, &reply, begin, moved);
    reply
}

pub(in crate::script) fn take_cookies(host: &Host, ask: &Ask, url: &Url, reply: &Reply) {
    let mut jars = host.jars.borrow_mut();
    if let Some(jar) = jars.get_mut(ask.jar) {
        for line in reply.field("set-cookie") {
            jar.take(url, line);
        }
    }
}

/// Writes a request, or finds it written.
fn prepare(host: &Host, ask: &Ask) -> Result<Rc<Written>, (u16, String)> {
    let has_no_cookies = ask.cookies.is_empty() && has_empty_jar(host, ask);
    let is_plain = ask.fields.is_empty() && ask.body.is_none() && has_no_cookies;
    let (key, written) = ((&ask.url, &ask.method), &host.neighbourhood.written);
    if is_plain {
        let is_it = |written: &Rc<Written>| (&written.given, &written.method) == key;
        if let Some(written) = written.borrow().find(key, is_it) {
            return Ok(Rc::clone(written));
        }
    }
    let url = Url::parse(&ask.url).and_then(|url| url.check_escapes().map(|()| url));
    let url = url.map_err(|error| (error.code(), error.to_string()))?;
    let text = write(host, ask, &url).map_err(|why| (INVALID_URL, why))?;
    let made = Rc::new(Written {
        method: ask.method.clone(),
        given: ask.url.clone(),
        shown: url.to_string(),
        url,
        text,
    });
    if is_plain && ask.url.len() <= MAX_KEPT_URL {
        written.borrow_mut().keep(key, Rc::clone(&made));
    }
    Ok(made)
}

fn has_empty_jar(host: &Host, ask: &Ask) -> bool {
    let jars = host.jars.borrow();
    jars.get(ask.jar).is_none_or(Jar::is_empty)
}

fn write(host: &Host, ask: &Ask, url: &Url) -> Result<RequestText, String> {
    // What may have a body says that it has none.
    let may_have = matches!(&*ask.method, "POST" | "PUT" | "PATCH");
    let none = may_have.then_some(0);
    let len = ask.body.as_ref().map(Vec::len).or(none);
    let cookies = cookies(host, ask, url);
    let is_usual = cookies.is_empty() && host.settings.keeps_connections;
    let request = if is_usual {
        RequestText::new(
            &ask.method,
            url,
            &ask.fields,
            len,
            &host.settings.user_agent,
        )
    } else {
        let mut fields = ask.fields.clone();
        if !cookies.is_empty() {
            fields.push(("Cookie".to_owned(), cookies));
        }
        if !host.settings.keeps_connections {
            fields.push(("Connection".to_owned(), "close".to_owned()));
        }
        RequestText::new(&ask.method, url, &fields, len, &host.settings.user_agent)
    };
    request.map_err(|error| error.to_string())
}

/// The value of `Cookie`: the request's own and the jar's.
pub(in crate::script) fn cookies(host: &Host, ask: &Ask, url: &Url) -> String {
    let jars = host.jars.borrow();
    let of_jar = jars.get(ask.jar).map(|jar| jar.cookies_for(url));
    let replaces = |name: &str| {
        let mut own = ask.cookies.iter();
        own.any(|(known, _, replaces)| *replaces && known == name)
    };
    let of_jar = of_jar.unwrap_or_default().into_iter();
    let of_jar = of_jar.filter(|(name, _)| !replaces(name));
    let own = ask.cookies.iter();
    let own = own.map(|(name, value, _)| (name.clone(), value.clone()));
    let texts: Vec<String> = own
        .chain(of_jar)
        .map(|(name, value)| match value.contains([' ', ',']) {
            true => format!("{name}=\"{value}\""),
            false => format!("{name}={value}"),
        })
        .collect();
    texts.join("; ")
}

/// Bytes of a URL at most whose request is kept written.
const MAX_KEPT_URL: usize = 4096;
/// k6's code of a URL that cannot be asked.
const INVALID_URL: u16 = 1020;
