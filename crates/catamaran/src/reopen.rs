//! SIGUSR1: access logs are opened anew, after log rotation has moved them away (as nginx does).

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Requests to open the access logs anew.
#[derive(Debug)]
pub(crate) struct Reopen(Signal);

impl Reopen {
    /// Takes the signal over from now on: its default action would end the process.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self(signal(SignalKind::user_defined1())?))
    }

    /// Waits for the next request.
    pub(crate) async fn recv(&mut self) {
        self.0.recv().await;
    }

    /// Passes a request on to the process of this id.
    pub(crate) fn pass_on(pid: u32) {
        if let Err(error) = catamaran_sys::process::send_signal(pid, libc::SIGUSR1) {
            tracing::warn!(pid, %error, "data process cannot be told to reopen its logs");
        }
    }
}
