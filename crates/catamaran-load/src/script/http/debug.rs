//! Requests and answers as lines of the log: the option `httpDebug`.

use super::ask::Ask;
use super::reply::Reply;
use super::send::Written;
use crate::live::terminal;
use crate::options::HttpDebug;
use crate::script::host::Host;

/// What is logged of one request, and of its answer.
pub(super) struct DebugLog<'a> {
    host: &'a Host,
    how: HttpDebug,
    /// Says which answer is that of which request.
    id: u64,
}

impl<'a> DebugLog<'a> {
    /// One for the next request, if requests are logged.
    pub(super) fn new(host: &'a Host) -> Option<Self> {
        let how = host.settings.http_debug?;
        let id = fastrand::u64(..);
        Some(Self { host, how, id })
    }

    /// Whether answers are logged with their bodies.
    pub(super) fn wants_bodies(&self) -> bool {
        self.how == HttpDebug::Full
    }

    /// Logs a request that goes out now.
    pub(super) fn request(&self, ask: &Ask, written: &Written) {
        let body = ask.body.as_deref().unwrap_or_default();
        self.log("Request", &written.text.head, body);
    }

    /// Logs an answer as it came.
    pub(super) fn answer(&self, reply: &Reply) {
        self.log("Response", &reply.head, &reply.body);
    }

    fn log(&self, what: &str, head: &[u8], body: &[u8]) {
        let body = if self.wants_bodies() { body } else { &[] };
        let shown = &body[..body.len().min(MAX_BODY_BYTES)];
        let mut text = String::from_utf8_lossy(head).replace("\r\n", "\n");
        text.push_str(&String::from_utf8_lossy(shown));
        if shown.len() < body.len() {
            let left = body.len() - shown.len();
            text.push_str(&format!("… and {left} bytes more"));
        }
        let (vu, iteration) = (self.host.place.vu, self.host.iteration.get());
        let line = format!(
            "level=info msg={:?} iter={iteration} request_id={:016x} source=http-debug vu={vu}",
            format!("{what}:\n{text}\n"),
            self.id
        );
        // A terminal that has gone is no reason to end the run.
        let _ = terminal::line(&mut std::io::stderr(), &line);
    }
}

/// Bytes of a body that are logged.
const MAX_BODY_BYTES: usize = 64 * 1024;
