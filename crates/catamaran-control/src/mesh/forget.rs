//! Affinity that an operator has forgotten, at every node. A deletion leaves nothing that could be
//! replicated, so that peers are asked.

use super::Mesh;
use crate::admin::{Kind, Plane};
use catamaran_core::Key;
use catamaran_core::model::Name;
use catamaran_core::replication::LetterKind;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is to be forgotten.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
struct Forget {
    backend: String,
    /// In 32 hexadecimal digits; none is every key.
    key: Option<String>,
}

impl Mesh {
    /// Has peers forget an affinity key of `backend`, or all. Returns who did not say that it has,
    /// after 2 s at most for each.
    pub(crate) async fn forget(&self, backend: &Name, key: Option<Key>) -> Vec<String> {
        let forget = Forget {
            backend: backend.to_string(),
            key: key.map(|key| format!("{:032x}", key.as_bits())),
        };
        let bytes = serde_json::to_vec(&forget).unwrap_or_default();
        let mut untold = Vec::new();
        let names = self.peer_names().unwrap_or_default();
        for (peer, name) in names.into_iter().enumerate() {
            let asked = self.write(peer, LetterKind::FORGET, bytes.clone(), PATIENCE);
            if !asked.await.applied {
                untold.push(name);
            }
        }
        untold
    }
}

/// Forgets what the peer called `from` asks to. Returns what came of it, in words.
pub(super) fn heed(plane: &Plane, from: &str, bytes: &[u8]) -> Result<String, String> {
    let forget: Forget = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let key = forget.key.as_deref();
    let key = key.map(|digits| u128::from_str_radix(digits, 16).map(Key::from_bits));
    let key = key.transpose().map_err(|_| "no key".to_owned())?;
    let snapshot = plane.shared.snapshot();
    let backend = snapshot.backend(&Name::new(&forget.backend));
    let backend = backend.ok_or_else(|| "there is no such backend".to_owned())?;
    let forgotten = match key {
        Some(key) => usize::from(backend.stick_forget(key)),
        None => backend.stick_clear(),
    };
    if forgotten > 0 {
        let plural = if forgotten == 1 { "y was" } else { "ies were" };
        let told = format!(
            "{}: {forgotten} affinity entr{plural} deleted by {from}",
            forget.backend
        );
        tracing::info!("{told}");
        plane.events.note(Kind::Changed, told);
    }
    Ok(format!("{forgotten} forgotten"))
}

/// How long a peer may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
