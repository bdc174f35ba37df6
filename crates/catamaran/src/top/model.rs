//! What `top` knows: the last state as rows, and what the user has chosen to see of it.

use serde_json::Value;
use std::collections::VecDeque;

/// Everything that is shown.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) process: Process,
    pub(super) frontends: Vec<Frontend>,
    pub(super) virtual_ips: Vec<VirtualIp>,
    pub(super) peers: Vec<Peer>,
    /// All servers, in the order of the configuration.
    pub(super) servers: Vec<Server>,
    /// The newest last.
    pub(super) events: Vec<Event>,
    /// Exchanges per second of the last states, the newest last; in tenths.
    pub(super) history: VecDeque<u64>,
    pub(super) link: Link,
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    pub(super) problems_only: bool,
    pub(super) filter: String,
    pub(super) mode: Mode,
    /// The chosen server, by backend and name: it stays chosen when the order changes.
    pub(super) chosen: Option<(String, String)>,
    /// What the last change came to.
    pub(super) note: Option<Note>,
    /// Rows of servers that fit, as last drawn.
    pub(super) page: usize,
}

/// How the process is reached.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Link {
    #[default]
    Connecting,
    Live,
    /// What is shown is old; why.
    Lost(String),
}

/// What keys do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Normal,
    /// They write the filter.
    Filter,
    Help,
    /// They answer whether it is to be done.
    Confirm(Change),
}

/// A change of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) backend: String,
    pub(super) server: String,
    pub(super) what: What,
}

/// What is to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Drain,
    Maintenance,
    Enable,
    Weight(u16),
}

/// Told below the table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) text: String,
    pub(super) tone: Tone,
}

/// How something is, for its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    Good,
    #[default]
    Plain,
    Warn,
    Bad,
}

/// By what servers are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Configured,
    Name,
    State,
    InFlight,
    Rate,
    Failures,
    Latency,
}

#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) version: String,
    pub(super) readiness: String,
    pub(super) uptime_seconds: f64,
    pub(super) connections: u64,
    pub(super) workers: usize,
    pub(super) lag_ms: f64,
    /// Why the last reload was refused.
    pub(super) config_error: Option<String>,
    /// When the state was taken, Unix time.
    pub(super) at: f64,
}

#[derive(Debug)]
pub(super) struct Frontend {
    pub(super) name: String,
    pub(super) protocol: String,
    pub(super) connections: u64,
    pub(super) rate: Option<f64>,
    pub(super) failures: Option<f64>,
    pub(super) bytes_out: Option<f64>,
    /// p50, p90, p99 in milliseconds.
    pub(super) latency: [Option<f64>; 3],
}

#[derive(Debug)]
pub(super) struct VirtualIp {
    pub(super) name: String,
    pub(super) addresses: String,
    pub(super) state: String,
    pub(super) priority: u64,
    pub(super) active: String,
    pub(super) tone: Tone,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) lag_ms: f64,
    pub(super) waiting: u64,
    pub(super) address: String,
    pub(super) tone: Tone,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) backend: String,
    pub(super) name: String,
    pub(super) state: String,
    pub(super) tone: Tone,
    pub(super) usable: bool,
    pub(super) weight: u16,
    pub(super) in_flight: u64,
    pub(super) connections: u64,
    pub(super) rate: Option<f64>,
    pub(super) failures: Option<f64>,
    pub(super) latency: Option<f64>,
    pub(super) check: String,
}

#[derive(Debug)]
pub(super) struct Event {
    pub(super) at: f64,
    pub(super) kind: String,
    pub(super) about: String,
    pub(super) message: String,
    pub(super) tone: Tone,
}

impl Model {
    /// Takes in what `/v1/state` answered.
    pub(super) fn take(&mut self, state: &Value) {
        self.process = Process::of(state);
        self.frontends = each(&state["frontends"]).map(Frontend::of).collect();
        self.virtual_ips = each(&state["virtual_ips"]).map(VirtualIp::of).collect();
        self.peers = each(&state["cluster"]["peers"]).map(Peer::of).collect();
        let backends = each(&state["backends"]);
        self.servers = backends
            .flat_map(|backend| {
                let servers = each(&backend["servers"]);
                servers.map(|server| Server::of(&text(&backend["name"]), server))
            })
            .collect();
        self.events = each(&state["events"]).map(Event::of).collect();
        self.history.push_back(tenths(self.rate()));
        while self.history.len() > HISTORY {
            self.history.pop_front();
        }
        self.link = Link::Live;
    }

    /// The servers that are to be seen, in their order.
    pub(super) fn shown(&self) -> Vec<&Server> {
        let filter = self.filter.to_lowercase();
        let servers = self.servers.iter().filter(|server| {
            let words = format!("{}/{} {}", server.backend, server.name, server.state);
            (!self.problems_only || server.tone != Tone::Good)
                && words.to_lowercase().contains(&filter)
        });
        let mut shown: Vec<&Server> = servers.collect();
        let most_first =
            |of: fn(&Server) -> f64| move |a: &&Server, b: &&Server| of(b).total_cmp(&of(a));
        match self.sort {
            Sort::Configured => {}
            Sort::Name => shown.sort_by(|a, b| (&a.backend, &a.name).cmp(&(&b.backend, &b.name))),
            Sort::State => shown.sort_by_key(|server| std::cmp::Reverse(server.tone)),
            Sort::InFlight => shown.sort_by_key(|server| std::cmp::Reverse(server.in_flight)),
            Sort::Rate => shown.sort_by(most_first(|server| server.rate.unwrap_or(-1.0))),
            Sort::Failures => shown.sort_by(most_first(|server| server.failures.unwrap_or(-1.0))),
            Sort::Latency => shown.sort_by(most_first(|server| server.latency.unwrap_or(-1.0))),
        }
        if self.is_reversed {
            shown.reverse();
        }
        shown
    }

    /// Where the chosen server is among those shown; the first if it is not.
    pub(super) fn chosen_index(&self) -> usize {
        let Some((backend, name)) = &self.chosen else {
            return 0;
        };
        let shown = self.shown();
        let found = shown
            .iter()
            .position(|one| one.backend == *backend && one.name == *name);
        found.unwrap_or(0)
    }

    /// Exchanges per second over all frontends.
    pub(super) fn rate(&self) -> f64 {
        self.frontends.iter().filter_map(|one| one.rate).sum()
    }

    /// Failures per second over all frontends.
    pub(super) fn failures(&self) -> f64 {
        self.frontends.iter().filter_map(|one| one.failures).sum()
    }
}

impl Sort {
    /// The next one.
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Configured => Self::Name,
            Self::Name => Self::State,
            Self::State => Self::InFlight,
            Self::InFlight => Self::Rate,
            Self::Rate => Self::Failures,
            Self::Failures => Self::Latency,
            Self::Latency => Self::Configured,
        }
    }

    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Configured => "file",
            Self::Name => "name",
            Self::State => "state",
            Self::InFlight => "in flight",
            Self::Rate => "req/s",
            Self::Failures => "fail/s",
            Self::Latency => "latency",
        }
    }
}

impl Process {
    fn of(state: &Value) -> Self {
        let process = &state["process"];
        let lags = each(&state["workers"]).filter_map(|worker| worker["lag_ms"].as_f64());
        Self {
            version: text(&process["version"]),
            readiness: text(&process["readiness"]),
            uptime_seconds: process["uptime_seconds"].as_f64().unwrap_or(0.0),
            connections: process["connections"].as_u64().unwrap_or(0),
            workers: each(&state["workers"]).count(),
            lag_ms: lags.fold(0.0, f64::max),
            config_error: process["config"]["last_error"].as_str().map(clean),
            at: state["at"].as_f64().unwrap_or(0.0),
        }
    }
}

impl Frontend {
    fn of(frontend: &Value) -> Self {
        let rates = &frontend["rates"];
        let latency = &rates["latency_ms"];
        Self {
            name: text(&frontend["name"]),
            protocol: text(&frontend["protocol"]),
            connections: frontend["connections"].as_u64().unwrap_or(0),
            rate: rates["exchanges"].as_f64(),
            failures: rates["failures"].as_f64(),
            bytes_out: rates["bytes_out"].as_f64(),
            latency: ["p50", "p90", "p99"].map(|name| latency[name].as_f64()),
        }
    }
}

impl VirtualIp {
    fn of(one: &Value) -> Self {
        let state = text(&one["state"]);
        let addresses = each(&one["addresses"]).map(text);
        let tone = match (one["conflict"] == true, state.as_str()) {
            (true, _) | (_, "initialize") => Tone::Bad,
            (_, "active") => Tone::Good,
            _ => Tone::Plain,
        };
        Self {
            name: format!("{} {}", text(&one["name"]), text(&one["family"])),
            addresses: addresses.collect::<Vec<_>>().join(" "),
            state: if one["conflict"] == true {
                format!("{state}, and another")
            } else {
                state
            },
            priority: one["priority"].as_u64().unwrap_or(0),
            active: text(&one["active"]),
            tone,
        }
    }
}

impl Peer {
    fn of(one: &Value) -> Self {
        let (state, is_drifted) = (text(&one["state"]), one["drifted"] == true);
        let tone = match (state.as_str(), is_drifted) {
            ("in-step", false) => Tone::Good,
            ("in-step" | "learning", _) => Tone::Warn,
            _ => Tone::Bad,
        };
        Self {
            name: text(&one["name"]),
            state: if is_drifted {
                format!("{state}, drifted")
            } else {
                state
            },
            lag_ms: one["lag_ms"].as_f64().unwrap_or(0.0),
            waiting: one["waiting"].as_u64().unwrap_or(0),
            address: text(&one["address"]),
            tone,
        }
    }
}

impl Server {
    fn of(backend: &str, server: &Value) -> Self {
        let in_flight = server["in_flight"].as_u64().unwrap_or(0);
        let weight = server["weight"].as_u64().unwrap_or(0);
        let (state, tone) = state_of(server, in_flight, weight);
        let check = &server["check"];
        Self {
            backend: backend.to_owned(),
            name: text(&server["name"]),
            state,
            tone,
            usable: server["usable"] == true,
            weight: u16::try_from(weight).unwrap_or(u16::MAX),
            in_flight,
            connections: server["connections"].as_u64().unwrap_or(0),
            rate: server["rates"]["requests"].as_f64(),
            failures: server["rates"]["failures"].as_f64(),
            latency: server["latency_ms"].as_f64(),
            check: match check["reason"].as_str().filter(|reason| !reason.is_empty()) {
                Some(reason) => clean(reason),
                None => check["result"].as_str().unwrap_or("-").to_owned(),
            },
        }
    }
}

impl Event {
    fn of(event: &Value) -> Self {
        let kind = text(&event["kind"]);
        let about = match (event["backend"].as_str(), event["server"].as_str()) {
            (Some(backend), Some(server)) => clean(&format!("{backend}/{server}")),
            _ => String::new(),
        };
        let tone = match kind.as_str() {
            "server-down" | "server-refusing" | "reload-failed" | "worker-stalled" => Tone::Bad,
            "server-ejected" | "draining" | "virtual-ip" => Tone::Warn,
            "server-up" | "server-accepting" | "server-readmitted" | "reloaded" => Tone::Good,
            _ => Tone::Plain,
        };
        Self {
            at: event["at"].as_f64().unwrap_or(0.0),
            kind,
            about,
            message: clean(event["message"].as_str().unwrap_or_default()),
            tone,
        }
    }
}

/// What is wanted of a server and what is observed, as one word.
fn state_of(server: &Value, in_flight: u64, weight: u64) -> (String, Tone) {
    match server["admin"].as_str() {
        Some("maintenance") => return ("maintenance".to_owned(), Tone::Plain),
        Some("drain") if in_flight > 0 => return ("draining".to_owned(), Tone::Warn),
        Some("drain") => return ("drained".to_owned(), Tone::Warn),
        _ => {}
    }
    let by_hand = server["health_override"].as_str();
    let health = by_hand.unwrap_or_else(|| server["health"].as_str().unwrap_or("unknown"));
    let tone = match health {
        "up" if weight > 0 => Tone::Good,
        "down" | "refusing" => Tone::Bad,
        _ => Tone::Warn,
    };
    let suffix = if by_hand.is_some() { " by hand" } else { "" };
    (format!("{health}{suffix}"), tone)
}

fn each(values: &Value) -> impl Iterator<Item = &Value> {
    values.as_array().into_iter().flatten()
}

/// A value as text that cannot steer the terminal; a dash for none.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => clean(text),
        other => other.to_string(),
    }
}

fn clean(text: &str) -> String {
    crate::ctl::without_controls(&text.replace('\n', "; "))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is not negative, and far below the largest integer"
)]
fn tenths(rate: f64) -> u64 {
    (rate * 10.0).max(0.0) as u64
}

/// States whose rates are kept: as many as the widest sparkline shows.
const HISTORY: usize = 120;
