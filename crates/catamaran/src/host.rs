//! The process as the admin API sees it: its log and its end.

use crate::custody::UpgradeRequest;
use crate::logging;
use catamaran_control::admin::{Host, Upgraded};
use std::path::PathBuf;
use tokio::sync::{mpsc, oneshot};

/// This process.
#[derive(Debug)]
pub(crate) struct ProcessHost {
    /// Asks for the end of the whole, if there is more than this process.
    end: Option<mpsc::Sender<()>>,
    /// Asks for another binary, if somebody can start it.
    upgrade: Option<mpsc::Sender<UpgradeRequest>>,
}

impl ProcessHost {
    /// A process with a supervisor, which is to end too when `end` is told.
    pub(crate) const fn supervised(
        end: mpsc::Sender<()>,
        upgrade: mpsc::Sender<UpgradeRequest>,
    ) -> Self {
        Self {
            end: Some(end),
            upgrade: Some(upgrade),
        }
    }

    /// A process that nobody supervises.
    pub(crate) const fn alone() -> Self {
        Self {
            end: None,
            upgrade: None,
        }
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

    fn upgrade(&self, binary: Option<PathBuf>) -> oneshot::Receiver<Upgraded> {
        let (asker, outcome) = oneshot::channel();
        let refused = match &self.upgrade {
            None => Some((
                asker,
                "no supervisor is there to start another binary; start without `--no-supervisor`, \
                 or restart",
            )),
            Some(upgrade) => match upgrade.try_send((binary, asker)) {
                Ok(()) => None,
                Err(error) => Some((error.into_inner().1, "another upgrade is asked for")),
            },
        };
        if let Some((asker, reason)) = refused {
            let _ = asker.send(Err(reason.to_owned()));
        }
        outcome
    }
}
