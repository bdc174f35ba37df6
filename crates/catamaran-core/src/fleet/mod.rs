//! What a node holds of a fleet's store: configuration texts, and servers that registered.
//!
//! [`Fleet`] decides what is taken over from the store and what is not; it opens no connection. The
//! shell lists the store after each connect and tells every change that follows.
//!
//! ```text
//!            connect: list                      the same cluster, no older
//!   (none) ---------------> [native] <------------------------------------ [native]
//!                              |  another cluster, or an older revision
//!                              v
//!                          [foreign]  additions apply; removals, leaves and texts are held
//!                              |  accept: what was held of the old cluster counts no more
//!                              v
//!                          [native]
//! ```
//! Nothing is taken away because it is not there any more. A text that is deleted stays. A server
//! whose registration vanished stays for the grace time, and then until it is down as well; only one
//! that said `leaving` goes at once.

mod history;
mod registry;
#[cfg(test)]
mod tests;

pub use history::{Foreign, Mark, Reason};
pub use registry::{Held, Key, MAX_SERVERS, Registered, Registration, part_problem};

use crate::Timestamp;
use history::Seen;
use registry::Registry;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// What one node knows of its fleet.
#[derive(Debug)]
pub struct Fleet {
    grace: Duration,
    /// What was last known of the cluster whose word counts.
    known: Option<Mark>,
    /// Up to which of its revisions every change was taken in; its own may be ahead of that.
    processed: u64,
    foreign: Option<Foreign>,
    texts: Texts,
    /// What the foreign cluster says instead.
    waiting: Texts,
    registry: Registry,
    news: News,
}

/// The configuration texts of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// For every node.
    pub fleet: Option<Text>,
    /// For this node, over that of every node.
    pub node: Option<Text>,
}

/// A text and when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The text.
    pub text: Arc<str>,
    /// The revision of the store that wrote it.
    pub modified: u64,
}

/// Which of the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// For every node.
    Fleet,
    /// For this node.
    Node,
}

/// The whole store at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Which cluster, and when.
    pub mark: Mark,
    /// The texts that there are.
    pub texts: Texts,
    /// The servers that there are.
    pub servers: Vec<Registered>,
}

/// One change of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A text was written.
    Text(Layer, Text),
    /// A text was deleted.
    TextGone(Layer),
    /// A server registered, or said something else of itself.
    Server(Registered),
    /// A registration was deleted, or its lease ran out.
    ServerGone(Key),
}

/// What is to be done, or told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Services of which other servers are to be used.
    pub services: BTreeSet<Arc<str>>,
    /// Whether the texts are others, or were written anew.
    pub texts: bool,
    /// What an operator would ask about, in order.
    pub told: Vec<Told>,
}

/// What an operator would ask about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The store is not the one that was known.
    Foreign(Foreign),
    /// The store that was known is back.
    Native,
    /// A text was deleted; what it said holds on.
    TextKept(Layer),
    /// A text of the foreign cluster waits to be accepted.
    TextHeld(Layer),
    /// A server registered.
    Joined(Key),
    /// A server said that it leaves.
    Left(Key),
    /// The registration of a server vanished; the server stays for now.
    Missing(Key),
    /// A server is removed: its registration vanished, its grace time is over, and it is down.
    Lost(Key),
    /// A server is not used: there are as many as may be.
    Refused(Key),
}

/// What is kept on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// What was known of the cluster.
    pub known: Option<Mark>,
    /// Up to which of its revisions every change was taken in.
    pub processed: u64,
    /// Whether it had become another.
    pub foreign: Option<Foreign>,
    /// The texts that were in use.
    pub texts: Texts,
    /// The servers that were in use.
    pub servers: Vec<Registered>,
}

impl Fleet {
    /// A fleet of which `saved` is known; a server whose registration vanishes stays for `grace`.
    #[must_use]
    pub fn new(grace: Duration, saved: Saved) -> Self {
        let mut news = News {
            texts: saved.texts != Texts::default(),
            ..News::default()
        };
        let registry = Registry::restored(saved.servers, &mut news);
        // Nobody joined now.
        news.told.clear();
        Self {
            grace,
            known: saved.known,
            processed: saved.processed,
            foreign: saved.foreign,
            texts: saved.texts,
            waiting: Texts::default(),
            registry,
            news,
        }
    }

    /// Takes in the whole store, as it is after a connect.
    pub fn handle_listing(&mut self, now: Timestamp, listing: Listing) {
        self.judge(&listing);
        self.set_texts(listing.texts);
        let is_foreign = self.foreign.is_some();
        let present: BTreeSet<Key> = listing.servers.iter().map(|s| s.key.clone()).collect();
        for server in listing.servers {
            self.registry.put(server, is_foreign, &mut self.news);
        }
        for key in self.registry.registered() {
            if !present.contains(&key) {
                self.lose(now, &key);
            }
        }
        if !is_foreign {
            self.known = Some(listing.mark);
            self.processed = listing.mark.revision;
        }
    }

    /// Takes in a change that followed the last listing.
    pub fn handle_change(&mut self, now: Timestamp, change: Change) {
        let modified = match &change {
            Change::Text(_, text) => text.modified,
            Change::Server(server) => server.modified,
            Change::TextGone(_) | Change::ServerGone(_) => 0,
        };
        if self.foreign.is_none() {
            self.processed = self.processed.max(modified);
        }
        match change {
            Change::Text(layer, text) => self.set_text(layer, text),
            Change::TextGone(layer) => self.news.told.push(Told::TextKept(layer)),
            Change::Server(server) => {
                let is_foreign = self.foreign.is_some();
                self.registry.put(server, is_foreign, &mut self.news);
            }
            Change::ServerGone(key) => self.lose(now, &key),
        }
    }

    /// Takes in what the cluster says of itself, read as its majority has it. Returns whether what
    /// was listed still counts; if not, it is to be listed again.
    #[must_use]
    pub fn handle_mark(&mut self, mark: Mark) -> bool {
        let last = match &mut self.foreign {
            Some(foreign) => Some(&mut foreign.found),
            None => self.known.as_mut(),
        };
        match last {
            Some(last) if mark.follows(*last) => {
                *last = mark;
                true
            }
            _ => false,
        }
    }

    /// Removes the servers whose registration vanished, whose grace time is over and that are down.
    pub fn handle_timeout(&mut self, now: Timestamp, is_down: impl Fn(&Key) -> bool) {
        if self.foreign.is_none() {
            self.registry
                .expire(now, self.grace, is_down, &mut self.news);
        }
    }

    /// Takes the foreign cluster for ours from the next listing on. Returns whether it was foreign.
    pub fn accept(&mut self) -> bool {
        let Some(foreign) = self.foreign.take() else {
            return false;
        };
        self.known = Some(foreign.found);
        self.processed = 0;
        self.waiting = Texts::default();
        // What was written in the old cluster has no place among the revisions of the new one.
        let texts = [&mut self.texts.fleet, &mut self.texts.node];
        for text in texts.into_iter().flatten() {
            text.modified = 0;
        }
        self.registry.forget_revisions();
        true
    }

    /// What is to be done; empty when nothing is.
    pub fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// What is known of the cluster whose word counts.
    #[must_use]
    pub const fn known(&self) -> Option<Mark> {
        self.known
    }

    /// The other cluster, while there is one.
    #[must_use]
    pub const fn foreign(&self) -> Option<&Foreign> {
        self.foreign.as_ref()
    }

    /// The texts that count.
    #[must_use]
    pub const fn texts(&self) -> &Texts {
        &self.texts
    }

    /// The texts that wait to be accepted; empty but while the cluster is foreign.
    #[must_use]
    pub const fn waiting(&self) -> &Texts {
        &self.waiting
    }

    /// The servers of every service, in the order of their names.
    pub fn servers(&self) -> impl Iterator<Item = Held<'_>> {
        self.registry.all()
    }

    /// The servers of `service`, in the order of their names.
    pub fn servers_of<'a>(&'a self, service: &'a str) -> impl Iterator<Item = Held<'a>> {
        self.registry.of(service)
    }

    /// Whether the registration of some server has vanished, so that time may remove it.
    #[must_use]
    pub fn has_missing(&self) -> bool {
        self.registry.all().any(|held| held.missing_since.is_some())
    }

    /// What to keep on disk, with `texts` as those that serve.
    #[must_use]
    pub fn saved(&self, texts: Texts) -> Saved {
        Saved {
            known: self.known,
            processed: self.processed_with(&texts),
            foreign: self.foreign.clone(),
            texts,
            servers: self
                .registry
                .all()
                .map(|held| held.server.clone())
                .collect(),
        }
    }

    /// Up to which revision every change is in what is kept, if `texts` are: one that was heard of
    /// and cannot serve is not among them, and the next process finds it anew.
    fn processed_with(&self, texts: &Texts) -> u64 {
        let layers = [Layer::Fleet, Layer::Node].into_iter();
        let left_out = layers.filter_map(|layer| {
            let heard = self.texts.of(layer)?.modified;
            let kept = texts.of(layer).map(|text| text.modified);
            // After a cluster was accepted nothing is known of when its texts were written.
            (heard != 0 && kept != Some(heard)).then(|| heard - 1)
        });
        left_out.fold(self.processed, u64::min)
    }

    /// Judges whether the listing is of the cluster that is known.
    fn judge(&mut self, listing: &Listing) {
        let Some(known) = self.known else {
            return;
        };
        let found = listing.mark;
        let broken = history::broken(known, found).or_else(|| self.rewritten(listing));
        let Some(before) = &self.foreign else {
            if let Some(reason) = broken {
                let foreign = Foreign { found, reason };
                self.news.told.push(Told::Foreign(foreign.clone()));
                self.foreign = Some(foreign);
            }
            return;
        };
        if found.follows(before.found) {
            let reason = before.reason;
            self.foreign = Some(Foreign { found, reason });
            return;
        }
        self.waiting = Texts::default();
        // One that has our id and began anew cannot be told from ours once it has grown: only one of
        // another id gives way to ours by itself.
        let was_another = before.found.cluster_id != known.cluster_id;
        let reason = broken.or_else(|| (!was_another).then_some(before.reason));
        if reason.is_none() {
            self.news.told.push(Told::Native);
        }
        self.foreign = reason.map(|reason| Foreign { found, reason });
    }

    /// Whether something that is known was, by the listing, never written when it was.
    fn rewritten(&self, listing: &Listing) -> Option<Reason> {
        let pairs = [
            (&self.texts.fleet, &listing.texts.fleet),
            (&self.texts.node, &listing.texts.node),
        ];
        let mut texts = pairs.into_iter().filter_map(|(known, found)| {
            let (known, found) = (known.as_ref()?, found.as_ref()?);
            Some((Seen(known.modified), Seen(found.modified)))
        });
        let mut servers = listing.servers.iter().filter_map(|server| {
            let held = self.registry.get(&server.key)?;
            Some((Seen(held.modified), Seen(server.modified)))
        });
        let is_other =
            |(before, found): (Seen, Seen)| found.is_another_past(before, self.processed);
        let is_rewritten = texts.any(is_other) || servers.any(is_other);
        is_rewritten.then_some(Reason::Rewritten)
    }

    fn set_texts(&mut self, found: Texts) {
        let layers = [(Layer::Fleet, found.fleet), (Layer::Node, found.node)];
        for (layer, text) in layers {
            match text {
                Some(text) => self.set_text(layer, text),
                None if self.foreign.is_none() && self.texts.of(layer).is_some() => {
                    self.news.told.push(Told::TextKept(layer));
                }
                None => {}
            }
        }
    }

    fn set_text(&mut self, layer: Layer, text: Text) {
        let is_foreign = self.foreign.is_some();
        let texts = if is_foreign {
            &mut self.waiting
        } else {
            &mut self.texts
        };
        let words = Arc::clone(&text.text);
        let is_written_anew = texts.of(layer) != Some(&text);
        let before = texts.of_mut(layer).replace(text);
        if is_foreign {
            let serving = self.texts.of(layer);
            let mut known = [before.as_ref(), serving].into_iter().flatten();
            if !known.any(|known| known.text == words) {
                self.news.told.push(Told::TextHeld(layer));
            }
        } else if is_written_anew {
            self.news.texts = true;
        }
    }

    /// A registration is gone.
    fn lose(&mut self, now: Timestamp, key: &Key) {
        if self.foreign.is_none() {
            self.registry.miss(now, key, &mut self.news);
        }
    }
}

impl Texts {
    /// The text of a layer.
    #[must_use]
    pub const fn of(&self, layer: Layer) -> Option<&Text> {
        match layer {
            Layer::Fleet => self.fleet.as_ref(),
            Layer::Node => self.node.as_ref(),
        }
    }

    /// Puts a text in place of that of its layer.
    pub fn set(&mut self, layer: Layer, text: Text) {
        *self.of_mut(layer) = Some(text);
    }

    const fn of_mut(&mut self, layer: Layer) -> &mut Option<Text> {
        match layer {
            Layer::Fleet => &mut self.fleet,
            Layer::Node => &mut self.node,
        }
    }
}

impl News {
    /// Whether there is nothing to do and nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
