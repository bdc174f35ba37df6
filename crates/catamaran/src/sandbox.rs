//! What the data process gives up before it meets clients.

use crate::admin;
use crate::identity;
use crate::source::Source;
use anyhow::Context as _;
use catamaran_core::model::{Config, LogTarget};
use catamaran_sys::sandbox::{self, Access};
use std::path::{Path, PathBuf};

/// Gives up every capability, and all files but those that `config`, read from `source`, needs.
///
/// Before any thread is started: what holds for this one holds for those that it starts.
pub(crate) fn enter(config: &Config, source: &Source) -> anyhow::Result<()> {
    let places = places(config, source);
    let places: Vec<(&Path, Access)> = places.iter().map(|(p, a)| (p.as_path(), *a)).collect();
    let identity = identity::wanted(&config.process)?;
    if let Some(identity) = identity {
        // Root made them; their socket is to be another's.
        for directory in admin::make_directories(&config.admin) {
            if directory.ends_with(admin::DIRECTORY) {
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
            "this kernel has no Landlock: files are not restricted; \
             add `landlock` to its `lsm=` to have them so"
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
    for directory in admin::make_directories(&config.admin) {
        places.push((directory, Access::Write));
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

/// The directory that a path lies in.
fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Files of the system that are read while serving: resolv.conf(5), hosts(5), nsswitch.conf(5), the
/// time zone, and what the kernel tells of this process.
const SYSTEM: [&str; 10] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/proc/self",
    "/proc/sys/kernel/hostname",
    "/dev/null",
    // A program that is linked statically may ask these for randomness, not the system call.
    "/dev/random",
    "/dev/urandom",
];
