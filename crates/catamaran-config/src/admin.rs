//! The `[admin]` section.

use crate::address;
use crate::read::Node;
use crate::reference;
use catamaran_core::model::{Admin, AdminSocket, Secret};
use std::path::Path;

/// Reads the section.
pub(crate) fn read(node: Node<'_>) -> Option<Admin> {
    let fields = node.fields(&reference::ADMIN)?;
    let mut admin = Admin::default();
    if let Some(socket) = fields.node("socket") {
        admin.socket = self::socket(socket)?;
    }
    if let Some(names) = fields.node("names") {
        let names = names.one_or_many().into_iter();
        admin.names = names.filter_map(name).collect();
    }
    let token_file = fields.node("token-file");
    admin.token = token_file.and_then(token);
    let Some(listen) = fields.node("listen") else {
        if let Some(token_file) = token_file {
            let message = "`token-file` has no use without `listen`; the unix socket is guarded \
                           by its permissions";
            token_file.reader().warn(token_file.at(), message);
        }
        return Some(admin);
    };
    let text = listen.text("an address (a string)")?;
    match address::listen_address(&text) {
        Ok(address) => admin.listen = Some(address),
        Err(message) => listen.error(message),
    }
    let is_open = admin.listen.is_some_and(|at| !at.ip().is_loopback());
    if token_file.is_none() && is_open {
        listen.error(format!(
            "`{text}` can be reached from other machines, and whoever reaches it could change \
             anything; write `token-file = \"/etc/catamaran/admin.token\"`, or listen on 127.0.0.1"
        ));
    } else if token_file.is_none() && admin.listen.is_some() {
        let message = "every user of this machine can change anything over `listen`; write \
                       `token-file`, or use the unix socket alone";
        listen.reader().warn(listen.at(), message);
    }
    Some(admin)
}

fn socket(node: Node<'_>) -> Option<AdminSocket> {
    if node.as_bool() == Some(false) {
        return Some(AdminSocket::Off);
    }
    let path = node.text("a path (a string), or false")?;
    // sockaddr_un holds 108 bytes with the final NUL (unix(7)).
    if path.is_empty() || path.len() > 107 {
        node.error("the path of a unix socket has 1 to 107 bytes");
        return None;
    }
    Some(AdminSocket::At(path.into()))
}

fn name(node: Node<'_>) -> Option<String> {
    let name = node.text("a host name (a string)")?;
    if !address::is_host(&name) {
        node.error(format!("`{name}` is no host name; write it without a port"));
        return None;
    }
    Some(name)
}

fn token(node: Node<'_>) -> Option<Secret> {
    let file = node.text("a file (a string)")?;
    let path = Path::new(&file);
    let make = format!("make one with `(umask 077; openssl rand -hex 32 > {file})`");
    let bytes = match node.reader().read_file(path) {
        Ok(bytes) => bytes,
        Err(source) => {
            node.error(node.reader().unreadable(path, &source, &make));
            return None;
        }
    };
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.len() < MIN_TOKEN_BYTES || !is_plain {
        node.error(format!(
            "`{file}` must hold one word of at least {MIN_TOKEN_BYTES} printable characters; \
             {make}"
        ));
        return None;
    }
    // Not refused, as a secret of [cluster] is: its group may be meant to steer with it.
    if let Some(mode) = node.reader().mode(path)
        && mode & 0o007 != 0
    {
        let message = format!(
            "every user of this machine may read `{file}` (mode {mode:04o}), and who knows the \
             token can change anything; `chmod 600 {file}` mends that"
        );
        node.reader().warn(node.at(), message);
    }
    Some(Secret::new(text))
}

/// Characters of a token. Chosen: 64 bits even if they are hexadecimal digits.
const MIN_TOKEN_BYTES: usize = 16;
