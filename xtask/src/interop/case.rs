//! The cases.

use anyhow::Result;

use super::need::Need;
use super::{
    admin_api, alerts, checks, compose, dashboard, deb, etcd, kubernetes, load_k6, metrics,
    reloads, remote_write, sbom, systemd, tracing, virtual_ip,
};

/// One test.
#[derive(Debug)]
pub(super) struct Case {
    /// As it is called on the command line.
    pub(super) name: &'static str,
    /// What it shows.
    pub(super) title: &'static str,
    /// What must be there for it.
    pub(super) needs: &'static [Need],
    /// Runs it; prints what it measures.
    pub(super) run: fn() -> Result<()>,
}

/// All cases, in the order in which they run.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "admin-api",
        title: "schemathesis against the description of the admin API",
        needs: &[Need::Program {
            name: "python3",
            package: "python3-venv",
        }],
        run: admin_api::run,
    },
    Case {
        name: "dashboard",
        title: "the dashboard in Chromium: live, steered by clicks, readable by everybody",
        needs: &[
            Need::Program {
                name: "chromium",
                package: "chromium",
            },
            Need::Program {
                name: "chromedriver",
                package: "chromium-driver",
            },
        ],
        run: dashboard::run,
    },
    Case {
        name: "kubernetes",
        title: "the manifests of deploy/kubernetes are what Kubernetes expects",
        needs: &[
            Need::Program {
                name: "kubectl",
                package: "kubernetes-client",
            },
            Need::Program {
                name: "python3",
                package: "python3-venv",
            },
        ],
        run: kubernetes::run,
    },
    Case {
        name: "load-k6",
        title: "scripts of load tests do what they do in k6: in the program `k6`, if it is there, else in \
                recordings of it",
        needs: &[],
        run: load_k6::run,
    },
    Case {
        name: "metrics",
        title: "the page of metrics and the alert rules, judged by Prometheus' own tools",
        needs: &[
            Need::Program {
                name: "promtool",
                package: "prometheus",
            },
            Need::Program {
                name: "python3",
                package: "python3-venv",
            },
            CURL,
        ],
        run: metrics::run,
    },
    Case {
        name: "remote-write",
        title: "the series of a load test in a real Prometheus",
        needs: &[
            Need::Program {
                name: "prometheus",
                package: "prometheus",
            },
            CURL,
        ],
        run: remote_write::run,
    },
    Case {
        name: "tracing",
        title: "traces are what OpenTelemetry's own messages say",
        needs: &[Need::Program {
            name: "python3",
            package: "python3-venv",
        }],
        run: tracing::run,
    },
    Case {
        name: "sbom",
        title: "the bill of materials is what CycloneDX expects",
        needs: &[Need::Program {
            name: "python3",
            package: "python3-venv",
        }],
        run: sbom::run,
    },
    Case {
        name: "systemd",
        title: "the units: what systemd's own checks say, and how exposed they leave us",
        needs: &[Need::Program {
            name: "systemd-analyze",
            package: "systemd",
        }],
        run: systemd::run,
    },
    Case {
        name: "reloads",
        title: "100 reloads and 10 upgrades under load, alone in a network: nothing is dropped",
        needs: &[
            IP,
            Need::Program {
                name: "unshare",
                package: "util-linux",
            },
        ],
        run: reloads::run,
    },
    Case {
        name: "deb",
        title: "the Debian package: installed, run, edited, reloaded, installed anew, purged",
        needs: &[
            Need::Root,
            IP,
            CURL,
            Need::Program {
                name: "dpkg-deb",
                package: "dpkg",
            },
            Need::Program {
                name: "objdump",
                package: "binutils",
            },
            Need::Program {
                name: "adduser",
                package: "adduser",
            },
            Need::Program {
                name: "systemd-analyze",
                package: "systemd",
            },
        ],
        run: deb::run,
    },
    Case {
        name: "alerts",
        title: "1,000 requests per second to the example API while its parts are killed",
        needs: &[Need::Program {
            name: "etcd",
            package: "etcd-server",
        }],
        run: alerts::run,
    },
    Case {
        name: "etcd",
        title: "a fleet on etcd whose nodes are killed, emptied and lied to, under load",
        needs: &[
            Need::Program {
                name: "etcd",
                package: "etcd-server",
            },
            Need::Program {
                name: "etcdctl",
                package: "etcd-client",
            },
            Need::Program {
                name: "openssl",
                package: "openssl",
            },
        ],
        run: etcd::run,
    },
    Case {
        name: "checks",
        title: "the checks of Redis, PostgreSQL and mail servers against the real ones",
        needs: &[
            Need::Program {
                name: "redis-server",
                package: "redis-server",
            },
            Need::Program {
                name: "pg_ctlcluster",
                package: "postgresql",
            },
            Need::Program {
                name: "python3",
                package: "python3",
            },
        ],
        run: checks::run,
    },
    Case {
        name: "compose",
        title: "the system of deploy/compose: containers are killed under load, nothing is lost",
        needs: &[
            Need::Root,
            Need::Engine,
            Need::Compose,
            Need::Program {
                name: "etcd",
                package: "etcd-server",
            },
            Need::Program {
                name: "etcdctl",
                package: "etcd-client",
            },
        ],
        run: compose::run,
    },
    Case {
        name: "virtual-ip",
        title: "two balancers and one address: killed, stopped, asleep, cut off",
        needs: &[Need::Root, IP, CURL],
        run: virtual_ip::run_pair,
    },
    Case {
        name: "failover",
        title: "how long clients wait when a node is lost, beside keepalived with HAProxy",
        needs: &[
            Need::Root,
            IP,
            CURL,
            KEEPALIVED,
            TCPDUMP,
            Need::Program {
                name: "haproxy",
                package: "haproxy",
            },
            Need::Program {
                name: "iptables",
                package: "iptables",
            },
        ],
        run: virtual_ip::run_failover,
    },
    Case {
        name: "vrrp-keepalived",
        title: "catamaran beside keepalived: both versions, families and roles",
        needs: &[Need::Root, IP, CURL, KEEPALIVED, TCPDUMP],
        run: virtual_ip::run_keepalived,
    },
];

const IP: Need = Need::Program {
    name: "ip",
    package: "iproute2",
};
const KEEPALIVED: Need = Need::Program {
    name: "keepalived",
    package: "keepalived",
};
const TCPDUMP: Need = Need::Program {
    name: "tcpdump",
    package: "tcpdump",
};
const CURL: Need = Need::Program {
    name: "curl",
    package: "curl",
};
