//! The process as the admin API sees it: its log and its end.

use crate::logging;
use catamaran_control::admin::Host;

/// This process.
#[derive(Debug)]
pub(crate) struct ProcessHost {
    /// The supervisor's process id, if one would start another process in place of this one.
    supervisor: Option<u32>,
}

impl ProcessHost {
    /// A process that its parent supervises.
    pub(crate) fn supervised() -> Self {
        Self {
            supervisor: Some(std::os::unix::process::parent_id()),
        }
    }

    /// A process that nobody supervises.
    pub(crate) const fn alone() -> Self {
        Self { supervisor: None }
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
        // As a service manager would: the supervisor knows then that no other process is wanted.
        let parent = std::os::unix::process::parent_id();
        let pid = match self.supervisor {
            Some(supervisor) if supervisor == parent => supervisor,
            _ => std::process::id(),
        };
        tracing::info!("an operator asks for a drain");
        catamaran_sys::process::send_signal(pid, libc::SIGTERM)
            .map_err(|error| format!("the process cannot be asked to drain: {error}"))
    }
}
