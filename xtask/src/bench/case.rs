//! The cases of the benchmark and what may come out of each.

use super::load::{Outcome, Pattern};

/// What the proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    Http,
    Tcp,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Metric {
    /// CPU microseconds of the proxy for each request.
    CpuPerRequest,
    /// CPU microseconds of the proxy for each 10^6 bytes that reach the client.
    CpuPerMegabyte,
    /// Bytes of resident memory for each connection.
    MemoryPerConnection,
    /// Latency in microseconds that 99 % of the requests did not exceed.
    Latency99,
}

impl Metric {
    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::CpuPerRequest => "µs/request",
            Self::CpuPerMegabyte => "µs/MB",
            Self::MemoryPerConnection => "bytes/connection",
            Self::Latency99 => "µs, p99",
        }
    }

    /// The figure of one run.
    pub(super) fn of(self, case: &Case, outcome: &Outcome) -> f64 {
        match self {
            Self::CpuPerRequest => outcome.cpu_seconds * 1e6 / outcome.requests as f64,
            Self::CpuPerMegabyte => outcome.cpu_seconds * 1e12 / outcome.bytes as f64,
            Self::MemoryPerConnection => outcome.resident_bytes as f64 / case.connections as f64,
            Self::Latency99 => outcome.p99 * 1e6,
        }
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    /// Its name on the command line.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) layer: Layer,
    pub(super) pattern: Pattern,
    pub(super) connections: usize,
    /// Bytes of a response's body.
    pub(super) body: usize,
    pub(super) metric: Metric,
    /// HAProxy uses `option splice-auto`.
    pub(super) splices: bool,
    pub(super) access_log: bool,
    /// Ours divided by HAProxy's and by nginx's must not exceed these, where a goal is set.
    pub(super) goals: [Option<f64>; 2],
    /// The figure itself must not exceed this.
    pub(super) goal: Option<f64>,
}

/// What most cases have in common.
pub(super) const HTTP: Case = Case {
    name: "",
    title: "",
    layer: Layer::Http,
    pattern: Pattern::KeepAlive,
    connections: 64,
    body: 128,
    metric: Metric::CpuPerRequest,
    splices: false,
    access_log: false,
    goals: [None, None],
    goal: None,
};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "keepalive-128",
        title: "keep-alive, 128 B, 64 connections",
        goals: [Some(0.75), Some(0.85)],
        ..HTTP
    },
    Case {
        name: "keepalive-16k",
        title: "keep-alive, 16 KiB, 64 connections",
        body: 16 * 1024,
        goals: [Some(0.70), Some(0.75)],
        ..HTTP
    },
    Case {
        name: "body-1m",
        title: "1 MiB bodies, 16 connections",
        connections: 16,
        body: 1024 * 1024,
        metric: Metric::CpuPerMegabyte,
        splices: true,
        goals: [Some(1.0), Some(0.8)],
        ..HTTP
    },
    Case {
        name: "body-1m-slow",
        title: "1 MiB bodies, 1,000 slow readers",
        pattern: Pattern::SlowReaders,
        connections: 1000,
        body: 1024 * 1024,
        metric: Metric::CpuPerMegabyte,
        splices: true,
        goals: [Some(1.0), Some(0.8)],
        ..HTTP
    },
    Case {
        name: "close",
        title: "connection per request, 128 B",
        pattern: Pattern::Close,
        goals: [Some(0.95), Some(0.95)],
        ..HTTP
    },
    Case {
        name: "tcp-pingpong",
        title: "TCP, 64 B echo ping-pong, 64 connections",
        layer: Layer::Tcp,
        pattern: Pattern::PingPong,
        goals: [Some(0.95), Some(0.9)],
        ..HTTP
    },
    Case {
        name: "tcp-bulk",
        title: "TCP, bulk, 8 connections",
        layer: Layer::Tcp,
        pattern: Pattern::Bulk,
        connections: 8,
        metric: Metric::CpuPerMegabyte,
        splices: true,
        goals: [Some(1.0), Some(0.8)],
        ..HTTP
    },
    Case {
        name: "access-log",
        title: "keep-alive, 128 B, access log to a file",
        access_log: true,
        ..HTTP
    },
    Case {
        name: "idle",
        title: "5,000 idle keep-alive connections",
        pattern: Pattern::Idle,
        connections: 5000,
        metric: Metric::MemoryPerConnection,
        goal: Some(2048.0),
        ..HTTP
    },
    Case {
        name: "latency",
        title: "p99 at half of HAProxy's saturation rate",
        pattern: Pattern::Open,
        connections: 256,
        metric: Metric::Latency99,
        goals: [Some(1.0), None],
        ..HTTP
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_from_what_a_run_counted() {
        let outcome = Outcome {
            requests: 1000,
            bytes: 2_000_000,
            cpu_seconds: 0.01,
            resident_bytes: 64_000,
            p99: 0.001,
            ..Outcome::default()
        };
        let near = |metric: Metric, wanted: f64| {
            assert!((metric.of(&HTTP, &outcome) - wanted).abs() < 1e-6);
        };
        near(Metric::CpuPerRequest, 10.0);
        near(Metric::CpuPerMegabyte, 5000.0);
        near(Metric::MemoryPerConnection, 1000.0);
        near(Metric::Latency99, 1000.0);
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = CASES.iter().map(|case| case.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CASES.len());
    }
}
