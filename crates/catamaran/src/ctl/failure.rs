//! Why a command of `ctl` failed, and the exit code that says so.

use std::process::ExitCode;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The API refused.
    Refused(String),
    /// Nobody answers.
    Unreachable(String),
    /// What was waited for did not come in time.
    WaitedInVain(String),
    /// What the command line says is of no use.
    Usage(String),
    /// Anything else.
    Other(anyhow::Error),
}

impl Failure {
    /// The exit code; see the help of `ctl`.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Refused(_) | Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::WaitedInVain(_) => 4,
        })
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(message)
            | Self::Unreachable(message)
            | Self::WaitedInVain(message)
            | Self::Usage(message) => f.write_str(message),
            Self::Other(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Other(error.into())
    }
}
