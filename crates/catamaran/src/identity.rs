//! Whom the data process runs as.

use anyhow::{Context as _, bail};
use catamaran_core::model::Process;
use catamaran_sys::identity::{self, Identity};
use catamaran_sys::process;

/// Whom the configuration wants the data process to run as; `None` if that is whoever it is.
///
/// # Errors
/// When there is no such user or group, or this process cannot become it.
pub(crate) fn wanted(process: &Process) -> anyhow::Result<Option<Identity>> {
    let Some(name) = &process.user else {
        return Ok(None);
    };
    let found = identity::user(name).context("users cannot be looked up")?;
    let Some(mut identity) = found else {
        bail!(
            "there is no user `{name}`: `useradd --system {name}` makes it, or change `user` \
             under [process]"
        );
    };
    if let Some(name) = &process.group {
        let found = identity::group(name).context("groups cannot be looked up")?;
        identity.gid = found.with_context(|| {
            format!(
                "there is no group `{name}`: `groupadd --system {name}` makes it, or change \
                 `group` under [process]"
            )
        })?;
    }
    match process::effective_user() {
        0 => Ok(Some(identity)),
        me if me == identity.uid => Ok(None),
        me => bail!(
            "only root can run as `{name}`, and this is user {me}: start it as root, or remove \
             `user` under [process]"
        ),
    }
}
