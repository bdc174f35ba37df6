//! What a map says of a request.

use super::plan::View;
use crate::state::Map;
use catamaran_core::model::{BackendId, HashKey};
use catamaran_core::route::path::{BadPath, normal};
use catamaran_core::route::{RequestView as _, query};

/// The backend that `map` says for the request.
///
/// # Errors
/// [`BadPath`] when a path is looked up that has more than one reading.
pub(super) fn backend(map: &Map, view: &View<'_>) -> Result<Option<BackendId>, BadPath> {
    Ok(match &map.model.key {
        HashKey::Host => map.find(&view.host().to_ascii_lowercase()),
        HashKey::Path => map.find(&normal(view.path())?),
        HashKey::Uri => map.find(view.head.target.whole.of(view.buf)),
        HashKey::SourceIp => map.find(view.source.to_string().as_bytes()),
        HashKey::Header(name) => view.header(name).and_then(|value| map.find(value)),
        HashKey::Cookie(name) => view.cookie(name).and_then(|value| map.find(value)),
        HashKey::Query(name) => view
            .query()
            .and_then(|query| query::value(query, name))
            .and_then(|value| map.find(&value)),
    })
}
