//! The keys of `[admin]`.

use super::Absent::Means;
use super::{Key, Kind, Section};

pub(crate) static ADMIN: Section = Section {
    name: "admin",
    title: "[admin]",
    doc: "Where the process is watched and steered from at run time: the admin API, which \
          `catamaran ctl` speaks. See `docs/admin.md`.",
    keys: &[
        Key::new(
            "socket",
            Kind::Either(&[Kind::Text("path"), Kind::Only(false)]),
            Means("`/run/catamaran/admin.sock`, else `$XDG_RUNTIME_DIR/catamaran/admin.sock`"),
            "Its unix socket, which only the user of the process may open (mode 0600). `false` \
             turns it off. Where systemd made another directory for the service \
             (`RuntimeDirectory=`), it lies there instead of `/run/catamaran`.",
        ),
        Key::new(
            "listen",
            Kind::Text("address"),
            Means("off"),
            "Where it is served over TCP as well. An address that other machines can reach needs \
             a `token-file`.",
        ),
        Key::new(
            "token-file",
            Kind::Text("file"),
            Means("no token is asked for"),
            "A file with the token that clients over TCP must send as `Authorization: Bearer \
             TOKEN`: one word of at least 16 characters. It is read when the configuration is.",
        ),
        Key::new(
            "names",
            Kind::OneOrMany(&Kind::Text("host")),
            Means("`localhost` and IP addresses only"),
            "Host names under which clients reach `listen`; requests for any other are refused.",
        ),
    ],
    example: "[admin]\nsocket = \"/run/catamaran/admin.sock\"\nlisten = \"10.0.0.5:7900\"\ntoken-file = \"/etc/catamaran/admin.token\"\nnames = [\"lb1.example\"]\n\n[frontend.web]\nlisten = \":80\"\nbackend = \"api\"\n\n[backend.api]\nservers = [\"10.0.0.1:8080\"]\n",
};
