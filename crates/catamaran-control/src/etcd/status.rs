//! What is told of the fleet: to the admin API as a document, to monitoring as metrics.

use crate::metrics::{Exposition, Metric};
use catamaran_core::fleet::{Fleet, Held, Layer, Mark, Texts};
use catamaran_core::model::{Etcd, Weight};
use schemars::JsonSchema;
use serde::Serialize;

/// The fleet as this node sees it.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub(crate) struct FleetStatus {
    pub(super) state: Contact,
    /// What this node is called.
    node: String,
    /// What every key begins with.
    prefix: String,
    /// The node of etcd that is watched, or was last.
    pub(super) endpoint: Option<String>,
    /// Unix time in seconds of the last answer; none before the first.
    pub(super) last_contact: Option<f64>,
    /// Why etcd is away; none while it is not.
    pub(super) last_error: Option<String>,
    /// The cluster whose word counts: its id in hexadecimal digits.
    cluster_id: Option<String>,
    /// The last of its revisions that was heard of.
    revision: Option<u64>,
    /// The cluster that is found instead; none while it is the one that is known.
    foreign: Option<ForeignStatus>,
    config: ConfigStatus,
    servers: Vec<ServerStatus>,
    /// Why the last good state cannot be kept on disk; none if it can.
    pub(super) state_error: Option<String>,
    /// Keys and values that nobody understands, since the start.
    pub(super) strange_keys: u64,
    /// Times that the watch ended, since the start.
    pub(super) disconnects: u64,
}

/// The fleet in a line: for those who look at everything at once.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub(crate) struct FleetLine {
    state: Contact,
    /// What this node is called.
    node: String,
    /// The node of etcd that is watched, or was last.
    endpoint: Option<String>,
    /// Why etcd is away; none while it is not.
    last_error: Option<String>,
    /// What is found instead of the cluster that is known; none while it is that one.
    foreign: Option<String>,
    /// The revision of the fleet's text that serves; none if there is none.
    fleet_revision: Option<u64>,
    /// The revision of this node's own text that serves.
    node_revision: Option<u64>,
    /// Why the texts in etcd do not serve; none if they do.
    config_error: Option<String>,
    /// Why the last good state cannot be kept on disk; none if it can.
    state_error: Option<String>,
    /// Servers whose registration stands.
    registered: usize,
    /// Servers that stay without one until they are down as well.
    missing: usize,
}

/// Whether the store is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contact {
    /// Nothing answered yet.
    Connecting,
    /// Changes arrive as they happen.
    Connected,
    /// Nothing answers; what was last known holds.
    Away,
    /// What answers is another cluster, or the same with an older history: nothing is taken away.
    EtcdForeign,
}

/// A cluster that is not the one that was known.
#[derive(Clone, Debug, JsonSchema, Serialize)]
struct ForeignStatus {
    /// `cluster`, `revision` or `rewritten`.
    reason: &'static str,
    /// In words.
    message: String,
    /// Its id in hexadecimal digits.
    cluster_id: String,
    revision: u64,
    /// Texts that wait to be accepted: `fleet`, `node`.
    waiting: Vec<&'static str>,
}

/// The configuration texts.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
struct ConfigStatus {
    /// The revision of the fleet's text that serves; none if there is none.
    fleet_revision: Option<u64>,
    /// The revision of this node's own text that serves.
    node_revision: Option<u64>,
    /// The revision of the last text that was judged.
    judged_revision: u64,
    /// Why the texts in etcd do not serve, each mistake on a line; none if they do.
    error: Option<String>,
}

/// A server that registered.
#[derive(Clone, Debug, JsonSchema, Serialize)]
struct ServerStatus {
    service: String,
    name: String,
    address: String,
    /// None leaves it to the backend.
    weight: Option<u16>,
    /// Whether its registration stands; if it does not, it stays until it is down as well.
    registered: bool,
}

impl FleetStatus {
    pub(super) fn new(etcd: &Etcd, node: &str) -> Self {
        Self {
            state: Contact::Connecting,
            node: node.to_owned(),
            prefix: etcd.prefix.clone(),
            endpoint: None,
            last_contact: None,
            last_error: None,
            cluster_id: None,
            revision: None,
            foreign: None,
            config: ConfigStatus::default(),
            servers: Vec::new(),
            state_error: None,
            strange_keys: 0,
            disconnects: 0,
        }
    }

    /// Takes in what the fleet knows now. `good` are the texts that serve.
    pub(super) fn follow(&mut self, fleet: &Fleet, good: &Texts, error: Option<String>) {
        self.cluster_id = fleet.known().map(cluster_id);
        self.revision = fleet.known().map(|mark| mark.revision);
        self.foreign = fleet.foreign().map(|foreign| ForeignStatus {
            reason: foreign.reason.as_str(),
            message: foreign.reason.to_string(),
            cluster_id: cluster_id(foreign.found),
            revision: foreign.found.revision,
            waiting: LAYERS
                .iter()
                .filter(|(layer, _)| fleet.waiting().of(*layer).is_some())
                .map(|(_, name)| *name)
                .collect(),
        });
        let revision = |texts: &Texts, layer| texts.of(layer).map(|text| text.modified);
        // What is held was judged too: it waits.
        let both = [fleet.texts(), fleet.waiting()];
        let judged = both.into_iter().flat_map(|texts| {
            let of = |(layer, _)| revision(texts, layer);
            LAYERS.into_iter().filter_map(of)
        });
        self.config = ConfigStatus {
            fleet_revision: revision(good, Layer::Fleet),
            node_revision: revision(good, Layer::Node),
            judged_revision: judged.max().unwrap_or(0),
            error,
        };
        self.servers = fleet.servers().map(ServerStatus::of).collect();
    }

    /// What there is to say in a line.
    pub(crate) fn line(&self) -> FleetLine {
        let is_registered = |server: &&ServerStatus| server.registered;
        let registered = self.servers.iter().filter(is_registered).count();
        FleetLine {
            state: self.state,
            node: self.node.clone(),
            endpoint: self.endpoint.clone(),
            last_error: self.last_error.clone(),
            foreign: self.foreign.as_ref().map(|one| one.message.clone()),
            fleet_revision: self.config.fleet_revision,
            node_revision: self.config.node_revision,
            config_error: self.config.error.clone(),
            state_error: self.state_error.clone(),
            registered,
            missing: self.servers.len() - registered,
        }
    }

    /// Why the texts in etcd do not serve.
    pub(crate) fn config_error(&self) -> Option<&str> {
        self.config.error.as_deref()
    }

    /// Whether what is written waits for an operator.
    pub(crate) const fn is_foreign(&self) -> bool {
        self.foreign.is_some()
    }

    /// The revision of the last text that was judged.
    pub(super) const fn judged_revision(&self) -> u64 {
        self.config.judged_revision
    }

    /// Adds the metrics.
    pub(crate) fn collect(&self, out: &mut Exposition) {
        let is_connected = matches!(self.state, Contact::Connected | Contact::EtcdForeign);
        let waiting = self
            .foreign
            .as_ref()
            .map_or(0, |foreign| foreign.waiting.len());
        for (metric, is) in [
            (Metric::EtcdConnected, is_connected),
            (Metric::EtcdForeign, self.foreign.is_some()),
            (Metric::EtcdConfigOk, self.config.error.is_none()),
            (Metric::EtcdConfigHeld, waiting > 0),
            (Metric::EtcdStateOk, self.state_error.is_none()),
        ] {
            out.gauge(metric, &[], f64::from(u8::from(is)));
        }
        if let Some(last) = self.last_contact {
            out.gauge(Metric::EtcdLastContactSeconds, &[], last);
        }
        for (state, is_registered) in [("registered", true), ("missing", false)] {
            let of_state = self
                .servers
                .iter()
                .filter(|s| s.registered == is_registered);
            let count = u32::try_from(of_state.count()).unwrap_or(u32::MAX);
            out.gauge(
                Metric::EtcdServers,
                &[("state", state.into())],
                count.into(),
            );
        }
        out.counter(Metric::EtcdDisconnectsTotal, &[], self.disconnects);
        out.counter(Metric::EtcdStrangeKeysTotal, &[], self.strange_keys);
    }
}

impl ServerStatus {
    fn of(held: Held<'_>) -> Self {
        let server = held.server;
        Self {
            service: server.key.service.to_string(),
            name: server.key.name.to_string(),
            address: server.registration.address.to_string(),
            weight: server.registration.weight.map(Weight::as_u16),
            registered: held.missing_since.is_none(),
        }
    }
}

fn cluster_id(mark: Mark) -> String {
    format!("{:x}", mark.cluster_id)
}

const LAYERS: [(Layer, &str); 2] = [(Layer::Fleet, "fleet"), (Layer::Node, "node")];
