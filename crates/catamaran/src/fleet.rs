//! The file of a node of a fleet, together with what the fleet said when it last was heard.

use catamaran_control::reload::Text;
use catamaran_core::model::Etcd;

/// The text that served last, made anew with the file as it is now; `None` if nothing is known yet.
#[cfg(feature = "etcd")]
pub(crate) fn last_good(etcd: &Etcd, file: &Text) -> anyhow::Result<Option<String>> {
    use anyhow::Context as _;
    use std::path::Path;

    let directory = file.path.parent().unwrap_or_else(|| Path::new(""));
    let layers = catamaran_control::etcd::last_good(etcd, directory, &file.text)?;
    let Some(layers) = layers else {
        return Ok(None);
    };
    let merged = layers.merged(&file.path.display().to_string());
    merged.map(Some).with_context(|| {
        format!(
            "{} and what the fleet said last do not go together; correct it, or remove {}",
            file.path.display(),
            directory.join(&etcd.state).display()
        )
    })
}

/// Refuses what this binary was built without.
#[cfg(not(feature = "etcd"))]
pub(crate) fn last_good(_: &Etcd, _: &Text) -> anyhow::Result<Option<String>> {
    anyhow::bail!(
        "this binary was built without the feature `etcd`; remove [etcd], or build with it"
    )
}
