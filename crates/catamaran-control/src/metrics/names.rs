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
    ReloadsTotal Counter "reloads_total" "Reloads of the configuration by `result`: ok, failed.";
    ReloadLastOk Gauge "reload_last_ok" "1 unless the last reload failed.";
    ConfigServedSinceSeconds Gauge "config_served_since_seconds" "When the configuration that is served was put in place, in Unix time.";
    PanicsTotal Counter "panics_total" "Bugs that ended a connection.";
    AcceptsExhaustedTotal Counter "accepts_exhausted_total" "Connections not accepted because this process lacked something.";
    ConnectsExhaustedTotal Counter "connects_exhausted_total" "Connections to servers not made because this process lacked something.";
    ConnectionsHandedOverTotal Counter "connections_handed_over_total" "Connections handed to a worker with fewer.";
    WorkerStallsTotal Counter "worker_stalls_total" "Times a worker's loop stood still for 250 ms or longer.";
    ConnectionsAdoptedTotal Counter "connections_adopted_total" "Connections accepted in place of a worker that stalled.";
    FlowsEvictedTotal Counter "flows_evicted_total" "UDP flows that gave way to new ones.";
    DatagramsDroppedTotal Counter "datagrams_dropped_total" "Datagrams that were not passed on.";
    MirrorsSkippedTotal Counter "mirrors_skipped_total" "Copies of requests that were not sent.";
    MirrorsFailedTotal Counter "mirrors_failed_total" "Copies of requests that got no response.";
    AccessLogDroppedTotal Counter "access_log_dropped_total" "Lines that the access log had no room for.";

    FrontendConnectionsTotal Counter "frontend_connections_total" "Connections accepted.";
    FrontendConnectionsOpen Gauge "frontend_connections_open" "Connections from clients that are open.";
    FrontendResponsesTotal Counter "frontend_responses_total" "Responses by `class` of status, 1xx to 5xx.";
    FrontendOutcomesTotal Counter "frontend_outcomes_total" "Exchanges and relays by how they ended, the `outcome`.";
    FrontendReceivedBytesTotal Counter "frontend_received_bytes_total" "Bytes from clients.";
    FrontendSentBytesTotal Counter "frontend_sent_bytes_total" "Bytes to clients.";
    FrontendDurationSeconds Histogram "frontend_duration_seconds" "Time from a request's head to its response's end.";

    BackendQueueLength Gauge "backend_queue_length" "Requests that wait for a server with room.";
    BackendQueuedTotal Counter "backend_queued_total" "Requests that had to wait for a server with room.";
    BackendQueueFailuresTotal Counter "backend_queue_failures_total" "Requests turned away because the queue was full, or that waited in vain.";
    BackendNoServerTotal Counter "backend_no_server_total" "Requests for which no server was usable.";
    BackendRetriesRefusedTotal Counter "backend_retries_refused_total" "Tries that the budget did not allow.";
    BackendServersUsable Gauge "backend_servers_usable" "Servers that take new requests.";
    BackendPanic Gauge "backend_panic" "1 while ejections are ignored because too few servers are left.";
    FrontendTarpitted Gauge "frontend_tarpitted" "Clients that are kept waiting before they are refused.";
    FrontendTarpitFullTotal Counter "frontend_tarpit_full_total" "Clients refused at once because as many were kept waiting as may; raise `tarpit.max`.";
    ListEntries Gauge "list_entries" "Networks of a `list`.";
    MapEntries Gauge "map_entries" "Entries of a `map`.";
    BackendStickEntries Gauge "backend_stick_entries" "Clients bound to a server.";

    ServerUp Gauge "server_up" "1 while checks pass and connections are accepted.";
    ServerEjected Gauge "server_ejected" "1 while passive detection keeps requests away.";
    ServerWeight Gauge "server_weight" "Share of the traffic as it is now, 0 to 256.";
    ServerRequestsTotal Counter "server_requests_total" "Exchanges and relays given to the server.";
    ServerInFlight Gauge "server_in_flight" "Requests (connections, for TCP) that the server is working on.";
    ServerConnectionsOpen Gauge "server_connections_open" "Connections to the server, idle ones included.";
    ServerConnectsTotal Counter "server_connects_total" "Connections made to the server.";
    ServerConnectFailuresTotal Counter "server_connect_failures_total" "Connections that could not be made.";
    ServerReusesTotal Counter "server_reuses_total" "Requests sent over a connection used before.";
    ServerRetriesTotal Counter "server_retries_total" "Tries that ended here and were made again, here or elsewhere.";
    ServerFailuresTotal Counter "server_failures_total" "Responses of class 5xx, and exchanges without one.";
    ServerLatencySeconds Gauge "server_latency_seconds" "Peak-EWMA of the time that the server takes to answer.";
    ServerChecksTotal Counter "server_checks_total" "Active checks by `result`: pass, fail, inconclusive.";
    ServerStatusChangesTotal Counter "server_status_changes_total" "Times that checks took the server down or brought it up, the `status`.";

    NameLookupsTotal Counter "name_lookups_total" "Lookups of servers' names by `result`: ok, failed.";

    VirtualIpActive Gauge "virtual_ip_active" "1 while this node holds the addresses.";
    VirtualIpState Gauge "virtual_ip_state" "1 for the `state` that holds: initialize, backup, active.";
    VirtualIpPriority Gauge "virtual_ip_priority" "Priority as it is now, 1 to 254; 1 while this node cannot serve.";
    VirtualIpConflict Gauge "virtual_ip_conflict" "1 while another node is heard that is active too.";
    VirtualIpAdvertsSentTotal Counter "virtual_ip_adverts_sent_total" "Adverts sent.";
    VirtualIpAdvertsReceivedTotal Counter "virtual_ip_adverts_received_total" "Adverts of other nodes that were heeded.";
    VirtualIpAdvertsDroppedTotal Counter "virtual_ip_adverts_dropped_total" "Adverts that were not, by `reason`.";
    VirtualIpBecameActiveTotal Counter "virtual_ip_became_active_total" "Times this node took the addresses.";
    VirtualIpBecameBackupTotal Counter "virtual_ip_became_backup_total" "Times this node gave the addresses up to another.";
    VirtualIpConflictsTotal Counter "virtual_ip_conflicts_total" "Times another node was found active too.";
    VirtualIpLateTotal Counter "virtual_ip_late_total" "Times this node gave up because it was not given the processor in time.";
    VirtualIpAnnouncementsTotal Counter "virtual_ip_announcements_total" "Gratuitous ARP and unsolicited neighbour advertisements sent.";
    VirtualIpFailuresTotal Counter "virtual_ip_failures_total" "Sends and changes of addresses that failed.";
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
    fn the_documentation_lists_every_metric() {
        const START: &str = "cargo test -p catamaran-control` -->\n";
        const END: &str = "<!-- end of metrics -->";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");
        let text = std::fs::read_to_string(path).unwrap();
        let (before, rest) = text.split_once(START).unwrap();
        let (listed, after) = rest.split_once(END).unwrap();
        let mut table = String::from("| metric | kind | is |\n| --- | --- | --- |\n");
        for metric in Metric::ALL {
            let (name, kind, help) = (metric.name(), metric.kind().as_str(), metric.help());
            table += &format!("| `{name}` | {kind} | {help} |\n");
        }
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, format!("{before}{START}{table}{END}{after}")).unwrap();
        } else {
            assert_eq!(listed, table, "run with UPDATE_DOCS=1");
        }
    }

    #[test]
    fn the_place_in_the_list_is_the_variant_s_number() {
        for (place, metric) in Metric::ALL.iter().enumerate() {
            assert_eq!(place, *metric as usize);
        }
    }
}
