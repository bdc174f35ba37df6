//! The file of a node together with what its fleet shares.

use super::{Applied, ReloadError, Reloader, Text, lock};
use catamaran_config::Errors;
use catamaran_config::layers::Layers;
use std::sync::Arc;

/// What is to be put in place.
#[derive(Debug)]
pub(super) enum Wish {
    /// The file as it stands now.
    File,
    /// This text.
    Text(Text),
    /// These layers.
    Layers(Layers),
}

impl Reloader {
    /// What the text that is served was put together from; `None` for a node without a fleet, and
    /// until that is known.
    #[must_use]
    pub fn layers(&self) -> Option<Layers> {
        lock(&self.layers).clone()
    }

    /// Says what the text that is served was put together from.
    pub fn note_layers(&self, layers: Layers) {
        *lock(&self.layers) = Some(layers);
    }

    /// Puts what `layers` make together in place. What comes of it is logged.
    ///
    /// # Errors
    /// [`ReloadError`], with the old configuration served as before.
    pub async fn apply_layers(self: &Arc<Self>, layers: Layers) -> Result<Applied, ReloadError> {
        self.put(Wish::Layers(layers)).await
    }

    /// The text that `layers` make.
    ///
    /// # Errors
    /// Layers that cannot be put together.
    pub fn merge(&self, layers: &Layers) -> Result<Text, Errors> {
        let path = self.text().map(|text| text.path.clone());
        let path = path.unwrap_or_default();
        let text = layers.merged(&path.display().to_string())?;
        Ok(Text { path, text })
    }

    /// The text of a wish, what messages call it, and the layers that it comes from.
    pub(super) fn text_of(
        &self,
        wish: Wish,
    ) -> Result<(Text, String, Option<Layers>), ReloadError> {
        let layers = match wish {
            Wish::Text(text) => {
                let name = text.path.display().to_string();
                return Ok((text, name, None));
            }
            Wish::File => {
                let file = self.read_own_file()?;
                let Some(layers) = self.layers() else {
                    let name = file.path.display().to_string();
                    return Ok((file, name, None));
                };
                Layers {
                    file: file.text,
                    ..layers
                }
            }
            Wish::Layers(layers) => layers,
        };
        let text = self.merge(&layers)?;
        let name = name_of(&layers, &text);
        Ok((text, name, Some(layers)))
    }
}

/// What messages call the text that `layers` make.
pub(crate) fn name_of(layers: &Layers, text: &Text) -> String {
    let path = text.path.display();
    if layers.is_file_alone() {
        path.to_string()
    } else {
        // The lines of the fleet's text come first.
        format!("{} with {path}", catamaran_config::layers::FLEET_NAME)
    }
}
