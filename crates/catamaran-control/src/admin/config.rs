//! The configuration: what serves, judging another, and putting it in place.

use super::error::Refused;
use super::extract::Body;
use super::{Kept, Plane};
use crate::reload::{Change, Reloader, Text};
use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What is known of the configuration that serves.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub(crate) struct ConfigFacts {
    /// The file, or `the command line`.
    source: String,
    /// XXH3-64 of its text in hexadecimal digits: two processes with the same digest serve the
    /// same. None if it comes from the command line.
    digest: Option<String>,
    /// 1 at the start; one more with each reload.
    generation: u64,
    /// Unix time in seconds when it was put in place.
    served_since: u64,
    /// Why the last reload was refused; none if it was not.
    last_error: Option<String>,
}

/// The configuration that serves.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct ConfigDocument {
    #[serde(flatten)]
    facts: ConfigFacts,
    /// Its text; none if it comes from the command line.
    text: Option<String>,
    /// What is written but comes only with a restart.
    pending: Vec<Change>,
}

/// A configuration to be judged.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigText {
    /// The whole text.
    text: String,
    /// What messages call it; the file that serves unless given.
    name: Option<String>,
}

/// A configuration to be put in place.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewConfig {
    /// The whole text.
    text: String,
    /// Whether it is written into the configuration file as well.
    #[serde(default)]
    persist: bool,
}

/// How to read the file anew.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reload {
    /// Whether only to tell what would change.
    #[serde(default)]
    dry_run: bool,
}

/// What is to be said of a configuration.
#[derive(Debug, Default, JsonSchema, Serialize)]
pub(crate) struct Verdict {
    /// Whether it could serve.
    valid: bool,
    /// What is wrong, each with its place.
    errors: Vec<String>,
    /// What is allowed but probably not meant, each with its place.
    warnings: Vec<String>,
    /// What it would change.
    changes: Vec<Change>,
}

/// A configuration was put in place, or would be.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct Applied {
    /// Whether it is in place now.
    applied: bool,
    kept: Kept,
    /// What has changed, or would.
    changes: Vec<Change>,
    /// What is allowed but probably not meant, each with its place.
    warnings: Vec<String>,
}

#[cfg(feature = "etcd")]
impl Verdict {
    /// What is to be said of a configuration that could serve.
    pub(super) fn of(checked: crate::reload::Checked) -> Self {
        Self {
            valid: true,
            errors: Vec::new(),
            warnings: checked.warnings,
            changes: checked.diff.changes,
        }
    }

    /// What is to be said of one that could not.
    pub(super) fn of_errors(errors: &catamaran_config::Errors) -> Self {
        Self {
            errors: errors.findings().iter().map(ToString::to_string).collect(),
            ..Self::default()
        }
    }

    pub(super) const fn is_valid(&self) -> bool {
        self.valid
    }

    /// The mistakes, each on a line.
    pub(super) fn told(&self) -> String {
        self.errors.join("\n")
    }

    /// What it would change, and what is doubtful.
    pub(super) fn into_changes(self) -> (Vec<Change>, Vec<String>) {
        (self.changes, self.warnings)
    }
}

pub(crate) async fn show(State(plane): State<Arc<Plane>>) -> Json<ConfigDocument> {
    Json(ConfigDocument {
        facts: ConfigFacts::of(&plane.reloader),
        text: plane.reloader.text().map(|text| text.text.clone()),
        pending: plane.reloader.status().pending,
    })
}

pub(crate) async fn check(
    State(plane): State<Arc<Plane>>,
    Body(config): Body<ConfigText>,
) -> Result<Json<Verdict>, Refused> {
    let reloader = Arc::clone(&plane.reloader);
    let verdict = plane.aside(move || {
        let served = reloader.text();
        let path = served.map(|served| served.path.clone()).unwrap_or_default();
        let name = config.name.as_ref();
        let name = name.map_or_else(|| path.display().to_string(), Clone::clone);
        let text = config.text;
        match reloader.check_as(&Text { path, text }, &name) {
            Ok(checked) => Verdict {
                valid: true,
                errors: Vec::new(),
                warnings: checked.warnings,
                changes: checked.diff.changes,
            },
            Err(errors) => Verdict {
                valid: false,
                errors: errors.findings().iter().map(ToString::to_string).collect(),
                ..Verdict::default()
            },
        }
    });
    Ok(Json(verdict.await?))
}

pub(crate) async fn apply(
    State(plane): State<Arc<Plane>>,
    Body(new): Body<NewConfig>,
) -> Result<Json<Applied>, Refused> {
    let _alone = plane.persisting.lock().await;
    let served = plane.reloader.text().ok_or_else(no_file)?;
    let text = Text {
        path: served.path.clone(),
        text: new.text,
    };
    let (kept, applied) = if new.persist {
        (Kept::InFile, plane.put_in_file(&served, text).await?)
    } else {
        let applied = plane.reloader.apply(text).await.map_err(refused)?;
        (Kept::UntilReload, applied)
    };
    Ok(Json(Applied {
        applied: true,
        kept,
        changes: applied.diff.changes,
        warnings: applied.warnings,
    }))
}

pub(crate) async fn reload(
    State(plane): State<Arc<Plane>>,
    Body(reload): Body<Reload>,
) -> Result<Json<Applied>, Refused> {
    if reload.dry_run {
        let reloader = Arc::clone(&plane.reloader);
        let checked = plane.aside(move || {
            let text = reloader.read_file().map_err(refused)?;
            reloader.check(&text).map_err(refused)
        });
        let checked = checked.await??;
        return Ok(Json(Applied {
            applied: false,
            kept: Kept::InFile,
            changes: checked.diff.changes,
            warnings: checked.warnings,
        }));
    }
    let applied = plane.reloader.reload().await.map_err(refused)?;
    Ok(Json(Applied {
        applied: true,
        kept: Kept::InFile,
        changes: applied.diff.changes,
        warnings: applied.warnings,
    }))
}

impl ConfigFacts {
    /// What is known now.
    pub(crate) fn of(reloader: &Reloader) -> Self {
        let (text, status) = (reloader.text(), reloader.status());
        let source = text.as_ref().map(|text| text.path.display().to_string());
        Self {
            source: source.unwrap_or_else(|| "the command line".to_owned()),
            digest: text.map(|text| text.digest()),
            generation: reloader.generation(),
            served_since: status.served_since,
            last_error: status.last_error,
        }
    }
}

/// There is no file.
pub(super) fn no_file() -> Refused {
    Refused::conflict(crate::reload::ReloadError::NoFile.to_string())
}

fn refused(error: impl std::fmt::Display) -> Refused {
    Refused::conflict(error.to_string())
}
