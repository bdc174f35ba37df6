//! The keys of `[cluster]`.

use super::Absent::{Default, Means, Required};
use super::{Key, Kind, Section};

pub(crate) static CLUSTER: Section = Section {
    name: "cluster",
    title: "[cluster]",
    doc: "The nodes that share affinity, rate limits and drains, so that any of them may die. Every \
          node has this section, with its own name as `node` and all others as `peers`. Changes \
          take effect with a reload. See [redundancy.md](redundancy.md).",
    keys: &[
        Key::new(
            "node",
            Kind::Text("name"),
            Required,
            "Name of this node; the others list it under `peers`.",
        ),
        Key::new(
            "peers",
            Kind::Map("NODE", &Kind::Text("address")),
            Required,
            "All other nodes by name, each with the host and port that it listens on.",
        ),
        Key::new(
            "listen",
            Kind::Text("address"),
            Default("\"0.0.0.0:7946\""),
            "Where peers connect to. Of two nodes the one whose name comes first in the alphabet \
             connects to the other. Only who knows the secret is heard.",
        ),
        Key::new(
            "secret-file",
            Kind::Text("file"),
            Means("`secret-files` is written"),
            "File with the secret that all nodes share: 64 hexadecimal digits, as `openssl rand \
             -hex 32` makes them. Only its owner may be allowed to read it. It is read when the \
             configuration is.",
        ),
        Key::new(
            "secret-files",
            Kind::List(&Kind::Text("file")),
            Means("`secret-file` is written"),
            "The same while the secret is exchanged: all are accepted, and the first is tried \
             first where this node connects. At most four.",
        ),
    ],
    example: "[cluster]\nnode = \"a\"\npeers = { b = \"10.0.0.12:7946\" }\nsecret-file = \"/etc/catamaran/cluster.key\"\n\n[frontend.web]\nlisten = \":80\"\nbackend = \"api\"\nrate-limit = { requests = 100 }\n\n[backend.api]\nservers = [\"10.0.0.1:8080\", \"10.0.0.2:8080\"]\nbalance = \"random\"\nstick = { on = \"source-ip\", for = \"10m\" }\n",
};
