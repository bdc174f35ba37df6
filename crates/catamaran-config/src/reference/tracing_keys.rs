//! The keys of `[tracing]`.

use super::Absent::{Default, Means, Required};
use super::{Key, Kind, Section};
use std::time::Duration;

pub(crate) static TRACING: Section = Section {
    name: "tracing",
    title: "[tracing]",
    doc: "Traces of HTTP requests, sent to a collector in OpenTelemetry's protocol (OTLP over \
          HTTP). Off unless written; a reload takes every change. See `docs/tracing.md`.",
    keys: &[
        Key::new(
            "endpoint",
            Kind::Text("URL"),
            Required,
            "Where the collector takes OTLP over HTTP, such as `http://127.0.0.1:4318`. \
             `/v1/traces` is appended unless it is there.",
        ),
        Key::new(
            "sample",
            Kind::Share,
            Default("\"1%\""),
            "Which part of new traces is sampled. A request whose parent is heeded is sampled if \
             that was.",
        ),
        Key::new(
            "parents",
            Kind::Choice(&["trusted-proxies", "all", "none"]),
            Default("\"trusted-proxies\""),
            "Whose `traceparent` is heeded: that of the frontend's `trusted-proxies`, everybody's, \
             or nobody's. Who is heeded decides which requests are sampled; others get a new trace, \
             with a link to theirs.",
        ),
        Key::new(
            "max-per-second",
            Kind::Integer(1, 1_000_000),
            Default("1000"),
            "Traces sampled in a second at most, whoever asks for them.",
        ),
        Key::new(
            "service-name",
            Kind::Text("name"),
            Default("\"catamaran\""),
            "What the collector knows this balancer as.",
        ),
        Key::new(
            "resource",
            Kind::Map("ATTRIBUTE", &Kind::Text("value")),
            Means("none"),
            "What else every span says of this balancer, such as `\"deployment.environment.name\" = \
             \"production\"`.",
        ),
        Key::new(
            "headers-file",
            Kind::Text("file"),
            Means("none"),
            "A file with headers of each request to the collector, one `Name: value` on a line; \
             `#` begins a comment. It is read when the configuration is, and shown nowhere.",
        ),
        Key::new(
            "timeout",
            Kind::Duration(Duration::from_millis(100), Duration::from_secs(60)),
            Default("\"10s\""),
            "Time for one request to the collector.",
        ),
        Key::new(
            "queue",
            Kind::Integer(1, 65_536),
            Default("2048"),
            "Sampled requests that may wait for the collector; the spans of more are dropped and \
             counted. Each takes about 1 KiB, 16 KiB at most.",
        ),
    ],
    example: "[tracing]\nendpoint = \"http://127.0.0.1:4318\"\nsample = \"0.5%\"\nservice-name = \"edge\"\nresource = { \"deployment.environment.name\" = \"production\" }\n\n[frontend.web]\nlisten = \":80\"\nbackend = \"api\"\ntrusted-proxies = [\"10.0.0.0/8\"]\n\n[backend.api]\nservers = [\"10.0.0.1:8080\"]\n",
};
