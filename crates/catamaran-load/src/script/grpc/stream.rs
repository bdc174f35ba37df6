//! Calls that stream: a task for each, that the script hands messages to and takes events from.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use catamaran_sys::clock::now_nanos;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use tokio::task::AbortHandle;

use super::call::{Call, Status, finish, send, status_of};
use super::client::{Ask, Ready};
use crate::client::Failure;
use crate::metric::builtin;
use crate::script::host::Host;
use crate::sink::as_f64;
use crate::tags::TagsId;

/// The streams of one virtual user, by number.
#[derive(Default)]
pub(in crate::script) struct Streams {
    open: HashMap<u32, Rc<Stream>>,
    last: u32,
}

/// One stream, as the script holds it.
pub(super) struct Stream {
    messages: mpsc::UnboundedSender<Option<Vec<u8>>>,
    events: Mutex<mpsc::Receiver<Value>>,
    pub(super) ready: Rc<Ready>,
    driver: AbortHandle,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Streams {
    pub(super) fn get(&self, number: u32) -> Option<Rc<Stream>> {
        self.open.get(&number).map(Rc::clone)
    }

    pub(super) fn add(&mut self, stream: Stream) -> u32 {
        self.last += 1;
        self.open.insert(self.last, Rc::new(stream));
        self.last
    }

    pub(super) fn remove(&mut self, number: u32) {
        self.open.remove(&number);
    }
}

impl Stream {
    /// Begins a call.
    pub(super) fn begin(host: &Rc<Host>, ready: Ready, ask: Ask) -> Self {
        let (messages, to_send) = mpsc::unbounded_channel();
        let (tell, events) = mpsc::channel(MAX_EVENTS);
        let ready = Rc::new(ready);
        let (host, own) = (Rc::clone(host), Rc::clone(&ready));
        let task = tokio::task::spawn_local(async move {
            let begin = now_nanos();
            let tags = own.tags(&host, &ask, None);
            host.local.record(builtin::GRPC_STREAMS, tags, 1.0);
            let limit = ask.timeout.unwrap_or(FOR_EVER);
            let work = drive(&host, &own, tags, to_send, &tell);
            let ended = tokio::time::timeout(limit, work).await;
            let status = ended.unwrap_or_else(|_| Err(status_of(&Failure::Timeout)));
            let code = status.as_ref().err().map_or(0, |status| status.code);
            let took = as_f64(now_nanos() - begin) / 1e6;
            let ended = own.tags(&host, &ask, Some(code));
            host.local.record(builtin::GRPC_REQ_DURATION, ended, took);
            if let Err(status) = status {
                let error =
                    json!({ "code": status.code, "message": status.message, "details": [] });
                // A script that has moved on hears nothing.
                drop(tell.send(json!(["error", error])).await);
            }
            drop(tell.send(json!(["end"])).await);
            let (sent, received) = own.connection.take_moved();
            host.local.record(builtin::DATA_SENT, tags, as_f64(sent));
            host.local
                .record(builtin::DATA_RECEIVED, tags, as_f64(received));
        });
        Self {
            messages,
            events: Mutex::new(events),
            ready,
            driver: task.abort_handle(),
        }
    }

    /// Hands over a message, or that there are no more.
    pub(super) fn write(&self, message: Option<Vec<u8>>) {
        // Of a stream that has ended the script is told by its last event.
        let _ = self.messages.send(message);
    }

    /// Waits for the next event.
    pub(super) async fn next(&self) -> Value {
        let event = self.events.lock().await.recv().await;
        event.unwrap_or_else(|| json!(["end"]))
    }
}

async fn drive(
    host: &Host,
    ready: &Ready,
    tags: TagsId,
    mut to_send: mpsc::UnboundedReceiver<Option<Vec<u8>>>,
    tell: &mpsc::Sender<Value>,
) -> Result<(), Status> {
    let mut call = Call::begin(&ready.connection, &ready.target, ready.max_receive).await?;
    let stream = call.sending.take();
    let write = async {
        let Some(mut stream) = stream else {
            return Ok(());
        };
        while let Some(Some(message)) = to_send.recv().await {
            send(&mut stream, &message).await?;
            host.local
                .record(builtin::GRPC_STREAMS_MSGS_SENT, tags, 1.0);
        }
        finish(&mut stream)?;
        Ok::<(), Failure>(())
    };
    let read = async {
        call.head().await?;
        let mut is_heard = true;
        while let (true, Some(bytes)) = (is_heard, call.receiving.message().await?) {
            host.local
                .record(builtin::GRPC_STREAMS_MSGS_RECEIVED, tags, 1.0);
            let message = ready.decode(&bytes)?;
            is_heard = tell.send(json!(["data", message])).await.is_ok();
        }
        match call.receiving.status() {
            Status { code: 0, .. } => Ok(()),
            status => Err(status),
        }
    };
    let mut write = std::pin::pin!(write);
    let mut read = std::pin::pin!(read);
    tokio::select! {
        biased;
        ended = &mut read => ended,
        // Why the server takes no more, it says in its answer.
        _ = &mut write => read.await,
    }
}

/// Events that wait for the script; the server is not read from beyond.
const MAX_EVENTS: usize = 1024;
/// Streams without a limit end with their iteration.
const FOR_EVER: Duration = Duration::from_secs(86_400);
