//! The names of all metrics, each with its kind and its help line.
//!
//! Names are an enum so that no name is written twice or misspelt, and so that a page lists them
//! in one fixed order. They follow Prometheus' rules for names: base units, the unit last, and
//! `_total` on counters (<https://prometheus.io/docs/practices/naming/>).

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from zero at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of observations by size.
    Histogram,
}

impl Kind {
    /// The word of the `# TYPE` line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Declares [`Metric`] from one table, so that variant, name, kind and help cannot drift apart.
macro_rules! metrics {
    ($($variant:ident $kind:ident $name:literal $help:literal;)*) => {
        /// A metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Metric {
            $(#[doc = $help] $variant,)*
        }

        impl Metric {
            /// Every metric, in the order of the page.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name on the page.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!("catamaran_", $name),)*
                }
            }

            /// How it moves.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self {
                    $(Self::$variant => Kind::$kind,)*
                }
            }

            /// The text of the `# HELP` line.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self {
                    $(Self::$variant => $help,)*
                }
            }
        }
    };
}

metrics! {
    BuildInfo Gauge "build_info" "Always 1; the label `version` says what runs.";
    StartTimeSeconds Gauge "start_time_seconds" "When the process started, in Unix time.";
    ConfigReloadsTotal Counter "config_reloads_total" "Reloads by `result`.";
    PanicsTotal Counter "panics_total" "Bugs that ended a connection.";
    WorkerStallsTotal Counter "worker_stalls_total" "Times a worker's loop stood still for longer than allowed.";
    LimitHitsTotal Counter "limit_hits_total" "Times a limit was met, by `limit`.";
    AccessLogDroppedTotal Counter "access_log_dropped_total" "Lines that the access log had no room for.";

    FrontendConnectionsTotal Counter "frontend_connections_total" "Connections accepted.";
    FrontendConnectionsOpen Gauge "frontend_connections_open" "Connections from clients that are open.";
    FrontendRequestsTotal Counter "frontend_requests_total" "Exchanges that ended, by `code` (class of the status).";
    FrontendOutcomesTotal Counter "frontend_outcomes_total" "Exchanges and tunnels that ended, by `outcome`.";
    FrontendReceivedBytesTotal Counter "frontend_received_bytes_total" "Bytes from clients.";
    FrontendSentBytesTotal Counter "frontend_sent_bytes_total" "Bytes to clients.";
    FrontendDurationSeconds Histogram "frontend_duration_seconds" "Time of an exchange, from its first byte to its last.";

    BackendQueueLength Gauge "backend_queue_length" "Requests that wait because every server is full.";
    BackendQueueTimeoutsTotal Counter "backend_queue_timeouts_total" "Requests that waited in vain.";
    BackendRetriesTotal Counter "backend_retries_total" "Tries after the first.";
    BackendRedispatchesTotal Counter "backend_redispatches_total" "Tries that went to another server than the one before.";
    BackendRetriesRefusedTotal Counter "backend_retries_refused_total" "Tries that the budget did not allow.";
    BackendServersUsable Gauge "backend_servers_usable" "Servers that take new requests.";
    BackendPanic Gauge "backend_panic" "1 while passive ejections are ignored because too few servers are left.";

    ServerUp Gauge "server_up" "1 while active checks pass and connections are accepted.";
    ServerEjected Gauge "server_ejected" "1 while passive detection keeps requests away.";
    ServerWeight Gauge "server_weight" "Share of the traffic as it is now, 0 to 256.";
    ServerRequestsTotal Counter "server_requests_total" "Requests (connections, for TCP) sent to the server.";
    ServerInFlight Gauge "server_in_flight" "Requests (connections, for TCP) that the server is working on.";
    ServerConnectionsOpen Gauge "server_connections_open" "Connections to the server, idle ones included.";
    ServerConnectsTotal Counter "server_connects_total" "Connections made to the server.";
    ServerConnectFailuresTotal Counter "server_connect_failures_total" "Connections that could not be made.";
    ServerErrorsTotal Counter "server_errors_total" "Responses that were errors, cut or missing.";
    ServerReceivedBytesTotal Counter "server_received_bytes_total" "Bytes from the server.";
    ServerSentBytesTotal Counter "server_sent_bytes_total" "Bytes to the server.";
    ServerResponseSeconds Histogram "server_response_seconds" "Time from the request's last byte to the response's head.";
    ServerProbesTotal Counter "server_probes_total" "Active checks by `result`: pass, fail, inconclusive.";
    ServerStatusChangesTotal Counter "server_status_changes_total" "Times the server went up or down.";

    StickEntries Gauge "stick_entries" "Clients bound to a server.";
    StickEvictionsTotal Counter "stick_evictions_total" "Bindings dropped because the table was full.";
    NameLookupsTotal Counter "name_lookups_total" "DNS lookups by `result`: ok, failed.";
    NameAddresses Gauge "name_addresses" "Addresses known for a name.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_follow_the_rules_of_prometheus() {
        let mut seen = std::collections::BTreeSet::new();
        for metric in Metric::ALL {
            let name = metric.name();
            assert!(seen.insert(name), "{name} stands twice");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{name}"
            );
            assert_eq!(
                name.ends_with("_total"),
                metric.kind() == Kind::Counter,
                "{name}"
            );
            assert!(!name.contains("_ms"), "{name}: seconds are the base unit");
        }
    }

    #[test]
    fn the_place_in_the_list_is_the_variant_s_number() {
        for (place, metric) in Metric::ALL.iter().enumerate() {
            assert_eq!(place, *metric as usize);
        }
    }
}
