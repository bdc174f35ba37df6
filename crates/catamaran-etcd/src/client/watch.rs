//! Changes as they happen.

use super::Node;
use crate::error::EtcdError;
use crate::keys::range_end;
use crate::message::{Event, Header, Streamed, WatchAnswer, encoded};
use catamaran_core::model::EtcdEndpoint;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;

/// The changes behind a prefix, from one node.
#[derive(Debug)]
pub struct Watch<'a> {
    node: Node<'a>,
    body: Incoming,
    /// What came and is no whole line yet.
    rest: Vec<u8>,
}

/// Changes that came together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Who says so, and when.
    pub header: Header,
    /// In the order in which they happened.
    pub events: Vec<Event>,
}

impl<'a> Node<'a> {
    /// Watches every key that begins with `prefix`, from the changes of revision `from` on.
    ///
    /// # Errors
    /// [`EtcdError`].
    pub async fn watch(self, prefix: &str, from: u64) -> Result<Watch<'a>, EtcdError> {
        let body = json!({ "create_request": {
            "key": encoded(prefix),
            "range_end": encoded(range_end(prefix)),
            "start_revision": from.to_string(),
        } });
        let response = self.in_time(self.begin("/v3/watch", &body)).await?;
        Ok(Watch {
            node: self,
            body: response.into_body(),
            rest: Vec::new(),
        })
    }
}

impl Watch<'_> {
    /// The node that tells.
    #[must_use]
    pub const fn endpoint(&self) -> &EtcdEndpoint {
        self.node.endpoint()
    }

    /// Waits for the next changes. Losing the call's future loses nothing.
    ///
    /// # Errors
    /// [`EtcdError`]; the watch is over then. [`EtcdError::Compacted`] if the changes that were
    /// asked for are no longer kept.
    pub async fn next(&mut self) -> Result<Batch, EtcdError> {
        loop {
            if let Some(line) = self.take_line() {
                return self.read(&line);
            }
            let Some(frame) = self.body.frame().await else {
                return Err(self.node.strange("it ended the watch"));
            };
            let frame = frame.map_err(|source| self.node.broken(source))?;
            if let Ok(data) = frame.into_data() {
                if self.rest.len() + data.len() > MAX_LINE {
                    return Err(self.node.strange("one change has more than 64 MiB"));
                }
                self.rest.extend_from_slice(&data);
            }
        }
    }

    /// The next line that is whole and not empty.
    fn take_line(&mut self) -> Option<Vec<u8>> {
        loop {
            let end = self.rest.iter().position(|&byte| byte == b'\n')?;
            let rest = self.rest.split_off(end + 1);
            let mut line = std::mem::replace(&mut self.rest, rest);
            line.pop();
            if !line.trim_ascii().is_empty() {
                return Some(line);
            }
        }
    }

    fn read(&self, line: &[u8]) -> Result<Batch, EtcdError> {
        let answer = serde_json::from_slice::<Streamed<WatchAnswer>>(line);
        let answer = answer.map_err(|error| {
            let told = format!("its watch is not as expected ({error})");
            self.node.strange(&told)
        })?;
        let answer = match (answer.result, answer.error) {
            (Some(answer), None) => answer,
            (_, error) => return Err(self.node.refused(error.unwrap_or_default())),
        };
        if answer.compact_revision > 0 {
            return Err(EtcdError::Compacted {
                node: self.endpoint().clone(),
                revision: answer.compact_revision,
            });
        }
        if answer.canceled {
            let told = format!("it ended the watch: {}", answer.cancel_reason);
            return Err(self.node.strange(&told));
        }
        Ok(Batch {
            header: answer.header,
            events: answer.into_events(),
        })
    }
}

/// Bytes of one message. Chosen: far above the 1.5 MiB that etcd takes in one request.
const MAX_LINE: usize = 64 << 20;
