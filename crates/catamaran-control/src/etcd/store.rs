//! The last good state on disk: one JSON document, replaced in one step.
//!
//! A fleet's texts may hold secrets, so that only our own user may read it.

use super::{node_name, state_path};
use catamaran_config::layers::Layers;
use catamaran_core::fleet::{
    Foreign, Key, Mark, Reason, Registered, Registration, Saved, Text, Texts,
};
use catamaran_core::model::{Etcd, Weight};
use catamaran_etcd::{Client, SetupError};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Why the state cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file cannot be read.
    #[error(
        "{}: the last good state cannot be read: {source}; let this user read it, or remove it to \
         begin without", path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is in the way.
        source: io::Error,
    },
    /// It is no state, or one of a later version.
    #[error(
        "{}: this is no state of a fleet that this version knows ({what}); remove it to begin \
         without", path.display()
    )]
    Strange {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// etcd cannot be spoken to.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

/// The document.
#[derive(Debug, Deserialize, Serialize)]
struct Document {
    version: u32,
    /// Whose state it is: that of another prefix or node is no good.
    prefix: String,
    node: String,
    known: Option<MarkText>,
    #[serde(default)]
    processed: u64,
    foreign: Option<ForeignText>,
    /// The node's own file, as it was when all this served.
    file: String,
    fleet: Option<TextText>,
    node_text: Option<TextText>,
    servers: Vec<ServerText>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct MarkText {
    /// Hexadecimal.
    cluster_id: u64,
    revision: u64,
}

#[derive(Debug, Deserialize, Serialize)]
struct ForeignText {
    #[serde(flatten)]
    found: MarkText,
    reason: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct TextText {
    text: String,
    modified: u64,
}

#[derive(Debug, Deserialize, Serialize)]
struct ServerText {
    service: String,
    name: String,
    address: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u16>,
    modified: u64,
}

/// What the node of this configuration had from its fleet when it last was well, over its `file`;
/// `None` if it never was.
///
/// # Errors
/// [`StateError`].
pub fn last_good(etcd: &Etcd, directory: &Path, file: &str) -> Result<Option<Layers>, StateError> {
    // It is found out here, not when everything is at work.
    Client::new(etcd)?;
    let saved = load(etcd, directory)?;
    Ok(saved.map(|(saved, _)| layers(&saved.texts, file)))
}

/// The texts over a node's own file.
pub(super) fn layers(texts: &Texts, file: &str) -> Layers {
    let text = |text: &Option<Text>| text.as_ref().map(|text| text.text.to_string());
    Layers {
        file: file.to_owned(),
        fleet: text(&texts.fleet),
        node: text(&texts.node),
    }
}

/// Reads the state, and the node's own file as it was then; `None` if there is none.
pub(super) fn load(etcd: &Etcd, directory: &Path) -> Result<Option<(Saved, String)>, StateError> {
    let path = state_path(etcd, directory);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StateError::Unreadable { path, source }),
    };
    let strange = |what: String| StateError::Strange {
        path: path.clone(),
        what,
    };
    let document: Document =
        serde_json::from_slice(&text).map_err(|error| strange(error.to_string()))?;
    if document.version != VERSION {
        return Err(strange(format!("version {}", document.version)));
    }
    if document.prefix != etcd.prefix || document.node != node_name(etcd) {
        tracing::warn!(
            state = %path.display(), prefix = document.prefix, node = document.node,
            "the state is of another prefix or node, and left out"
        );
        return Ok(None);
    }
    let file = document.file.clone();
    document
        .into_saved()
        .map(|saved| Some((saved, file)))
        .map_err(strange)
}

/// Keeps the state, with the node's own file that it goes with.
pub(super) fn save(etcd: &Etcd, directory: &Path, saved: &Saved, file: String) -> io::Result<()> {
    let path = state_path(etcd, directory);
    let document = Document::of(saved, file, etcd);
    let text = serde_json::to_vec_pretty(&document).map_err(io::Error::other)?;
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let written = write(&fresh, &text).and_then(|()| fs::rename(&fresh, &path));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

impl Document {
    fn of(saved: &Saved, file: String, etcd: &Etcd) -> Self {
        let text = |text: &Option<Text>| {
            text.as_ref().map(|text| TextText {
                text: text.text.to_string(),
                modified: text.modified,
            })
        };
        let server = |server: &Registered| ServerText {
            service: server.key.service.to_string(),
            name: server.key.name.to_string(),
            address: server.registration.address,
            weight: server.registration.weight.map(Weight::as_u16),
            modified: server.modified,
        };
        Self {
            version: VERSION,
            prefix: etcd.prefix.clone(),
            node: node_name(etcd),
            known: saved.known.map(MarkText::of),
            processed: saved.processed,
            foreign: saved.foreign.as_ref().map(|foreign| ForeignText {
                found: MarkText::of(foreign.found),
                reason: foreign.reason.as_str().to_owned(),
            }),
            file,
            fleet: text(&saved.texts.fleet),
            node_text: text(&saved.texts.node),
            servers: saved.servers.iter().map(server).collect(),
        }
    }

    fn into_saved(self) -> Result<Saved, String> {
        let text = |text: Option<TextText>| {
            text.map(|text| Text {
                text: text.text.into(),
                modified: text.modified,
            })
        };
        let foreign = self.foreign.map(|foreign| {
            let reason = Reason::from_word(&foreign.reason);
            let reason = reason.ok_or_else(|| format!("reason `{}`", foreign.reason))?;
            let found = foreign.found.mark();
            Ok::<_, String>(Foreign { found, reason })
        });
        Ok(Saved {
            known: self.known.map(MarkText::mark),
            processed: self.processed,
            foreign: foreign.transpose()?,
            texts: Texts {
                fleet: text(self.fleet),
                node: text(self.node_text),
            },
            servers: self
                .servers
                .into_iter()
                .map(ServerText::registered)
                .collect(),
        })
    }
}

impl MarkText {
    const fn of(mark: Mark) -> Self {
        Self {
            cluster_id: mark.cluster_id,
            revision: mark.revision,
        }
    }

    const fn mark(self) -> Mark {
        Mark {
            cluster_id: self.cluster_id,
            revision: self.revision,
        }
    }
}

impl ServerText {
    fn registered(self) -> Registered {
        Registered {
            key: Key {
                service: self.service.into(),
                name: self.name.into(),
            },
            registration: Registration {
                address: self.address,
                weight: self.weight.and_then(Weight::new),
                is_leaving: false,
            },
            modified: self.modified,
        }
    }
}

/// Of the document.
const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use catamaran_core::model::EtcdEndpoint;

    fn etcd(node: &str) -> Etcd {
        let endpoint = EtcdEndpoint {
            host: "127.0.0.1".to_owned(),
            port: 1,
        };
        let mut etcd = Etcd::new(vec![endpoint]);
        etcd.node = Some(node.to_owned());
        etcd
    }

    fn saved() -> Saved {
        let mark = |revision| Mark {
            cluster_id: u64::MAX,
            revision,
        };
        let server = ServerText {
            service: "api".to_owned(),
            name: "a".to_owned(),
            address: ([10, 0, 0, 1], 80).into(),
            weight: Some(3),
            modified: 4,
        };
        Saved {
            known: Some(mark(9)),
            processed: 8,
            foreign: Some(Foreign {
                found: mark(2),
                reason: Reason::Revision,
            }),
            texts: Texts {
                fleet: Some(Text {
                    text: "# text\n".into(),
                    modified: 7,
                }),
                node: None,
            },
            servers: vec![server.registered()],
        }
    }

    #[test]
    fn what_is_kept_is_read_again_but_not_for_another_node() {
        let directory = std::env::temp_dir().join(format!("catamaran-etcd-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let a = etcd("a");
        assert_eq!(load(&a, &directory).unwrap(), None);
        save(&a, &directory, &saved(), "file".to_owned()).unwrap();
        let (read, file) = load(&a, &directory).unwrap().unwrap();
        assert_eq!((read, file.as_str()), (saved(), "file"));
        assert_eq!(load(&etcd("b"), &directory).unwrap(), None);
        let layers = last_good(&a, &directory, "other").unwrap().unwrap();
        assert_eq!(layers.fleet.as_deref(), Some("# text\n"));

        fs::write(state_path(&a, &directory), "{\"version\":7").unwrap();
        assert!(load(&a, &directory).is_err());
        fs::remove_dir_all(directory).unwrap();
    }
}
