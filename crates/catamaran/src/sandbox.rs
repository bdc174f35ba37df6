//! What the data process gives up before it meets clients.

use crate::admin;
use crate::identity;
use crate::source::Source;
use anyhow::Context as _;
use catamaran_core::model::{AdminSocket, Config, LogTarget};
use catamaran_sys::sandbox::{self, Access};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Gives up every capability, and all files but those that `config`, read from `source`, needs.
///
/// Before any thread is started: what holds for this one holds for those that it starts.
pub(crate) fn enter(config: &Config, source: &Source) -> anyhow::Result<()> {
    let mut places = places(config, source);
    places.extend(for_logs(std::env::var_os("LOGS_DIRECTORY")));
    let places: Vec<(&Path, Access)> = places.iter().map(|(p, a)| (p.as_path(), *a)).collect();
    let identity = identity::wanted(&config.process)?;
    if let Some(identity) = identity {
        // Root made them; their socket is to be another's.
        for directory in admin::make_directories(&config.admin) {
            if directory.ends_with(admin::DIRECTORY) || config.admin.socket == AdminSocket::Usual {
                catamaran_sys::identity::give(&directory, identity)
                    .with_context(|| directory.display().to_string())?;
            }
        }
    }
    // While it may still look at all of them.
    let is_restricted = sandbox::restrict_files(&places).context("files cannot be restricted")?;
    if let Some(identity) = identity {
        catamaran_sys::identity::become_for_good(identity).context("user cannot be changed")?;
        tracing::info!(
            uid = identity.uid,
            gid = identity.gid,
            "runs as another user"
        );
    }
    sandbox::drop_capabilities().context("capabilities cannot be dropped")?;
    if is_restricted {
        tracing::debug!(?places, "files are restricted");
    } else {
        tracing::warn!(
            "there is no Landlock here: files are not restricted; add `landlock` to the kernel's \
             `lsm=`, or in a container allow its system calls (landlock_*)"
        );
    }
    Ok(())
}

/// The directories that a data process of `config`, read from `source`, may write to.
pub(crate) fn writable(config: &Config, source: &Source) -> Vec<PathBuf> {
    let places = places(config, source).into_iter();
    let places = places.filter(|(_, access)| *access == Access::Write);
    places.map(|(place, _)| place).collect()
}

/// The places that are needed, and what for.
fn places(config: &Config, source: &Source) -> Vec<(PathBuf, Access)> {
    let mut places: Vec<_> = SYSTEM
        .iter()
        .map(|path| (PathBuf::from(path), Access::Read))
        .collect();
    // A panic looks up its own symbols.
    if let Ok(program) = std::env::current_exe() {
        places.push((program, Access::Read));
    }
    if let Some(file) = source.path() {
        // It is read anew by a reload, and written anew when an operator's change is to be kept.
        places.push((directory(file), Access::Write));
    }
    for file in source.files() {
        places.push((directory(&file), Access::Read));
    }
    let beside = source.path().map(directory).unwrap_or_default();
    for file in catamaran_config::files::paths(config, &beside) {
        // It is written anew when an operator's change is to be kept.
        places.push((directory(&file), Access::Write));
    }
    for directory in admin::make_directories(&config.admin) {
        places.push((directory, Access::Write));
    }
    if let Some(etcd) = &config.etcd {
        places.push((directory(&beside.join(&etcd.state)), Access::Write));
    }
    for frontend in &config.frontends {
        if let Some(log) = &frontend.access_log
            && let LogTarget::File(path) = &log.target
        {
            // The directory: a rotated log is opened anew.
            places.push((directory(path), Access::Write));
        }
    }
    places
}

/// The directories that systemd made for logs (`LogsDirectory=`), separated by colons: a reload may
/// begin to write one there.
fn for_logs(directories: Option<OsString>) -> Vec<(PathBuf, Access)> {
    let directories = directories.unwrap_or_default();
    std::env::split_paths(&directories)
        .filter(|path| path.is_absolute())
        .map(|path| (path, Access::Write))
        .collect()
}

/// The directory that a path lies in.
fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Files of the system that are read while serving: resolv.conf(5), hosts(5), nsswitch.conf(5), the
/// time zone, names of users for messages, and what the kernel tells of this process.
const SYSTEM: [&str; 11] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/localtime",
    "/etc/passwd",
    "/usr/share/zoneinfo",
    "/proc/self",
    "/proc/sys/kernel/hostname",
    "/dev/null",
    // A program that is linked statically may ask these for randomness, not the system call.
    "/dev/random",
    "/dev/urandom",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_for_logs_are_those_that_systemd_names() {
        let places = |value: &str| for_logs(Some(value.into()));
        let logs = |path: &str| (PathBuf::from(path), Access::Write);
        assert_eq!(places("/var/log/catamaran"), [logs("/var/log/catamaran")]);
        assert_eq!(places("/a:/b"), [logs("/a"), logs("/b")]);
        assert!(places("").is_empty() && places("relative").is_empty());
        assert!(for_logs(None).is_empty());
    }
}
