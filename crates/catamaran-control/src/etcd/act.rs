//! What is done and told when the fleet knows something new.

use super::shell::{Reply, Shell};
use super::{Contact, store};
use crate::admin::{Kind, unix_now};
use crate::resolve::{Order, Registrations};
use catamaran_core::fleet::{Layer, Told};
use catamaran_core::model::EtcdEndpoint;
use catamaran_etcd::EtcdError;
use std::sync::Arc;

impl Shell {
    /// Does what the fleet wants done.
    pub(super) async fn act(&mut self) {
        let news = self.fleet.take_news();
        for told in &news.told {
            self.tell(told);
        }
        if news.texts {
            self.put_texts().await;
        }
        if !news.services.is_empty() {
            // Discovery ends with us, not before.
            let _ = self
                .orders
                .send(Order::Registered(self.registrations()))
                .await;
        }
        self.publish();
        self.save().await;
    }

    /// Takes the foreign cluster for ours, if it is one. Returns whether it is to be listed anew.
    pub(super) async fn accept(&mut self, reply: Reply) -> bool {
        let was_foreign = self.fleet.accept();
        let result = if was_foreign {
            self.note("the cluster was accepted: what it says counts from now on");
            self.save().await;
            Ok(())
        } else {
            Err("there is nothing to accept: the cluster is the one that is known".to_owned())
        };
        // Who no longer waits need not know.
        let _ = reply.send(result);
        was_foreign
    }

    /// A node answered, and its changes are watched.
    pub(super) fn connected(&self, endpoint: &EtcdEndpoint) {
        let mut was = Contact::Connected;
        self.handle.set_status(|status| {
            was = status.state;
            status.endpoint = Some(endpoint.to_string());
            status.last_error = None;
        });
        if matches!(was, Contact::Away | Contact::Connecting) {
            tracing::info!(%endpoint, "etcd is watched");
            self.plane
                .events
                .note(Kind::Etcd, format!("{endpoint} is watched"));
        }
        self.contacted();
    }

    /// The cluster answered.
    pub(super) fn contacted(&self) {
        let state = match self.fleet.foreign() {
            Some(_) => Contact::EtcdForeign,
            None => Contact::Connected,
        };
        self.handle.set_status(|status| {
            status.state = state;
            status.last_contact = Some(unix_now());
        });
    }

    /// A node failed. The first time is told loudly.
    pub(super) fn failed(&self, error: &EtcdError) {
        let mut was = Contact::Away;
        self.handle.set_status(|status| {
            was = std::mem::replace(&mut status.state, Contact::Away);
            status.last_error = Some(error.to_string());
            if matches!(was, Contact::Connected | Contact::EtcdForeign) {
                status.disconnects += 1;
            }
        });
        if was == Contact::Away {
            tracing::debug!(%error, "etcd is away");
            return;
        }
        tracing::warn!(%error, "etcd is away; what was last known holds, and other nodes are tried");
        self.plane.events.note(Kind::Etcd, format!("away: {error}"));
    }

    /// Puts the texts of the fleet in place. What comes of it is logged by the reloader.
    async fn put_texts(&mut self) {
        let reloader = Arc::clone(&self.plane.reloader);
        let Some(served) = reloader.layers() else {
            return;
        };
        let wanted = store::layers(self.fleet.texts(), &served.file);
        let is_served = |text: &crate::reload::Text| {
            let now = reloader.text();
            now.is_some_and(|now| now.text == text.text)
        };
        let result = match reloader.merge(&wanted) {
            Ok(text) if is_served(&text) => {
                reloader.note_layers(wanted);
                Ok(())
            }
            _ => reloader.apply_layers(wanted).await.map(drop),
        };
        match result {
            Ok(()) => {
                self.good = self.fleet.texts().clone();
                self.config_error = None;
            }
            Err(error) => {
                let revision = self.fleet.known().map(|mark| mark.revision);
                tracing::error!(
                    revision,
                    "the configuration in etcd cannot serve, the last good one goes on; correct it \
                     with `catamaran ctl config put`, or go back with `catamaran ctl config rollback`"
                );
                self.config_error = Some(error.to_string());
            }
        }
    }

    fn registrations(&self) -> Registrations {
        let mut all = Registrations::new();
        for held in self.fleet.servers() {
            let key = &held.server.key;
            let of = all.entry(key.service.to_string()).or_default();
            of.push((key.name.to_string(), held.server.registration));
        }
        all
    }

    fn publish(&self) {
        let error = self.config_error.clone();
        let mut judged = 0;
        self.handle.set_status(|status| {
            status.follow(&self.fleet, &self.good, error);
            judged = status.judged_revision();
        });
        self.handle.judged.send_replace(judged);
    }

    /// Keeps the last good state on disk, if it is another than the one that is there.
    async fn save(&mut self) {
        let Some(layers) = self.plane.reloader.layers() else {
            return;
        };
        let state = (self.fleet.saved(self.good.clone()), layers.file);
        if self.fleet.known().is_none() || self.saved.as_ref() == Some(&state) {
            return;
        }
        let (etcd, directory, (saved, file)) =
            (self.etcd.clone(), self.directory.clone(), state.clone());
        let written =
            tokio::task::spawn_blocking(move || store::save(&etcd, &directory, &saved, file));
        let result = written
            .await
            .unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        let error = match result {
            Ok(()) => {
                self.saved = Some(state);
                None
            }
            Err(error) => Some(format!(
                "{}: the last good state cannot be kept: {error}; let this user write there, or \
                 name another place with `state` under [etcd]",
                super::state_path(&self.etcd, &self.directory).display()
            )),
        };
        let mut was = None;
        self.handle
            .set_status(|status| was = std::mem::replace(&mut status.state_error, error.clone()));
        if let Some(error) = error.filter(|_| was.is_none()) {
            tracing::error!("{error}");
        }
    }

    fn tell(&self, told: &Told) {
        let text = match told {
            Told::Foreign(foreign) => {
                let reason = foreign.reason;
                tracing::error!(
                    %reason, cluster = foreign.found.cluster_id, revision = foreign.found.revision,
                    "etcd is not the cluster that is known: nothing is taken away until \
                     `catamaran ctl etcd accept`"
                );
                format!("not the cluster that is known: {reason}; `ctl etcd accept` takes it over")
            }
            Told::Native => "the cluster that is known is back".to_owned(),
            Told::TextKept(layer) => {
                format!("{} was deleted; what it said holds on", self.key_of(*layer))
            }
            Told::TextHeld(layer) => {
                let key = self.key_of(*layer);
                format!("{key} is another in the foreign cluster; it waits for `ctl etcd accept`")
            }
            Told::Joined(key) => return self.tell_quietly(format!("{key} registered")),
            Told::Left(key) => return self.tell_quietly(format!("{key} left")),
            Told::Missing(key) => {
                format!("the registration of {key} vanished; it stays until it is down as well")
            }
            Told::Lost(key) => format!("{key} is removed: not registered any more, and down"),
            Told::Refused(key) => {
                format!("{key} is not used: a fleet has at most 10,000 servers")
            }
        };
        self.note(&text);
    }

    /// Notes what an operator should look at.
    fn note(&self, text: &str) {
        tracing::warn!("etcd: {text}");
        self.plane.events.note(Kind::Etcd, text);
    }

    /// Notes what goes as it should.
    fn tell_quietly(&self, text: String) {
        tracing::info!("etcd: {text}");
        self.plane.events.note(Kind::Etcd, text);
    }

    fn key_of(&self, layer: Layer) -> String {
        self.handle.keys.text(layer)
    }
}
