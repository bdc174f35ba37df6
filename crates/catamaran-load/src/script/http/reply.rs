//! What a script gets back.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use rquickjs_core::class::{JsClass, Readable, Trace, Tracer};
use rquickjs_core::function::Constructor;
use rquickjs_core::{Class, Ctx, Function, IntoJs, Object, Result, Value};

use super::ask::Keep;
use super::packed;
use super::send::Written;
use crate::client::Phases;
use crate::script::host::{self, Natives, buffer};
use crate::script::seam::{self, Get, Getters, Held, define_getters};
use crate::sink::as_f64;

/// The answer to a request, or why there is none.
#[derive(Debug, Default)]
pub(in crate::script) struct Reply {
    pub(in crate::script) status: u16,
    pub(in crate::script) url: String,
    /// The method that was asked for; redirects may have changed it.
    pub(in crate::script) method: String,
    pub(in crate::script) error: String,
    pub(in crate::script) code: u16,
    pub(in crate::script) remote: Option<SocketAddr>,
    /// Status line and fields as they came.
    pub(in crate::script) head: Vec<u8>,
    pub(in crate::script) body: Vec<u8>,
    pub(in crate::script) keep: Keep,
    pub(in crate::script) phases: Phases,
    /// The version of TLS and its cipher suite; empty without.
    pub(in crate::script) agreed: (&'static str, String),
    /// The request as it was sent.
    pub(in crate::script) request: Option<Rc<Written>>,
    /// Its body.
    pub(in crate::script) sent_body: Vec<u8>,
    /// Its share of what its virtual user keeps.
    pub(in crate::script) charge: Option<Charge>,
}

/// Bytes of an answer, as long as the script has it. They lie beside what the engine's limit counts.
#[derive(Debug)]
pub(in crate::script) struct Charge {
    bytes: usize,
    kept: Rc<Cell<usize>>,
}

impl Charge {
    fn new(kept: &Rc<Cell<usize>>, bytes: usize) -> Option<Self> {
        let sum = kept.get().checked_add(bytes)?;
        (sum <= MAX_KEPT_BYTES).then(|| {
            kept.set(sum);
            Self {
                bytes,
                kept: Rc::clone(kept),
            }
        })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.kept.set(self.kept.get() - self.bytes);
    }
}

impl Reply {
    pub(super) fn head_text(&self) -> String {
        String::from_utf8_lossy(&self.head).into_owned()
    }

    /// The values of a field of this name.
    pub(in crate::script) fn field<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.head.split(|&byte| byte == b'\n');
        lines.filter_map(move |line| {
            // Most lines are others, and need not be read as text for that.
            let (own, _) = line.split_at_checked(name.len())?;
            if !own.eq_ignore_ascii_case(name.as_bytes()) {
                return None;
            }
            let line = std::str::from_utf8(line).ok()?;
            let (own, value) = line.split_once(':')?;
            (own.len() == name.len()).then(|| value.trim())
        })
    }

    /// Unpacks the body. One that cannot be is no answer at all, as in k6.
    pub(super) fn unpack(&mut self) {
        if self.body.is_empty() {
            return;
        }
        let Some(encodings) = self.field("content-encoding").next().map(str::to_owned) else {
            return;
        };
        match packed::unpack(&encodings, &self.body) {
            Ok(body) => self.body = body,
            Err(why) => {
                let error = format!("error decompressing response body ({why})");
                self.become_none(DECOMPRESSION, error);
            }
        }
    }

    /// Counts what is kept of it among what its virtual user keeps of all answers. What is too much is no
    /// answer at all.
    pub(super) fn charge(&mut self, kept: &Rc<Cell<usize>>) {
        match Charge::new(kept, self.head.len() + self.body.len()) {
            Some(charge) => self.charge = Some(charge),
            None => self.become_none(TOO_MUCH, WHY_TOO_MUCH.to_owned()),
        }
    }

    fn become_none(&mut self, code: u16, error: String) {
        *self = Self {
            url: std::mem::take(&mut self.url),
            error,
            code,
            remote: self.remote,
            phases: self.phases,
            keep: self.keep,
            ..Self::default()
        };
    }

    /// The version of HTTP that the answer came in; empty without one.
    pub(super) fn proto(&self) -> &'static str {
        let has = |version: &str| self.head.starts_with(version.as_bytes());
        let known = ["HTTP/1.1", "HTTP/2.0", "HTTP/3.0", "HTTP/1.0"];
        known.into_iter().find(|version| has(version)).unwrap_or("")
    }

    fn status_text(&self) -> String {
        let line = self.head.split(|&byte| byte == b'\r').next();
        let line = String::from_utf8_lossy(line.unwrap_or_default());
        line.split_once(' ')
            .map(|(_, rest)| rest.trim().to_owned())
            .unwrap_or_default()
    }

    fn body<'js>(&self, ctx: &Ctx<'js>) -> Result<Value<'js>> {
        match self.keep {
            Keep::Nothing => Ok(Value::new_null(ctx.clone())),
            _ if matches!(self.status, 0 | 204 | 304) => Ok(Value::new_null(ctx.clone())),
            Keep::Binary => Ok(buffer(ctx, &self.body)?.into_value()),
            Keep::Text => String::from_utf8_lossy(&self.body).into_js(ctx),
        }
    }

    /// Head and body of the request as they were sent, and its method.
    fn request_texts(&self) -> Vec<String> {
        let head = self.request.as_ref();
        let head = head.map_or(&[][..], |written| &written.text.head);
        let head = String::from_utf8_lossy(head);
        let body = String::from_utf8_lossy(&self.sent_body);
        vec![head.into_owned(), body.into_owned(), self.method.clone()]
    }

    fn times(&self) -> Vec<f64> {
        let phases = &self.phases;
        let times = [
            phases.blocked,
            phases.connecting,
            phases.handshaking,
            phases.sending,
            phases.waiting,
            phases.receiving,
        ];
        times.iter().map(|&nanos| as_f64(nanos) / 1e6).collect()
    }
}

/// Gives a reply to the script; it is taken apart when it is asked for.
pub(in crate::script) fn into_js<'js>(ctx: &Ctx<'js>, reply: Reply) -> Result<Value<'js>> {
    let response = Class::instance(ctx.clone(), Held(reply))?.into_value();
    let host = host::now();
    if host.library().takes_apart() {
        let complete: Function<'js> = host.part(ctx, "complete")?.get("complete")?;
        return complete.call((response,));
    }
    Ok(response)
}

impl<'js> Trace<'js> for Held<Reply> {
    fn trace<'a>(&self, _tracer: Tracer<'a, 'js>) {}
}

impl<'js> JsClass<'js> for Held<Reply> {
    const NAME: &'static str = "Response";

    type Mutable = Readable;

    fn prototype(ctx: &Ctx<'js>) -> Result<Option<Object<'js>>> {
        let prototype = Object::new(ctx.clone())?;
        define_getters::<Reply>(&prototype)?;
        Ok(Some(prototype))
    }

    fn constructor(_ctx: &Ctx<'js>) -> Result<Option<Constructor<'js>>> {
        Ok(None)
    }
}

/// Bytes of a text that is not kept.
const MAX_MADE_AGAIN: usize = 512;

/// What answers may take that a virtual user keeps; as much as its engine may, where it has one of its own.
const MAX_KEPT_BYTES: usize = 512 * 1024 * 1024;
/// k6's code of what has no other.
const TOO_MUCH: u16 = 1000;
const WHY_TOO_MUCH: &str = "the responses that the script keeps take more than 512 MB; forget those that it does not \
    need, or set `discardResponseBodies`";
/// k6's code of a body that cannot be unpacked.
const DECOMPRESSION: u16 = 1701;

impl Getters for Reply {
    const ALL: &'static [(&'static str, Get)] = &[
        ("status", |ctx, this| {
            of(this)?.borrow().0.status.into_js(ctx)
        }),
        ("url", |ctx, this| (&*of(this)?.borrow().0.url).into_js(ctx)),
        ("error", |ctx, this| {
            (&*of(this)?.borrow().0.error).into_js(ctx)
        }),
        ("error_code", |ctx, this| {
            of(this)?.borrow().0.code.into_js(ctx)
        }),
        ("status_text", |ctx, this| {
            of(this)?.borrow().0.status_text().into_js(ctx)
        }),
        ("proto", |ctx, this| {
            of(this)?.borrow().0.proto().into_js(ctx)
        }),
        ("remote_ip", |ctx, this| {
            let remote = of(this)?.borrow().0.remote;
            let ip = remote.map(|addr| addr.ip().to_string());
            ip.unwrap_or_default().into_js(ctx)
        }),
        ("remote_port", |ctx, this| {
            let remote = of(this)?.borrow().0.remote;
            remote.map_or(0, |addr| addr.port()).into_js(ctx)
        }),
        ("tls_version", |ctx, this| {
            of(this)?.borrow().0.agreed.0.into_js(ctx)
        }),
        ("tls_cipher_suite", |ctx, this| {
            (&*of(this)?.borrow().0.agreed.1).into_js(ctx)
        }),
        ("body", kept_body),
        ("__head", |ctx, this| {
            of(this)?.borrow().0.head_text().into_js(ctx)
        }),
        ("__times", |ctx, this| {
            of(this)?.borrow().0.times().into_js(ctx)
        }),
        ("__request", |ctx, this| {
            of(this)?.borrow().0.request_texts().into_js(ctx)
        }),
    ];
}

/// The reply behind a response.
fn of<'js>(this: &Value<'js>) -> Result<Class<'js, Held<Reply>>> {
    Class::from_value(this)
}

/// The body. A long one is kept in the response; a short text is sooner made once more.
fn kept_body<'js>(ctx: &Ctx<'js>, this: &Value<'js>) -> Result<Value<'js>> {
    let response = of(this)?;
    let response = &response.borrow().0;
    let body = response.body(ctx)?;
    let is_short = response.body.len() <= MAX_MADE_AGAIN;
    if is_short && !body.is_object() {
        return Ok(body);
    }
    seam::keep(this, "body", body)
}

/// Puts the prototype of responses where the module `k6/http` finds it and adds to it.
pub(in crate::script) fn install(natives: &Natives<'_, '_>) -> Result<()> {
    let prototype = Class::<Held<Reply>>::prototype(natives.ctx)?;
    natives.set("responsePrototype", prototype)
}
