//! What a script gets back.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use rquickjs_core::class::{JsClass, Readable, Trace, Tracer};
use rquickjs_core::function::{Constructor, This};
use rquickjs_core::object::{Accessor, Property};
use rquickjs_core::{Class, Ctx, IntoJs, Object, Result, Value};

use super::ask::Keep;
use super::packed;
use super::send::Written;
use crate::client::Phases;
use crate::script::host::{Natives, buffer};
use crate::script::seam::Held;
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
    Ok(Class::instance(ctx.clone(), Held(reply))?.into_value())
}

impl<'js> Trace<'js> for Held<Reply> {
    fn trace<'a>(&self, _tracer: Tracer<'a, 'js>) {}
}

impl<'js> JsClass<'js> for Held<Reply> {
    const NAME: &'static str = "Response";

    type Mutable = Readable;

    fn prototype(ctx: &Ctx<'js>) -> Result<Option<Object<'js>>> {
        let prototype = Object::new(ctx.clone())?;
        getter(&prototype, "status", |reply, _| Ok(reply.status))?;
        getter(&prototype, "url", |reply, _| Ok(reply.url.clone()))?;
        getter(&prototype, "error", |reply, _| Ok(reply.error.clone()))?;
        getter(&prototype, "error_code", |reply, _| Ok(reply.code))?;
        getter(
            &prototype,
            "status_text",
            |reply, _| Ok(reply.status_text()),
        )?;
        getter(&prototype, "proto", |reply, _| Ok(reply.proto()))?;
        getter(&prototype, "remote_ip", |reply, _| {
            let ip = reply.remote.map(|addr| addr.ip().to_string());
            Ok(ip.unwrap_or_default())
        })?;
        getter(&prototype, "remote_port", |reply, _| {
            Ok(reply.remote.map_or(0, |addr| addr.port()))
        })?;
        getter(&prototype, "tls_version", |reply, _| Ok(reply.agreed.0))?;
        getter(&prototype, "tls_cipher_suite", |reply, _| {
            Ok(reply.agreed.1.clone())
        })?;
        kept_body(&prototype)?;
        getter(&prototype, "__head", |reply, _| Ok(reply.head_text()))?;
        getter(&prototype, "__times", |reply, _| Ok(reply.times()))?;
        getter(&prototype, "__request", |reply, _| {
            let head = reply.request.as_ref();
            let head = head.map_or(&[][..], |written| &written.text.head);
            let head = String::from_utf8_lossy(head);
            let body = String::from_utf8_lossy(&reply.sent_body);
            Ok(vec![
                head.into_owned(),
                body.into_owned(),
                reply.method.clone(),
            ])
        })?;
        Ok(Some(prototype))
    }

    fn constructor(_ctx: &Ctx<'js>) -> Result<Option<Constructor<'js>>> {
        Ok(None)
    }
}

/// What answers may take that a virtual user keeps; as much as its engine may, where it has one of its own.
const MAX_KEPT_BYTES: usize = 512 * 1024 * 1024;
/// k6's code of what has no other.
const TOO_MUCH: u16 = 1000;
const WHY_TOO_MUCH: &str = "the responses that the script keeps take more than 512 MB; forget those that it does not \
    need, or set `discardResponseBodies`";
/// k6's code of a body that cannot be unpacked.
const DECOMPRESSION: u16 = 1701;

/// The body, made when it is first asked for and kept in the response from then on.
fn kept_body<'js>(prototype: &Object<'js>) -> Result<()> {
    let accessor = Accessor::from(move |ctx: Ctx<'js>, this: This<Class<'js, Held<Reply>>>| {
        let body = this.0.borrow().0.body(&ctx)?;
        let kept = Property::from(body.clone()).writable().enumerable();
        this.0.as_inner().prop("body", kept.configurable())?;
        Ok::<_, rquickjs_core::Error>(body)
    });
    prototype.prop("body", accessor.configurable().enumerable())
}

fn getter<'js, T: IntoJs<'js> + 'js>(
    prototype: &Object<'js>,
    name: &str,
    get: impl Fn(&Reply, &Ctx<'js>) -> Result<T> + 'js,
) -> Result<()> {
    let accessor = Accessor::from(move |ctx: Ctx<'js>, this: This<Class<'js, Held<Reply>>>| {
        get(&this.0.borrow().0, &ctx)
    });
    prototype.prop(name, accessor.configurable().enumerable())
}

/// Puts the prototype of responses where the module `k6/http` finds it and adds to it.
pub(in crate::script) fn install(natives: &Natives<'_, '_>) -> Result<()> {
    let prototype = Class::<Held<Reply>>::prototype(natives.ctx)?;
    natives.set("responsePrototype", prototype)
}
