//! Configuration: TOML text to the validated [`catamaran_core::model::Config`].
//!
//! Everything that is wrong with a file is found in one run and told with its place, what was
//! found, what is allowed and the remedy. A file that is no TOML at all is told so first; what it
//! would have meant is only looked at once its syntax stands.
//!
//! The keys, their ranges and defaults are in one table (the reference) that the readers consult and
//! from which [`reference::markdown`] and [`reference::json_schema`] are made.
//!
//! ```
//! let text = "[frontend.web]\nlisten = \":80\"\nbackend = \"apl\"\n[backend.api]\nservers = []\n";
//! let no_file = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
//! let errors = catamaran_config::parse(text, "c.toml", &|_| None, &no_file).unwrap_err();
//! assert_eq!(
//!     errors.to_string(),
//!     "c.toml:3:11: unknown backend `apl`; did you mean `api`?\n\
//!      c.toml:5:11: backend `api` has no servers; write `servers = [\"10.0.0.1:8080\"]`"
//! );
//! ```
#![forbid(unsafe_code)]

mod access;
mod ad_hoc;
mod address;
mod admin;
mod auth;
mod backend;
mod checks;
mod cluster;
mod difference;
pub mod edit;
mod error;
mod etcd;
pub mod files;
mod frontend;
mod headers;
pub mod layers;
mod policy;
mod process;
mod read;
pub mod reference;
mod route;
mod route_action;
mod shared;
mod syntax;
mod tracing;
mod unit;
mod virtual_ip;

pub use ad_hoc::ad_hoc;
pub use address::listen_addresses;
pub use difference::{Difference, differences};
pub use error::{Errors, Finding, Place};
pub use read::{Beside, ReadFile};

pub use etcd::etcd_endpoint;
pub use shared::{shared_digest, with_own_sections};

use backend::Backends;
use catamaran_core::model::Config;
use files::Files;
use read::{Fields, Reader};
use std::io;
use std::path::Path;
use toml::de::DeTable;

/// A configuration that is valid, and what is doubtful about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is allowed but probably not meant, in the order of the file.
    pub warnings: Vec<Finding>,
}

/// Loads the file at `path`, with the environment of this process.
///
/// # Errors
/// All that is wrong with the file, or why it cannot be read.
pub fn load(path: &Path) -> Result<Loaded, Errors> {
    let name = path.display().to_string();
    let text = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(source) => return Err(Errors::about(&name, unreadable(&source))),
    };
    let Ok(text) = String::from_utf8(text) else {
        return Err(Errors::about(
            &name,
            "the file is not UTF-8; save it as UTF-8 text".to_owned(),
        ));
    };
    let directory = path.parent().unwrap_or_else(|| Path::new(""));
    let beside = Beside(directory);
    parse(&text, &name, &|name| std::env::var(name).ok(), &beside)
}

/// Reads the configuration in `text`, which messages call `file_name`.
///
/// `env` looks up environment variables; `read_file` reads the files that the text names, with
/// paths as written there (relative ones are relative to the configuration file).
///
/// # Errors
/// All that is wrong with the text.
pub fn parse(
    text: &str,
    file_name: &str,
    env: &dyn Fn(&str) -> Option<String>,
    read_file: &dyn ReadFile,
) -> Result<Loaded, Errors> {
    // A byte order mark is no part of the text; columns are counted without it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let reader = Reader::new(text, env, read_file);
    let (root, mistakes) = DeTable::parse_recoverable(text);
    let config = if mistakes.is_empty() {
        read_root(&reader, root.get_ref())
    } else {
        for mistake in &mistakes {
            let at = mistake.span().map_or(0, |span| span.start);
            reader.error(at, syntax_mistake(text, mistake));
        }
        None
    };
    let (errors, warnings) = reader.into_findings(file_name);
    match config {
        Some(config) if errors.is_empty() => Ok(Loaded { config, warnings }),
        _ => Err(Errors::new(errors)),
    }
}

/// Reads a server that is not written in a file: its address, and its name if it has another.
///
/// # Errors
/// What is wrong, with the remedy.
pub fn server(address: &str, name: Option<&str>) -> Result<catamaran_core::model::Server, String> {
    use catamaran_core::model::{Name, Server};
    let mut server = Server::new(address::server(address)?);
    if let Some(name) = name {
        if let Some(problem) = backend::name_problem(name) {
            return Err(format!("the name of server `{name}` {problem}"));
        }
        server.name = Name::new(name);
    }
    Ok(server)
}

/// Reads the whole file. `None` if anything is wrong.
fn read_root(reader: &Reader<'_>, root: &DeTable<'_>) -> Option<Config> {
    let fields = Fields::open(reader, root, 0, &reference::ROOT);
    let process = fields
        .node("process")
        .and_then(process::read)
        .unwrap_or_default();
    let admin = fields.node("admin").and_then(admin::read);
    let etcd_node = fields.node("etcd");
    let etcd = etcd_node.and_then(etcd::read);
    let tracing = fields.node("tracing").and_then(tracing::read);
    let backends = Backends::read(fields);
    if etcd_node.is_none() {
        reader.refuse_etcd();
    }
    let files = Files::read(fields, &backends);
    let frontends = frontend::read_all(fields, &backends, &files);
    let virtual_ips = virtual_ip::read_all(fields, &backends);
    let cluster = fields.node("cluster").and_then(cluster::read);
    backends.warn_unused();
    files.warn_unused();
    if !reader.is_clean() {
        return None;
    }
    let (lists, maps) = files.into_models();
    Some(Config {
        process,
        admin: admin.unwrap_or_default(),
        frontends,
        backends: backends.into_models(),
        lists,
        maps,
        virtual_ips,
        cluster,
        etcd,
        tracing,
    })
}

/// A mistake of the parser, in our words where it gives none of its own.
fn syntax_mistake(text: &str, mistake: &toml::de::Error) -> String {
    let written = mistake.span().and_then(|span| text.get(span));
    match (mistake.message(), written) {
        ("duplicate key", Some(key)) => format!("`{key}` is written twice; remove one"),
        (message, _) => format!("TOML syntax: {message}"),
    }
}

fn unreadable(source: &io::Error) -> String {
    let remedy = match source.kind() {
        io::ErrorKind::NotFound => "; write the file, or name another with `-c FILE`",
        io::ErrorKind::PermissionDenied => "; let this user read it",
        _ => "",
    };
    format!("cannot be read: {source}{remedy}")
}
