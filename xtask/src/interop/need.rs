//! What a case needs of the machine.

use std::fmt;

use crate::docker;
use crate::shell;

/// One thing that may be missing.
#[derive(Debug)]
pub(super) enum Need {
    /// `docker compose` of either version.
    Compose,
    /// A container engine that answers, or one that can be started.
    Engine,
    /// A program in the search path.
    Program {
        /// As it is called.
        name: &'static str,
        /// The Debian package that brings it.
        package: &'static str,
    },
    /// The rights of root.
    Root,
}

impl Need {
    /// What is missing and how to get it; `None` if it is there.
    pub(super) fn missing(&self) -> Option<String> {
        match self {
            Self::Compose => docker::Compose::find().is_none().then(|| {
                "neither `docker compose` nor docker-compose is installed: \
                 apt-get install -y docker-compose"
                    .to_owned()
            }),
            Self::Engine => docker::Engine::missing(),
            Self::Program { name, package } => (!shell::is_installed(name))
                .then(|| format!("{name} is not installed: apt-get install -y {package}")),
            Self::Root => (!rustix::process::geteuid().is_root())
                .then(|| "this case must run as root".to_owned()),
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compose => f.write_str("docker compose"),
            Self::Engine => f.write_str("a container engine, running or dockerd with root"),
            Self::Program { name, .. } => f.write_str(name),
            Self::Root => f.write_str("root"),
        }
    }
}
