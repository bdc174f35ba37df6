//! The keys of `[etcd]`.

use super::Absent::{Default, Means, Required};
use super::{Key, Kind, Section};
use std::time::Duration;

pub(crate) static ETCD: Section = Section {
    name: "etcd",
    title: "[etcd]",
    doc: "A store that the nodes of a fleet share: it holds their configuration, and servers register \
          in it. It stands in the file of each node, never in the store. Changes take effect at the \
          next start. See [etcd.md](etcd.md).",
    keys: &[
        Key::new(
            "endpoints",
            Kind::OneOrMany(&Kind::Text("endpoint")),
            Required,
            "Nodes of the etcd cluster, as `10.0.0.1:2379` or, with TLS, `https://etcd1:2379`; \
             without a port 2379. They are tried in this order, beginning at a random one.",
        ),
        Key::new(
            "prefix",
            Kind::Text("path"),
            Default("\"/catamaran\""),
            "What every key begins with. Fleets with different prefixes can share a cluster.",
        ),
        Key::new(
            "node",
            Kind::Text("name"),
            Means("the host's name"),
            "What this node is called: its own configuration stands under `PREFIX/nodes/NAME/config`.",
        ),
        Key::new(
            "ca",
            Kind::Text("file"),
            Means("required with `https://`"),
            "Certificates in PEM that vouch for those of etcd.",
        ),
        Key::new(
            "certificate",
            Kind::Text("file"),
            Means("none is shown"),
            "Our certificate in PEM, if etcd asks for one; goes with `key`. It has no common name: etcd's \
             gateway refuses clients that show one.",
        ),
        Key::new(
            "key",
            Kind::Text("file"),
            Means("none"),
            "The private key of `certificate`, in PEM.",
        ),
        Key::new(
            "user",
            Kind::Text("name"),
            Means("etcd does not ask"),
            "Who this node is to etcd; goes with `password-file`.",
        ),
        Key::new(
            "password-file",
            Kind::Text("file"),
            Means("none"),
            "A file with the password of `user`, in one line.",
        ),
        Key::new(
            "timeout",
            Kind::Duration(Duration::from_millis(100), Duration::from_secs(60)),
            Default("\"2s\""),
            "Time for one request to a node of etcd, connecting included.",
        ),
        Key::new(
            "interval",
            Kind::Duration(Duration::from_millis(100), Duration::from_secs(600)),
            Default("\"5s\""),
            "How often it is asked whether the cluster still has a majority and is the same. Changes \
             arrive at once, whatever it is.",
        ),
        Key::new(
            "grace",
            Kind::Duration(Duration::ZERO, super::DAY),
            Default("\"30s\""),
            "How long a server stays at least whose registration vanished without a word. After that \
             it stays until it is down as well.",
        ),
        Key::new(
            "state",
            Kind::Text("file"),
            Default("\"catamaran-etcd.json\""),
            "Where the last good state is kept, so that a start with etcd away serves; relative paths \
             are relative to the configuration file. The process must be able to write its directory.",
        ),
    ],
    example: "[etcd]\nendpoints = [\"10.0.0.21:2379\", \"10.0.0.22:2379\", \"10.0.0.23:2379\"]\n\n[frontend.web]\nlisten = \":80\"\nbackend = \"api\"\n\n[backend.api]\nservers = [\"etcd:api\"]\nhealth = { http = \"/health\" }\n",
};
