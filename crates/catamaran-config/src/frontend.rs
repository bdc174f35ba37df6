//! The `[frontend.*]` sections and their listeners.

use crate::access;
use crate::address;
use crate::auth;
use crate::backend::{Backends, check_name, first};
use crate::files::Files;
use crate::policy;
use crate::read::{Entry, Fields, Node, set};
use crate::reference::{self, Scope, Section};
use crate::route;
use catamaran_core::model::{
    AccessLog, BackendId, ErrorPage, ForwardedHeaders, Frontend, FrontendTimeouts, IpNet, Listener,
    LogFormat, LogTarget, Name, Protocol, RateKey,
};
use catamaran_core::nearest::nearest;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reads the frontends in the order of the file.
pub(crate) fn read_all<'a>(
    root: Fields<'a>,
    backends: &Backends<'a>,
    files: &Files<'a>,
) -> Vec<Frontend> {
    let node = root.node("frontend");
    let entries = node.map(|node| node.entries().unwrap_or_default());
    let none_written = match (node, &entries) {
        (Some(node), Some(entries)) => node.is_table() && entries.is_empty(),
        _ => !root.is_misspelt("frontend"),
    };
    // A node of a fleet may have none of its own.
    if none_written && root.node("etcd").is_none() {
        let at = root.key_at("frontend").unwrap_or(0);
        root.reader().error(
            root.reader().header_start(at),
            "the configuration has no frontend; add `[frontend.web]` with `listen` and `backend`",
        );
    }
    let mut bound = Bound::default();
    entries
        .unwrap_or_default()
        .into_iter()
        .filter_map(|entry| read(entry, backends, files, &mut bound))
        .collect()
}

/// Addresses that listeners have, and where they are written. UDP has ports of its own.
type Bound = HashMap<(SocketAddr, bool), usize>;

fn read<'a>(
    entry: Entry<'a>,
    backends: &Backends<'a>,
    files: &Files<'a>,
    bound: &mut Bound,
) -> Option<Frontend> {
    check_name("frontend", entry);
    let fields = entry.node.fields(&reference::FRONTEND)?;
    let protocols = [
        ("http", Protocol::Http),
        ("tcp", Protocol::Tcp),
        ("udp", Protocol::Udp),
    ];
    let protocol = fields.node("protocol").map(|node| node.choice(&protocols));
    // An unknown protocol is told once; nothing else is judged by it.
    let judged = protocol.is_none_or(|known| known.is_some());
    let protocol = protocol.flatten().unwrap_or_default();
    let mut frontend = Frontend::new(Name::new(entry.name), protocol, Vec::new(), BackendId(0));
    frontend.backend = fields.node("backend").and_then(|node| {
        let id = backends.resolve(node)?;
        backends.check_protocol(id, protocol, node.at());
        Some(id)
    });
    frontend.listeners = read_listeners(fields, entry.name, protocol, bound);
    frontend.routes = route::read_all(fields, backends, files);
    read_limits(fields, &mut frontend);
    let forwarded = [
        ("x-forwarded", ForwardedHeaders::XForwarded),
        ("forwarded", ForwardedHeaders::Forwarded),
        ("both", ForwardedHeaders::Both),
        ("off", ForwardedHeaders::Off),
    ];
    let written = fields.node("forwarded");
    set(
        &mut frontend.forwarded,
        written.and_then(|node| node.choice(&forwarded)),
    );
    frontend.access = access::access(fields, files);
    frontend.auth = fields.node("auth").and_then(auth::auth);
    frontend.bandwidth = fields.node("bandwidth").and_then(access::bandwidth);
    frontend.tarpit = access::tarpit(fields);
    frontend.trusted_proxies = networks(fields, "trusted-proxies");
    frontend.access_log = fields.node("access-log").and_then(access_log);
    frontend.error_pages = error_pages(fields);
    if judged {
        check_protocol(fields, entry.name, &frontend);
    }
    Some(frontend)
}

fn read_limits(fields: Fields<'_>, frontend: &mut Frontend) {
    let timeouts = fields.node("timeouts");
    if let Some(written) = timeouts.and_then(|node| node.fields(&reference::FRONTEND_TIMEOUTS)) {
        let FrontendTimeouts {
            request_head,
            keep_alive,
            body,
            tunnel,
        } = &mut frontend.timeouts;
        set(request_head, written.duration("request-head"));
        set(keep_alive, written.duration("keep-alive"));
        set(body, written.duration("body"));
        set(tunnel, written.duration("tunnel"));
        if frontend.protocol != Protocol::Http {
            refuse_http_keys(written, &reference::FRONTEND_TIMEOUTS);
        }
    }
    frontend.max_connections = fields.number("max-connections");
    frontend.max_connections_per_source = fields.number("max-connections-per-source");
    frontend.rate_limit = fields.node("rate-limit").and_then(policy::rate_limit);
    set(&mut frontend.http.max_head_bytes, fields.size("max-head"));
    set(&mut frontend.http.max_fields, fields.number("max-fields"));
}

/// Checks what depends on the protocol.
fn check_protocol(fields: Fields<'_>, name: &str, frontend: &Frontend) {
    let has_backend = fields.node("backend").is_some() || fields.is_misspelt("backend");
    if frontend.protocol == Protocol::Http {
        if !has_backend && fields.node("route").is_none() && !fields.is_misspelt("route") {
            fields.error(format!(
                "frontend `{name}` has neither `backend` nor routes; add `backend = \"…\"` or \
                 `[[frontend.{name}.route]]`"
            ));
        }
        return;
    }
    if !has_backend {
        fields.error(format!(
            "frontend `{name}` has no `backend`; add `backend = \"…\"`"
        ));
    }
    refuse_http_keys(fields, &reference::FRONTEND);
    if let Some(node) = fields.node("bandwidth")
        && frontend.protocol == Protocol::Udp
    {
        node.error("`bandwidth` is for TCP and HTTP; remove it");
    }
    let by_header = |limit: &catamaran_core::model::RateLimit| limit.by != RateKey::SourceIp;
    if let Some(node) = fields.node("rate-limit")
        && frontend.rate_limit.as_ref().is_some_and(by_header)
    {
        node.error("`by` counts a header, which only HTTP has; write `by = \"source-ip\"`");
    }
}

/// Refuses the keys that only HTTP has a use for.
fn refuse_http_keys(fields: Fields<'_>, section: &Section) {
    for key in section.keys.iter().filter(|key| key.scope == Scope::Http) {
        if let Some(at) = fields.key_at(key.name) {
            fields.reader().error(
                at,
                format!(
                    "`{}` is for HTTP frontends; remove it, or write `protocol = \"http\"`",
                    key.name
                ),
            );
        }
    }
}

fn read_listeners(
    fields: Fields<'_>,
    name: &str,
    protocol: Protocol,
    bound: &mut Bound,
) -> Vec<Listener> {
    let Some(node) = fields.node("listen") else {
        if !fields.is_misspelt("listen") {
            fields.error(format!(
                "frontend `{name}` does not listen; add `listen = \"0.0.0.0:80\"`"
            ));
        }
        return Vec::new();
    };
    let items = node.one_or_many();
    if items.is_empty() {
        node.error(format!(
            "frontend `{name}` does not listen; write `listen = \"0.0.0.0:80\"`"
        ));
    }
    let mut listeners = Vec::with_capacity(items.len());
    for item in items {
        for address in read_listener(item).unwrap_or_default() {
            // Each listener on port 0 gets a port of its own.
            if address.port() != 0
                && let Some(earlier) = first(bound, (address, protocol == Protocol::Udp), item.at())
            {
                item.error(format!(
                    "`{address}` is listened on twice, first at line {}; remove one, or give it \
                     another port",
                    item.reader().line(earlier)
                ));
            }
            listeners.push(Listener { address });
        }
    }
    listeners
}

fn read_listener(node: Node<'_>) -> Option<Vec<SocketAddr>> {
    let node = if node.is_table() {
        let fields = node.fields(&reference::LISTENER)?;
        fields.required("address", "\"0.0.0.0:80\"")?
    } else {
        node
    };
    let text = node.text("an address such as `\"0.0.0.0:80\"`, or a table with `address`")?;
    address::listen_addresses(&text)
        .map_err(|message| node.error(message))
        .ok()
}

/// Networks such as `10.0.0.0/8`; none if `key` is not written.
pub(crate) fn networks(fields: Fields<'_>, key: &'static str) -> Vec<IpNet> {
    let network = |node: Node<'_>| {
        let text = node.text("a network such as `\"10.0.0.0/8\"`")?;
        let network: Result<IpNet, _> = text.parse();
        network
            .map_err(|cause| {
                node.error(format!(
                    "`{text}` is no network: {cause}; write it as `10.0.0.0/8`"
                ));
            })
            .ok()
    };
    let node = fields.node(key);
    let items = node.map(|node| node.one_or_many()).unwrap_or_default();
    items.into_iter().filter_map(network).collect()
}

const FORMATS: [(&str, LogFormat); 4] = [
    ("json", LogFormat::Json),
    ("clf", LogFormat::Clf),
    ("haproxy", LogFormat::Haproxy),
    ("human", LogFormat::Human),
];

fn access_log(node: Node<'_>) -> Option<AccessLog> {
    let mut log = AccessLog {
        format: LogFormat::Json,
        target: LogTarget::Stdout,
        silent_clients: false,
    };
    if node.is_text() {
        log.format = node.choice(&FORMATS)?;
        return Some(log);
    }
    if !node.is_table() {
        node.mismatch("a format such as `\"json\"`, or a table with `format` and `to`");
        return None;
    }
    let fields = node.fields(&reference::ACCESS_LOG)?;
    let format = fields.node("format");
    set(
        &mut log.format,
        format.and_then(|node| node.choice(&FORMATS)),
    );
    set(&mut log.silent_clients, fields.bool("silent-clients"));
    set(&mut log.target, fields.node("to").and_then(log_target));
    Some(log)
}

fn log_target(node: Node<'_>) -> Option<LogTarget> {
    let text = node.text("`\"stdout\"`, a file or `\"syslog\"`")?;
    match text.as_str() {
        "stdout" => return Some(LogTarget::Stdout),
        "syslog" => return Some(LogTarget::SyslogUnix(PathBuf::from("/dev/log"))),
        path if path.starts_with('/') => return Some(LogTarget::File(PathBuf::from(path))),
        _ => {}
    }
    if let Some(target) = text.strip_prefix("syslog:") {
        if target.starts_with('/') {
            return Some(LogTarget::SyslogUnix(PathBuf::from(target)));
        }
        return address::with_default_port(target, 514)
            .map(LogTarget::SyslogUdp)
            .map_err(|_| {
                node.error(format!(
                    "`{text}` is no syslog; write it as `syslog:127.0.0.1:514` or \
                     `syslog:/dev/log`"
                ));
            })
            .ok();
    }
    node.error(match nearest(&text, ["stdout", "syslog"]) {
        Some(near) => format!("unknown target `{text}`; did you mean `{near}`?"),
        None => format!(
            "unknown target `{text}`; write `stdout`, `syslog`, or a file as an absolute path"
        ),
    });
    None
}

fn error_pages(fields: Fields<'_>) -> Vec<ErrorPage> {
    let entries = fields.node("error-pages").and_then(|node| node.entries());
    let pages = entries.unwrap_or_default();
    pages.into_iter().filter_map(error_page).collect()
}

fn error_page(entry: Entry<'_>) -> Option<ErrorPage> {
    let reader = entry.node.reader();
    let status = entry.name.parse().ok();
    let status = status.filter(|status| (400..=599).contains(status));
    if status.is_none() {
        let message = format!(
            "`{}` is no status of an error; write one from 400 to 599",
            entry.name
        );
        reader.error(entry.at, message);
    }
    let file = entry.node.text("a file (a string)")?;
    let path = Path::new(&file);
    let content_type = content_type(path);
    if content_type.is_none() {
        entry.node.error(format!(
            "the ending of `{file}` says no content type; use `.html`, `.txt`, `.json`, `.xml` \
             or `.svg`"
        ));
    }
    let body = match reader.read_file(path) {
        Ok(body) if body.len() > MAX_PAGE_BYTES => {
            entry.node.error(format!(
                "`{file}` has {} bytes; an error page may have {MAX_PAGE_BYTES}",
                body.len()
            ));
            return None;
        }
        Ok(body) => Arc::from(body),
        Err(source) => {
            entry.node.error(format!(
                "`{file}` cannot be read: {source}; write the file, or remove the page"
            ));
            return None;
        }
    };
    Some(ErrorPage {
        status: status?,
        content_type: content_type?.to_owned(),
        body,
    })
}

fn content_type(path: &Path) -> Option<&'static str> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    Some(match ending.as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "txt" => "text/plain; charset=utf-8",
        "json" => "application/json",
        "xml" => "application/xml",
        "svg" => "image/svg+xml",
        _ => return None,
    })
}

/// Chosen: every page is held in memory and copied into a response at once.
const MAX_PAGE_BYTES: usize = 1 << 20;
