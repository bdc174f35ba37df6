//! What `[tracing]` means, and what is said about mistakes in it, word for word.

use crate::config;
use crate::errors::errors;
use catamaran_core::model::{ServerAddr, Tracing};
use catamaran_core::trace::{Parents, Ratio};
use std::io;
use std::path::Path;
use std::time::Duration;

const WEB: &str = "[frontend.w]\nlisten = \":80\"\nbackend = \"b\"\n[backend.b]\nservers = [\"a:1\"]\n[tracing]\n";

fn tracing(lines: &str) -> Tracing {
    config(&format!("{WEB}{lines}\n"))
        .tracing
        .expect("a part `tracing`")
}

#[test]
fn an_endpoint_is_enough() {
    let tracing = tracing("endpoint = \"http://10.0.0.1:4318\"");
    let collector = &tracing.collector;
    let address = "10.0.0.1:4318".parse().unwrap();
    assert_eq!(collector.address, ServerAddr::Ip(address));
    assert_eq!(collector.authority, "10.0.0.1:4318");
    assert_eq!(
        (collector.path.as_str(), collector.headers.len()),
        ("/v1/traces", 0)
    );
    assert_eq!(tracing, Tracing::new(collector.clone()));
    assert_eq!(tracing.sample, Ratio::of_million(10_000));
    assert_eq!(tracing.parents, Parents::Trusted);
    assert!(
        config(WEB.trim_end_matches("[tracing]\n"))
            .tracing
            .is_none()
    );
}

#[test]
fn every_key_is_taken() {
    let tracing = tracing(
        "endpoint = \"http://Otel.example:4318/otlp/\"\nsample = \"0.05%\"\nparents = \"all\"\n\
         max-per-second = 7\nservice-name = \"edge\"\nresource = { zone = \"${PORT}\" }\n\
         timeout = \"2s\"\nqueue = 9",
    );
    let host = "otel.example".to_owned();
    let collector = &tracing.collector;
    assert_eq!(collector.address, ServerAddr::Dns { host, port: 4318 });
    assert_eq!(collector.path, "/otlp/v1/traces");
    assert_eq!(tracing.sample, Ratio::of_million(500));
    assert_eq!((tracing.parents, tracing.max_per_second), (Parents::All, 7));
    assert_eq!((tracing.service.as_str(), tracing.queue), ("edge", 9));
    assert_eq!(tracing.resource, [("zone".to_owned(), "8080".to_owned())]);
    assert_eq!(tracing.timeout, Duration::from_secs(2));
}

#[test]
fn a_path_that_is_whole_is_left_as_it_is() {
    for (url, path) in [
        ("http://a:1", "/v1/traces"),
        ("http://a:1/", "/v1/traces"),
        ("http://a:1/v1/traces", "/v1/traces"),
        ("http://a:1/x/v1/traces/", "/x/v1/traces"),
        ("http://[::1]:4318/x", "/x/v1/traces"),
    ] {
        let tracing = tracing(&format!("endpoint = \"{url}\""));
        assert_eq!(tracing.collector.path, path, "{url}");
    }
}

#[test]
fn wrong_tracing_is_refused() {
    for (line, message) in WRONG {
        let endpoint = match line.starts_with("endpoint") {
            true => "",
            false => "endpoint = \"http://a:1\"\n",
        };
        let found = errors(&format!("{WEB}{endpoint}{line}\n"));
        assert_eq!(found, format!("catamaran.toml:{message}"), "{line}");
    }
    assert_eq!(
        errors(WEB),
        "catamaran.toml:6:1: `tracing` has no `endpoint`; add `endpoint = \
         \"http://127.0.0.1:4318\"`"
    );
}

const WRONG: &[(&str, &str)] = &[
    (
        "endpoint = \"https://otel.example\"",
        "7:12: `https://otel.example` needs TLS, which this version does not speak; send to a \
         collector on this machine or network, such as `http://127.0.0.1:4318`, and have that one \
         forward",
    ),
    (
        "endpoint = \"127.0.0.1:4318\"",
        "7:12: `127.0.0.1:4318` is no `http://` URL; write it as `http://127.0.0.1:4318`",
    ),
    (
        "endpoint = \"http://otel.example/v1\"",
        "7:12: `http://otel.example/v1` has no port; write `http://otel.example:4318`",
    ),
    (
        "endpoint = \"http://[::1]\"",
        "7:12: `http://[::1]` has no port; write `http://[::1]:4318`",
    ),
    (
        "endpoint = \"http://a:0\"",
        "7:12: `a:0` has no valid port; write 1 to 65535",
    ),
    (
        "endpoint = \"http://srv:_otel._tcp.example\"",
        "7:12: `http://srv:_otel._tcp.example` names no host and port; write it as \
         `http://127.0.0.1:4318`",
    ),
    (
        "endpoint = \"http://a:1/x?y\"",
        "7:12: the path of `http://a:1/x?y` must be plain ASCII without query and fragment",
    ),
    (
        "endpoint = \"http://me:secret@a:1\"",
        "7:12: a URL with a password in it is shown to whoever reads the configuration; write \
         `headers-file` with a line such as `Authorization: Basic …`",
    ),
    (
        "sample = 1",
        "8:10: `sample` needs a unit, found 1; write `\"1%\"`",
    ),
    (
        "sample = \"200%\"",
        "8:10: `sample` must be 0% to 100%, found `\"200%\"`",
    ),
    (
        "sample = \"some\"",
        "8:10: `sample` must be a percentage such as `\"0.5%\"`, found `\"some\"`",
    ),
    (
        "parents = \"trusted\"",
        "8:11: unknown value `trusted` of `parents`; did you mean `trusted-proxies`?",
    ),
    (
        "resource = { \"service.name\" = \"x\" }",
        "8:14: `service.name` has a key of its own; write `service-name`",
    ),
    (
        "service-name = \"\"",
        "8:16: a value here has 1 to 255 bytes",
    ),
    (
        "sampel = \"1%\"",
        "8:1: unknown key `sampel` in `tracing`; did you mean `sample`?",
    ),
    (
        "headers-file = \"none\"",
        "8:16: `none` cannot be read: entity not found; write a line such as `Authorization: \
         Bearer …` to it",
    ),
];

fn with_headers(text: &str) -> Result<Vec<(String, String)>, String> {
    let file = text.to_owned();
    let read = move |path: &Path| match path.to_str() {
        Some("h") => Ok(file.clone().into_bytes()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    let config = format!("{WEB}endpoint = \"http://a:1\"\nheaders-file = \"h\"\n");
    let loaded = catamaran_config::parse(&config, "c.toml", &|_| None, &read);
    let loaded = loaded.map_err(|errors| errors.to_string())?;
    let headers = loaded
        .config
        .tracing
        .ok_or("no part `tracing`")?
        .collector
        .headers;
    assert!(!format!("{headers:?}").contains("secret"));
    let shown = headers.into_iter();
    Ok(shown
        .map(|(name, value)| (name, value.reveal().to_owned()))
        .collect())
}

#[test]
fn headers_are_read_and_never_quoted() {
    let file = "# who we are\nAuthorization: Bearer secret:1\n\n  X-Tenant :  t \n";
    let expected = [("Authorization", "Bearer secret:1"), ("X-Tenant", "t")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(with_headers(file), Ok(expected.to_vec()));
    for (wrong, message) in [
        (
            "secret",
            "h:1:1: a header has a name and a value: `Authorization: Bearer …`",
        ),
        (
            "\nX-A: sec\u{1}ret",
            "h:2:1: the value of `X-A` has control characters; remove them",
        ),
        (
            "Content-Type: secret",
            "h:1:1: `content-type` is not to be chosen: spans are sent as protobuf",
        ),
        (
            "Content-Length: 5",
            "h:1:1: `content-length` cannot be changed, since catamaran frames messages itself; \
             remove it",
        ),
    ] {
        assert_eq!(with_headers(wrong), Err(message.to_owned()));
    }
    let many = "X: y\n".repeat(17);
    assert_eq!(
        with_headers(&many),
        Err("c.toml:8:16: `h` has more than 16 headers; remove some".to_owned())
    );
}
