//! The process as the admin API sees it: its log, its configuration, its end.

use crate::logging;
use crate::source::Source;
use catamaran_control::admin::{ConfigFacts, Host};

/// This process.
#[derive(Debug)]
pub(crate) struct ProcessHost {
    facts: ConfigFacts,
}

impl ProcessHost {
    /// A process that serves what `source` says.
    pub(crate) fn new(source: &Source) -> Self {
        Self {
            facts: ConfigFacts {
                source: source.name(),
                digest: source.digest(),
                generation: 1,
                last_error: None,
            },
        }
    }
}

impl Host for ProcessHost {
    fn log_level(&self) -> String {
        logging::level()
    }

    fn config(&self) -> ConfigFacts {
        self.facts.clone()
    }
}
