//! What is wrong with options.

use crate::threshold::ThresholdError;
use crate::time_text::DurationError;

/// Why options cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// A value is of another kind.
    #[error("option `{name}`: {found} is not {expected}")]
    Kind {
        /// The option, with the path to it.
        name: String,
        /// What it is.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A time cannot be read.
    #[error("option `{name}`: {source}")]
    Duration {
        /// The option.
        name: String,
        /// Why.
        source: DurationError,
    },
    /// A threshold cannot be read.
    #[error("threshold of `{metric}`: {source}")]
    Threshold {
        /// The metric.
        metric: String,
        /// Why.
        source: ThresholdError,
    },
    /// k6 has the option, and we do not yet.
    #[error("option `{name}` is not supported yet; {remedy}")]
    Unsupported {
        /// The option.
        name: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Two options that say the same differently.
    #[error("`{0}` and `{1}` cannot both say how long the run is; leave one out")]
    Conflict(&'static str, &'static str),
    /// A scenario has a key that its executor does not know.
    #[error("scenario `{scenario}`: {executor} has no `{key}`; it has {known}")]
    UnknownKey {
        /// The scenario.
        scenario: String,
        /// Its executor.
        executor: String,
        /// The key.
        key: String,
        /// The keys there are.
        known: String,
    },
    /// A scenario lacks what it must have.
    #[error("scenario `{scenario}`: `{key}` is missing")]
    Missing {
        /// The scenario.
        scenario: String,
        /// The key.
        key: &'static str,
    },
    /// There is no such executor.
    #[error("scenario `{scenario}`: no executor is called `{executor}`; there are {known}")]
    Executor {
        /// The scenario.
        scenario: String,
        /// The name.
        executor: String,
        /// The names there are.
        known: String,
    },
    /// Something else does not fit.
    #[error("{0}")]
    Other(String),
}
