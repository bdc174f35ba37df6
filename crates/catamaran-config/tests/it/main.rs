//! Tests of the crate through its public functions.

mod arbitrary;
mod errors;
mod examples;
mod messages_backend;
mod messages_cluster;
mod messages_frontend;
mod messages_tracing;
mod messages_virtual_ip;
mod valid;

use catamaran_config::{Errors, Loaded};
use catamaran_core::model::Config;
use std::io;
use std::path::Path;

/// Reads `text` as `catamaran.toml`, with `PORT` set to 8080 and the files `503.html` and `cluster.key`.
fn parse(text: &str) -> Result<Loaded, Errors> {
    let env = |name: &str| (name == "PORT").then(|| "8080".to_owned());
    let read_file = |path: &Path| {
        if path.file_name().is_some_and(|name| name == "503.html") {
            Ok(b"<p>later".to_vec())
        } else if path.file_name().is_some_and(|name| name == "cluster.key") {
            Ok("0f".repeat(32).into())
        } else {
            Err(io::Error::from(io::ErrorKind::NotFound))
        }
    };
    catamaran_config::parse(text, "catamaran.toml", &env, &read_file)
}

/// Reads `text`, which must be valid.
fn config(text: &str) -> Config {
    match parse(text) {
        Ok(loaded) => loaded.config,
        Err(errors) => panic!("{errors}"),
    }
}
