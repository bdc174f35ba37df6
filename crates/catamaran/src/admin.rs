//! Where the admin API is served: its unix socket and its TCP address, opened.

use anyhow::Context as _;
use catamaran_control::admin::{Access, Doors};
use catamaran_core::model::{Admin, AdminSocket};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::net::{TcpListener, UnixListener};

/// Opens what `admin` says; `instance` tells the configuration from others. Must run on the runtime
/// that will serve. What is given of `unix` and `tcp` is open already.
pub(crate) async fn open(
    admin: &Admin,
    instance: &str,
    (unix, tcp): (Option<OwnedFd>, Option<OwnedFd>),
) -> anyhow::Result<Doors> {
    let unix = match &admin.socket {
        _ if unix.is_some() => unix
            .map(|socket| UnixListener::from_std(socket.into()))
            .transpose()?,
        AdminSocket::Off => None,
        AdminSocket::At(path) => {
            let listener = bind(path).with_context(|| {
                format!(
                    "{}: the admin socket cannot be opened; change `socket` under [admin]",
                    path.display()
                )
            })?;
            Some(listener)
        }
        AdminSocket::Usual => usual_socket(instance),
    };
    let tcp = match admin.listen {
        None => None,
        Some(address) => {
            let bound = match tcp {
                Some(socket) => TcpListener::from_std(socket.into()),
                None => TcpListener::bind(address).await,
            };
            let listener = bound.with_context(|| {
                format!(
                    "{address}: cannot serve the admin API there; change `listen` under [admin]"
                )
            })?;
            // With port 0 the kernel has chosen one.
            let address = listener.local_addr()?;
            tracing::info!(%address, "admin API");
            let access = Access::Remote {
                token: admin.token.clone(),
                names: admin.names.as_slice().into(),
            };
            Some((listener, access))
        }
    };
    Ok(Doors { unix, tcp })
}

/// Opens the socket at the first of the usual places that can be had, under a name of its own where
/// another instance has the usual one; going without is no reason not to serve.
fn usual_socket(instance: &str) -> Option<UnixListener> {
    for path in usual_paths() {
        let is_taken = || std::os::unix::net::UnixStream::connect(&path).is_ok();
        let bound = bind(&path).or_else(|error| {
            if !is_taken() {
                return Err(error);
            }
            let own = path.with_file_name(format!("admin-{instance}.sock"));
            let listener = bind(&own)?;
            tracing::warn!(
                "another instance has the usual admin socket; to steer this one write `catamaran \
                 ctl --socket {}`, or `socket` under [admin]",
                own.display()
            );
            Ok(listener)
        });
        match bound {
            Ok(listener) => return Some(listener),
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "no admin socket there");
            }
        }
    }
    tracing::warn!(
        "no admin socket, so that `catamaran ctl` cannot steer this process: no usual place can be \
         written to; `install -d -o {} {}` makes one that is used from the next start on, or write \
         `socket` under [admin]",
        catamaran_sys::identity::own_name(),
        run_directory().display()
    );
    None
}

/// The file of an admin socket, removed at the end unless somebody else serves there by then.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: Option<PathBuf>,
    /// Whether another process has the socket now.
    is_left: AtomicBool,
}

impl SocketFile {
    /// That of a socket that [`open`] has opened, here or in a process before this one.
    pub(crate) fn of(socket: Option<&OwnedFd>) -> Self {
        let path = socket.and_then(|socket| {
            let socket = std::os::unix::net::UnixListener::from(socket.try_clone().ok()?);
            let bound = socket.local_addr().ok()?;
            // It was bound under another name first.
            Some(bound.as_pathname()?.with_extension(""))
        });
        Self {
            path,
            is_left: AtomicBool::new(false),
        }
    }

    /// Takes note of whether another process has the socket.
    pub(crate) fn set_left(&self, is_left: bool) {
        self.is_left.store(is_left, Relaxed);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Some(path) = self.path.as_ref().filter(|_| !self.is_left.load(Relaxed)) {
            // Somebody may have removed it already, or taken its directory from us.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Where the socket is looked for when none is named, in this order.
pub(crate) fn usual_paths() -> Vec<PathBuf> {
    let user = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let user = user.map(|directory| directory.join(DIRECTORY));
    let directories = std::iter::once(run_directory()).chain(user);
    directories
        .map(|directory| directory.join("admin.sock"))
        .collect()
}

/// The one that systemd made for the service (`RuntimeDirectory=`), else that of the system.
fn run_directory() -> PathBuf {
    let made = std::env::var_os("RUNTIME_DIRECTORY").unwrap_or_default();
    let first = std::env::split_paths(&made).next();
    let first = first.filter(|directory| directory.is_absolute());
    first.unwrap_or_else(|| Path::new("/run").join(DIRECTORY))
}

/// The directory of our own in which the usual socket lies.
pub(crate) const DIRECTORY: &str = "catamaran";

/// The first of the usual directories that this user may write to, made if it was missing.
pub(crate) fn writable_directory() -> Option<PathBuf> {
    let directories = make_directories(&Admin::default());
    directories.into_iter().find(|directory| {
        let probe = directory.join(format!(".probe-{}", std::process::id()));
        let is_writable = std::fs::write(&probe, "").is_ok();
        // What could be written can be removed.
        let _ = std::fs::remove_file(&probe);
        is_writable
    })
}

/// Makes the directories in which the socket may be opened. Returns those that are there.
pub(crate) fn make_directories(admin: &Admin) -> Vec<PathBuf> {
    let paths = match &admin.socket {
        AdminSocket::Off => Vec::new(),
        AdminSocket::At(path) => vec![path.clone()],
        AdminSocket::Usual => usual_paths(),
    };
    let directories = paths.iter().filter_map(|path| {
        // What cannot be made is told when the socket is opened.
        make_directory(path).ok()?;
        Some(path.parent()?.to_owned())
    });
    directories.filter(|at| at.exists()).collect()
}

/// Makes the directory of a socket if it is missing.
fn make_directory(path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent().filter(|at| !at.as_os_str().is_empty())
        && !directory.exists()
    {
        std::fs::DirBuilder::new().mode(0o700).create(directory)?;
    }
    Ok(())
}

/// Binds a socket that only our own user may open; its directory is made if it is missing.
fn bind(path: &Path) -> io::Result<UnixListener> {
    make_directory(path)?;
    // Bound under another name first: it is never seen with other permissions, and what a process
    // that was killed has left is replaced in one step.
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    let listener = UnixListener::bind(&fresh)?;
    let placed = std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))
        .and_then(|()| std::fs::rename(&fresh, path));
    if let Err(error) = placed {
        let _ = std::fs::remove_file(&fresh);
        return Err(error);
    }
    tracing::info!(path = %path.display(), "admin socket");
    Ok(listener)
}
