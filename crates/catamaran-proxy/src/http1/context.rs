//! What one exchange needs beyond its connection, borrowed from the worker while it is at work.

use super::transfer::Transfer;
use super::upgrade::Tunnel;
use crate::io::Buffer;
use crate::trace::Trace;
use crate::upstream::Ask;
use catamaran_core::model::HeaderModifier;
use catamaran_http1::{RequestHead, ResponseHead};
use std::cell::RefCell;

/// The parsed heads, bodies and scratch memory of one exchange.
#[derive(Debug, Default)]
pub(crate) struct Context {
    pub(crate) request: RequestHead,
    pub(crate) response: ResponseHead,
    /// The request's body on its way to the server.
    pub(crate) upload: Transfer,
    /// The response's body on its way to the client.
    pub(crate) download: Transfer,
    /// The head as it goes to the server, then gathered pieces of the request's body.
    pub(crate) to_server: Vec<u8>,
    /// The head as it goes to the client, then gathered pieces of the response's body.
    pub(crate) to_client: Vec<u8>,
    /// What was read from the server.
    pub(crate) reply: Buffer,
    pub(crate) ask: Ask,
    /// Method, target and host for the access log, spaces between them; empty without one. The
    /// buffer they came in may be gone when the exchange ends.
    pub(crate) request_line: Vec<u8>,
    /// A value being put together.
    pub(crate) scratch: Vec<u8>,
    /// Changes to the request that say who the client has shown to be.
    pub(crate) asserted: Option<Box<HeaderModifier>>,
    /// The trace that the exchange belongs to, where requests are traced.
    pub(crate) trace: Option<Trace>,
    /// What becomes of an exchange that switched protocols.
    pub(crate) tunnel: Option<Box<Tunnel>>,
}

/// The contexts of one worker that nobody borrows.
#[derive(Debug, Default)]
pub(crate) struct ContextPool(
    #[expect(
        clippy::vec_box,
        reason = "a context is borrowed with its box: it is large and never moved"
    )]
    RefCell<Vec<Box<Context>>>,
);

/// Contexts kept at most; each holds a few KiB of lists that have grown.
const MAX_POOLED: usize = 1024;
/// Bytes of lists in a context that is kept; an exceptional one is freed.
const MAX_KEPT_BYTES: usize = 128 * 1024;

impl ContextPool {
    /// Lends a context.
    pub(crate) fn take(&self) -> Box<Context> {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a context back.
    pub(crate) fn give_back(&self, mut context: Box<Context>) {
        context.request.reset();
        context.response.reset();
        context.upload.reset();
        context.request_line.clear();
        context.to_server.clear();
        context.to_client.clear();
        context.ask.tried.clear();
        // What an exchange that ended badly left behind must never reach another.
        context.reply = Buffer::default();
        context.tunnel = None;
        context.asserted = None;
        context.trace = None;
        context.upload.abandon();
        context.download.abandon();
        let kept = context.to_server.capacity()
            + context.to_client.capacity()
            + context.request_line.capacity()
            + context.scratch.capacity();
        let mut pool = self.0.borrow_mut();
        if pool.len() < MAX_POOLED && kept <= MAX_KEPT_BYTES {
            pool.push(context);
        }
    }
}
