//! Runs of the load test against scripted origins.
#![expect(clippy::unwrap_used, reason = "what stops a test fails it")]
#![expect(clippy::cast_precision_loss, reason = "counts of requests are small")]

#[cfg(feature = "scripts")]
mod grpc;
mod h2_server;
mod http2;
#[cfg(feature = "http3")]
mod http3;
mod plain;
mod protocols;
#[cfg(feature = "scripts")]
mod script;
mod stall;
mod summary;
mod websocket;

use std::time::Duration;

use catamaran_load::client::ProxyHeader;
use catamaran_load::plain::{Console, Exchange, Model, PlainOptions, Protocol, Version, run};
use catamaran_load::record::Keep;
use serde_json::Value;

/// What a run printed and how it ended.
struct Ran {
    out: String,
    err: String,
    code: u8,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.out, self.err))
    }

    /// One figure of a metric, 0 where there is none.
    fn figure(&self, metric: &str, name: &str) -> f64 {
        self.json()["metrics"][metric][name].as_f64().unwrap_or(0.0)
    }

    /// Requests that were due: those that were sent and, on a machine too busy for them, the others.
    fn due(&self) -> f64 {
        self.figure("http_reqs", "count")
            + self.figure("exchanges", "count")
            + self.figure("dropped_iterations", "count")
    }

    fn answers(&self, how: &str) -> u64 {
        self.json()["answers"][how].as_u64().unwrap_or(0)
    }
}

/// A short run that prints JSON.
fn options(target: &str) -> PlainOptions {
    PlainOptions {
        agents: None,
        targets: vec![target.to_owned()],
        weights: Vec::new(),
        protocol: Protocol::Http,
        version: Version::Http1,
        exchange: Exchange {
            method: "GET".to_owned(),
            fields: Vec::new(),
            body: None,
            unix: None,
            proxy: ProxyHeader::None,
            keeps_connections: true,
            verifies: true,
        },
        model: Model::Open { rate: 100.0 },
        duration: Duration::from_secs(1),
        stages: Vec::new(),
        timeout: Duration::from_secs(20),
        max_connections: 50,
        workers: Some(2),
        thresholds: Vec::new(),
        find_max: None,
        is_json: true,
        is_full: false,
        is_quiet: true,
        outputs: Vec::new(),
        keep: Keep::default(),
    }
}

fn play(options: PlainOptions) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console {
        out: &mut out,
        err: &mut err,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let code = runtime.block_on(run(options, &mut console)).unwrap();
    Ran {
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
        code,
    }
}
