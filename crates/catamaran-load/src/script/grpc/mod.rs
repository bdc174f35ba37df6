//! gRPC: the functions behind `k6/net/grpc`.

mod call;
mod client;
mod reflect;
mod stream;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use rquickjs_core::{Ctx, Exception, Object, Result, Value};
use serde_json::json;

use super::host::{Host, Natives, Outcome, millis, must_not_run, must_run, wait};
use super::seam;
use crate::proto::{Schema, read_set};
use client::{Ask, Client, Connect, invoke};
use stream::{Stream, Streams};

/// What one virtual user has of gRPC. Clients outlive iterations, streams do not.
#[derive(Default)]
pub(super) struct Grpc {
    clients: RefCell<Vec<Rc<Client>>>,
    streams: RefCell<Streams>,
}

impl Grpc {
    /// Ends all streams.
    pub(super) fn forget_streams(&self) {
        // Outside of the borrow.
        let streams = self.streams.take();
        drop(streams);
    }

    fn client(&self, ctx: &Ctx<'_>, number: usize) -> Result<Rc<Client>> {
        let client = self.clients.borrow().get(number).map(Rc::clone);
        client.ok_or_else(|| Exception::throw_message(ctx, "the first argument must be a Client"))
    }
}

pub(super) fn install<'js>(natives: &Natives<'_, 'js>) -> Result<()> {
    install_clients(natives)?;
    install_calls(natives)?;
    install_streams(natives)
}

fn install_clients<'js>(natives: &Natives<'_, 'js>) -> Result<()> {
    let own = Rc::clone(natives.host);
    natives.add("grpcClient", move || {
        let mut clients = own.grpc.clients.borrow_mut();
        clients.push(Rc::default());
        clients.len() - 1
    })?;
    let own = Rc::clone(natives.host);
    natives.add(
        "grpcLoad",
        move |ctx: Ctx<'js>, client: usize, directories: Vec<String>, files: Vec<String>| {
            must_not_run(&ctx, "load()")?;
            let client = own.grpc.client(&ctx, client)?;
            let places = directories
                .iter()
                .map(|name| own.directory().join(local(name)));
            let mut places: Vec<PathBuf> = places.collect();
            if places.is_empty() {
                places.push(own.directory().to_owned());
            }
            let key = format!("{places:?} {files:?}");
            let library = own.library();
            let read = |path: &Path| library.files.read(path);
            let schema = library.schema(&key, || Schema::load(&places, &files, &read));
            let schema = schema.map_err(|why| Exception::throw_message(&ctx, &why))?;
            client.learn(&schema);
            Ok::<_, rquickjs_core::Error>(methods_text(&schema))
        },
    )?;
    let own = Rc::clone(natives.host);
    natives.add(
        "grpcLoadSet",
        move |ctx: Ctx<'js>, client: usize, path: String| {
            must_not_run(&ctx, "loadProtoset()")?;
            let client = own.grpc.client(&ctx, client)?;
            let path = own.directory().join(local(&path));
            let schema = own
                .library()
                .schema(&path.to_string_lossy(), || read_schema(&own, &path));
            let schema = schema.map_err(|why| Exception::throw_message(&ctx, &why))?;
            client.learn(&schema);
            Ok::<_, rquickjs_core::Error>(methods_text(&schema))
        },
    )?;
    let own = Rc::clone(natives.host);
    natives.add(
        "grpcConnect",
        move |ctx: Ctx<'js>, client: usize, address: String, more: Object<'js>| {
            must_run(&ctx, "connect()")?;
            let client = own.grpc.client(&ctx, client)?;
            let how = Connect {
                address,
                is_plain: more.get("plaintext")?,
                timeout: millis(more.get("timeout")?),
                max_receive: more.get("maxReceiveSize")?,
                max_send: more.get("maxSendSize")?,
                authority: more.get("authority")?,
                reflects: more.get("reflect")?,
                metadata: metadata_of(&more)?,
            };
            let connected = wait(&ctx, &own, client.connect(&own, how))?;
            connected.map_err(|why| Exception::throw_message(&ctx, &why))
        },
    )?;
    let own = Rc::clone(natives.host);
    natives.add("grpcClose", move |ctx: Ctx<'js>, client: usize| {
        own.grpc.client(&ctx, client)?.close();
        Ok::<_, rquickjs_core::Error>(())
    })
}

/// Reads a set of descriptors.
fn read_schema(host: &Host, path: &Path) -> std::result::Result<Schema, String> {
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    let bytes = host.library().files.read(path).map_err(told)?;
    let mut schema = Schema::default();
    schema.add(&read_set(&bytes)?)?;
    Ok(schema)
}

fn install_calls<'js>(natives: &Natives<'_, 'js>) -> Result<()> {
    let own = Rc::clone(natives.host);
    natives.add(
        "grpcInvoke",
        move |ctx: Ctx<'js>, client: usize, more: Object<'js>| {
            must_run(&ctx, "invoke()")?;
            let work = prepare(&ctx, &own, client, &more)?;
            Ok::<_, rquickjs_core::Error>(wait(&ctx, &own, work)?.to_string())
        },
    )?;
    let own = Rc::clone(natives.host);
    natives.add(
        "startGrpcInvoke",
        move |ctx: Ctx<'js>, number: u32, client: usize, more: Object<'js>| {
            must_run(&ctx, "asyncInvoke()")?;
            let work = prepare(&ctx, &own, client, &more)?;
            own.begin_later(&ctx, number, async move {
                let text = work.await.to_string();
                let outcome: Outcome = Box::new(move |ctx| text_into_js(ctx, &text));
                Some(outcome)
            })
        },
    )
}

/// A unary call that is ready to be made.
fn prepare(
    ctx: &Ctx<'_>,
    host: &Rc<Host>,
    client: usize,
    more: &Object<'_>,
) -> Result<impl Future<Output = serde_json::Value> + 'static> {
    let ask = ask_of(more)?;
    let told = |why: String| Exception::throw_message(ctx, &why);
    let ready = host
        .grpc
        .client(ctx, client)?
        .ready(host, &ask)
        .map_err(told)?;
    let message = ready.encode(&ask.message).map_err(told)?;
    Ok(invoke(Rc::clone(host), ready, ask, message))
}

fn install_streams<'js>(natives: &Natives<'_, 'js>) -> Result<()> {
    let own = Rc::clone(natives.host);
    natives.add(
        "grpcStream",
        move |ctx: Ctx<'js>, client: usize, more: Object<'js>| {
            must_run(&ctx, "a Stream")?;
            let ask = ask_of(&more)?;
            let client = own.grpc.client(&ctx, client)?;
            let ready = client.ready(&own, &ask);
            let ready = ready.map_err(|why| Exception::throw_message(&ctx, &why))?;
            let stream = Stream::begin(&own, ready, ask);
            Ok::<_, rquickjs_core::Error>(own.grpc.streams.borrow_mut().add(stream))
        },
    )?;
    let own = Rc::clone(natives.host);
    natives.add(
        "grpcStreamWrite",
        move |ctx: Ctx<'js>, number: u32, message: Option<String>| {
            let stream = own.grpc.streams.borrow().get(number);
            let Some(stream) = stream else {
                return Ok(());
            };
            let message = message.map(|text| stream.ready.encode(&text)).transpose();
            let message = message.map_err(|why| Exception::throw_message(&ctx, &why))?;
            stream.write(message);
            Ok::<_, rquickjs_core::Error>(())
        },
    )?;
    let own = Rc::clone(natives.host);
    natives.add(
        "startGrpcStreamNext",
        move |ctx: Ctx<'js>, number: u32, stream: u32| {
            let stream = own.grpc.streams.borrow().get(stream);
            own.begin_later(&ctx, number, async move {
                let event = match stream {
                    Some(stream) => stream.next().await,
                    None => json!(["end"]),
                };
                let text = event.to_string();
                let outcome: Outcome = Box::new(move |ctx| text_into_js(ctx, &text));
                Some(outcome)
            })
        },
    )?;
    let own = Rc::clone(natives.host);
    natives.add("grpcStreamEnd", move |number: u32| {
        own.grpc.streams.borrow_mut().remove(number);
    })
}

fn text_into_js<'js>(ctx: &Ctx<'js>, text: &str) -> Result<Value<'js>> {
    rquickjs_core::IntoJs::into_js(text, ctx)
}

fn ask_of(more: &Object<'_>) -> Result<Ask> {
    let timeout: Option<f64> = more.get("timeout")?;
    Ok(Ask {
        path: more.get("path")?,
        message: more.get("message")?,
        metadata: metadata_of(more)?,
        tags: more
            .get::<_, Option<Vec<String>>>("tags")?
            .unwrap_or_default(),
        timeout: timeout.map(millis),
        discards: more.get("discards")?,
    })
}

/// Names and values by turns; values are texts or buffers.
fn metadata_of(more: &Object<'_>) -> Result<Vec<(String, Vec<u8>)>> {
    let flat: Vec<Value<'_>> = more.get::<_, Option<_>>("metadata")?.unwrap_or_default();
    let bytes = |value: &Value<'_>| match value.as_string() {
        Some(text) => text.to_string().map(String::into_bytes),
        None => Ok(seam::bytes_of(value).unwrap_or_default()),
    };
    let pairs = flat.chunks_exact(2);
    let pairs = pairs.map(|pair| {
        let name = String::from_utf8_lossy(&bytes(&pair[0])?).into_owned();
        Ok((name, bytes(&pair[1])?))
    });
    pairs.collect()
}

/// Methods as `load` returns them.
fn methods_text(schema: &Arc<Schema>) -> String {
    let methods = schema.methods().map(|method| {
        let (service, name) = method.path[1..].split_once('/').unwrap_or_default();
        let (package, service) = service.rsplit_once('.').unwrap_or(("", service));
        json!({
            "package": package,
            "service": service,
            "full_method": method.path,
            "name": name,
            "is_client_stream": method.is_client_streaming,
            "is_server_stream": method.is_server_streaming,
        })
    });
    serde_json::Value::from_iter(methods).to_string()
}

fn local(path: &str) -> &str {
    path.strip_prefix("file://").unwrap_or(path)
}
