//! The process as the admin API sees it: its log and its end.

use crate::logging;
use catamaran_control::admin::Host;
use tokio::sync::mpsc;

/// This process.
#[derive(Debug)]
pub(crate) struct ProcessHost {
    /// Asks for the end of the whole, if there is more than this process.
    end: Option<mpsc::Sender<()>>,
}

impl ProcessHost {
    /// A process with a supervisor, which is to end too when `end` is told.
    pub(crate) const fn supervised(end: mpsc::Sender<()>) -> Self {
        Self { end: Some(end) }
    }

    /// A process that nobody supervises.
    pub(crate) const fn alone() -> Self {
        Self { end: None }
    }
}

impl Host for ProcessHost {
    fn log_level(&self) -> String {
        logging::level()
    }

    fn set_log_level(&self, level: &str) -> Result<(), String> {
        logging::set_level(level).map_err(|error| error.to_string())
    }

    fn drain(&self) -> Result<(), String> {
        tracing::info!("an operator asks for a drain");
        match &self.end {
            Some(end) => {
                // One request that waits already says all.
                let _ = end.try_send(());
                Ok(())
            }
            // As a service manager would.
            None => catamaran_sys::process::send_signal(std::process::id(), libc::SIGTERM)
                .map_err(|error| format!("the process cannot be asked to drain: {error}")),
        }
    }
}
