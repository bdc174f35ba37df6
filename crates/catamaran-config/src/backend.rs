//! The `[backend.*]` sections and their servers.

use crate::address;
use crate::checks;
use crate::policy;
use crate::read::{Entry, Fields, Node, Reader, set};
use crate::reference;
use catamaran_core::model::{
    Backend, BackendId, Balance, HashKey, Name, OnDown, Protocol, Server, ServerAddr, Source,
    StickKey, Weight,
};
use catamaran_core::nearest::{nearest, quoted};
use std::cell::Cell;
use std::collections::HashMap;
use std::net::IpAddr;

/// All backends of a file, to be referred to by name.
pub(crate) struct Backends<'a> {
    reader: &'a Reader<'a>,
    all: Vec<Named<'a>>,
    by_name: HashMap<&'a str, usize>,
}

struct Named<'a> {
    name: &'a str,
    at: usize,
    used: Cell<bool>,
    /// `None` if something is wrong with it.
    model: Option<Backend>,
}

impl<'a> Backends<'a> {
    /// Reads the backends in the order of the file.
    pub(crate) fn read(root: Fields<'a>) -> Self {
        let entries = root.node("backend").and_then(|node| node.entries());
        let named = |entry: Entry<'a>| Named {
            name: entry.name,
            at: entry.at,
            used: Cell::new(false),
            model: read(entry),
        };
        let all: Vec<_> = entries.unwrap_or_default().into_iter().map(named).collect();
        let names = all.iter().enumerate();
        Self {
            reader: root.reader(),
            by_name: names.map(|(index, named)| (named.name, index)).collect(),
            all,
        }
    }

    /// The backend that `node` names.
    pub(crate) fn resolve(&self, node: Node<'a>) -> Option<BackendId> {
        let name = node.text("the name of a backend (a string)")?;
        self.find(&name, node.at())
    }

    /// The backend `name`, which is written at `at`.
    pub(crate) fn find(&self, name: &str, at: usize) -> Option<BackendId> {
        let Some(&index) = self.by_name.get(name) else {
            self.reader.error(at, self.unknown(name));
            return None;
        };
        self.all[index].used.set(true);
        u32::try_from(index).ok().map(BackendId)
    }

    /// The backend `name`, which a file names; else what is wrong with it.
    pub(crate) fn of_name(&self, name: &str) -> Result<BackendId, String> {
        let index = self.by_name.get(name);
        let &index = index.ok_or_else(|| self.unknown(name))?;
        self.all[index].used.set(true);
        let id = u32::try_from(index).map(BackendId);
        id.map_err(|_| "too many backends".to_owned())
    }

    /// Says at `at` what of the backend cannot work for connections and datagrams.
    pub(crate) fn check_protocol(&self, id: BackendId, protocol: Protocol, at: usize) {
        let Some(backend) = self.all.get(id.index()).and_then(|b| b.model.as_ref()) else {
            return;
        };
        let name = &backend.name;
        let spoken = match protocol {
            Protocol::Http => return,
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        };
        if backend
            .stick
            .as_ref()
            .is_some_and(|stick| stick.on != StickKey::SourceIp)
        {
            self.reader.error(
                at,
                format!(
                    "backend `{name}` sticks on a part of HTTP requests, which {spoken} has not; \
                     write `stick = {{ on = \"source-ip\", … }}`, or another backend"
                ),
            );
        }
        if matches!(&backend.balance, Balance::Hash { key, .. } if *key != HashKey::SourceIp) {
            self.reader.error(
                at,
                format!(
                    "backend `{name}` balances on a part of HTTP requests, which {spoken} has \
                     not; write `balance = \"source\"`, or another backend"
                ),
            );
        }
        if protocol == Protocol::Udp {
            self.check_udp(backend, at);
        }
    }

    fn check_udp(&self, backend: &Backend, at: usize) {
        let name = &backend.name;
        let unix = |server: &&Server| matches!(server.address, ServerAddr::Unix(_));
        if let Some(server) = backend.servers.iter().find(unix) {
            let message = format!(
                "backend `{name}` has the stream socket `{}`, which takes no UDP; write another \
                 backend",
                server.address
            );
            self.reader.error(at, message);
        }
        let health = backend.health.as_ref();
        if health.is_some_and(|health| health.port.is_none()) {
            let message = format!(
                "backend `{name}` takes UDP but is checked over TCP on the same port; give \
                 `health` a `port` that answers, or remove it"
            );
            self.reader.warn(at, message);
        }
    }

    /// Warns about backends that nothing refers to.
    pub(crate) fn warn_unused(&self) {
        for backend in self.all.iter().filter(|backend| !backend.used.get()) {
            self.reader.warn(
                backend.at,
                format!(
                    "backend `{}` is not used; name it in a frontend or route, or remove it",
                    backend.name
                ),
            );
        }
    }

    /// The backends, for a file without mistakes.
    pub(crate) fn into_models(self) -> Vec<Backend> {
        self.all
            .into_iter()
            .filter_map(|backend| backend.model)
            .collect()
    }

    fn unknown(&self, name: &str) -> String {
        let names: Vec<&str> = self.all.iter().map(|backend| backend.name).collect();
        let remedy = match nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => {
                format!("add `[backend.{name}]` with its `servers`")
            }
            None => format!("add `[backend.{name}]`, or name one of {}", quoted(&names)),
        };
        format!("unknown backend `{name}`; {remedy}")
    }
}

fn read(entry: Entry<'_>) -> Option<Backend> {
    check_name("backend", entry);
    let fields = entry.node.fields(&reference::BACKEND)?;
    let servers = read_servers(fields, entry.name);
    let mut backend = Backend::new(Name::new(entry.name), servers.unwrap_or_default());
    set(
        &mut backend.balance,
        fields.node("balance").and_then(policy::balance),
    );
    backend.stick = fields.node("stick").and_then(policy::stick);
    backend.health = fields.node("health").and_then(policy::health);
    backend.agent = fields.node("agent").and_then(checks::agent);
    backend.source = source(fields);
    for server in &mut backend.servers {
        if server.source.is_none() {
            server.source.clone_from(&backend.source);
        }
    }
    set(
        &mut backend.outlier,
        fields.node("outlier").and_then(policy::outlier),
    );
    set(
        &mut backend.retry,
        fields.node("retry").and_then(policy::retry),
    );
    set(
        &mut backend.queue,
        fields.node("queue").and_then(policy::queue),
    );
    let on_down = [("redispatch", OnDown::Redispatch), ("keep", OnDown::Keep)];
    set(
        &mut backend.on_down,
        fields
            .node("on-down")
            .and_then(|node| node.choice(&on_down)),
    );
    backend.slow_start = fields.duration("slow-start");
    set(
        &mut backend.panic_threshold,
        fields.percent("panic-threshold"),
    );
    set(&mut backend.max_idle, fields.number("max-idle"));
    let timeouts = fields.node("timeouts");
    if let Some(timeouts) = timeouts.and_then(|node| node.fields(&reference::BACKEND_TIMEOUTS)) {
        set(&mut backend.connect_timeout, timeouts.duration("connect"));
        set(&mut backend.response_timeout, timeouts.duration("response"));
        set(&mut backend.body_timeout, timeouts.duration("body"));
        set(&mut backend.idle_timeout, timeouts.duration("idle"));
    }
    warn_idle_servers(fields, &backend);
    Some(backend)
}

/// Checks a name that becomes a label of metrics and logs.
pub(crate) fn check_name(what: &str, entry: Entry<'_>) {
    if let Some(problem) = name_problem(entry.name) {
        let message = format!("the name of {what} `{}` {problem}", entry.name);
        entry.node.reader().error(entry.at, message);
    }
}

/// What is wrong with `name`, and the remedy.
pub(crate) fn name_problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("is empty; write letters, digits, `-`, `_`, `.` and `:`")
    } else if name.len() > 128 {
        Some("is too long; 128 bytes are allowed")
    } else if name
        .chars()
        .any(|c| c.is_control() || c.is_whitespace() || c == '"')
    {
        Some("has spaces, quotes or control characters; write letters, digits, `-`, `_`, `.`")
    } else {
        None
    }
}

fn read_servers(fields: Fields<'_>, backend: &str) -> Option<Vec<Server>> {
    let Some(node) = fields.node("servers") else {
        if !fields.is_misspelt("servers") {
            fields.error(format!(
                "backend `{backend}` has no servers; add `servers = [\"10.0.0.1:8080\"]`"
            ));
        }
        return None;
    };
    let items = node.list()?;
    if items.is_empty() {
        node.error(format!(
            "backend `{backend}` has no servers; write `servers = [\"10.0.0.1:8080\"]`"
        ));
    }
    let mut servers = Vec::with_capacity(items.len());
    let mut seen = Seen::default();
    for item in items {
        if let Some(server) = read_server(item) {
            seen.check(item, &server, backend);
            servers.push(server);
        }
    }
    Some(servers)
}

fn read_server(node: Node<'_>) -> Option<Server> {
    if !node.is_table() {
        return read_address(node).map(Server::new);
    }
    let fields = node.fields(&reference::SERVER)?;
    let address = fields
        .required("address", "\"10.0.0.1:8080\"")
        .and_then(read_address);
    let name = fields.node("name").and_then(|node| {
        let name = node.text("a name (a string)")?;
        if let Some(problem) = name_problem(&name) {
            node.error(format!("the name of server `{}` {problem}", name));
        }
        Some(Name::new(&name))
    });
    let weight = fields.number("weight").and_then(Weight::new);
    let backup = fields.bool("backup");
    let max_requests = fields.number("max-requests");
    let max_connections = fields.number("max-connections");
    let mut server = Server::new(address?);
    set(&mut server.name, name);
    set(&mut server.weight, weight);
    set(&mut server.backup, backup);
    server.max_requests = max_requests;
    server.max_connections = max_connections;
    server.source = source(fields);
    Some(server)
}

/// Where connections to servers come from; `None` if nothing is written of it.
fn source(fields: Fields<'_>) -> Option<Source> {
    let address = |node: Node<'_>| {
        let text = node.text("an address of this machine such as `\"10.0.0.5\"`")?;
        let parsed = text.parse::<IpAddr>();
        parsed
            .map_err(|_| {
                let told = "write an address of this machine, without port";
                node.error(format!("`{text}` is no address; {told}"));
            })
            .ok()
    };
    let (addresses, interface) = (fields.node("source"), fields.node("source-interface"));
    if addresses.is_none() && interface.is_none() {
        return None;
    }
    let addresses = addresses.map(|node| node.one_or_many());
    let interface = interface.and_then(|node| {
        let name = node.text("an interface such as `\"eth1\"`")?;
        // IFNAMSIZ of netdevice(7), with its final NUL.
        if name.is_empty() || name.len() > 15 {
            node.error(format!(
                "`{name}` is no interface; names have 1 to 15 bytes"
            ));
        }
        Some(name)
    });
    Some(Source {
        addresses: addresses
            .unwrap_or_default()
            .into_iter()
            .filter_map(address)
            .collect(),
        interface,
    })
}

fn read_address(node: Node<'_>) -> Option<ServerAddr> {
    let text = node.text("an address such as `\"10.0.0.1:8080\"`, or a table with `address`")?;
    let address = address::server(&text).map_err(|message| node.error(message));
    if matches!(address, Ok(ServerAddr::Etcd { .. })) {
        node.reader().note_etcd(node.at(), text);
    }
    address.ok()
}

/// Names and addresses of a backend's servers, and where they are.
#[derive(Default)]
struct Seen {
    names: HashMap<Name, usize>,
    addresses: HashMap<ServerAddr, usize>,
}

impl Seen {
    fn check(&mut self, node: Node<'_>, server: &Server, backend: &str) {
        let at = node.at();
        let reader = node.reader();
        // Both are looked up, so that a later copy of either is found.
        let address = first(&mut self.addresses, server.address.clone(), at);
        let name = first(&mut self.names, server.name.clone(), at);
        if let Some(earlier) = address {
            node.error(format!(
                "backend `{backend}` has the address `{}` twice, first at line {}; remove one (a \
                 `weight` gives a server more traffic)",
                server.address,
                reader.line(earlier)
            ));
        } else if let Some(earlier) = name {
            node.error(format!(
                "backend `{backend}` has two servers named `{}`, the first at line {}; name one \
                 of them otherwise",
                server.name,
                reader.line(earlier)
            ));
        }
    }
}

/// Where `key` was first, unless this is the first time.
pub(crate) fn first<K: std::hash::Hash + Eq>(
    seen: &mut HashMap<K, usize>,
    key: K,
    at: usize,
) -> Option<usize> {
    match seen.entry(key) {
        std::collections::hash_map::Entry::Occupied(entry) => Some(*entry.get()),
        std::collections::hash_map::Entry::Vacant(entry) => {
            entry.insert(at);
            None
        }
    }
}

fn warn_idle_servers(fields: Fields<'_>, backend: &Backend) {
    let (name, servers) = (&backend.name, &backend.servers);
    let Some(at) = fields.key_at("servers").filter(|_| !servers.is_empty()) else {
        return;
    };
    if servers.iter().all(|server| server.weight.as_u16() == 0) {
        let message = format!(
            "every server of backend `{name}` has weight 0, so that none takes new clients; give \
             one a weight"
        );
        fields.reader().warn(at, message);
    } else if servers.iter().all(|server| server.backup) {
        let message = format!(
            "every server of backend `{name}` is a backup; remove `backup` from those that serve \
             normally"
        );
        fields.reader().warn(at, message);
    }
}
