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
                    $(Self::$variant => $name,)*
                }
            }

            /// The name of the family in OpenMetrics: a counter's without `_total`.
            #[must_use]
            pub fn family(self) -> &'static str {
                let name = self.name();
                name.strip_suffix("_total").unwrap_or(name)
            }

            /// What it is measured in, if that is more than a count.
            #[must_use]
            pub fn unit(self) -> Option<&'static str> {
                let family = self.family();
                let units = ["seconds", "bytes"].into_iter();
                units
                    .filter(|unit| family.ends_with(unit))
                    .find(|unit| family[..family.len() - unit.len()].ends_with('_'))
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
    BuildInfo Gauge "catamaran_build_info" "Always 1; the label `version` says what runs.";
    UptimeSeconds Gauge "catamaran_uptime_seconds" "For how long the process has served.";
    ProcessStartTimeSeconds Gauge "process_start_time_seconds" "When the process started, in Unix time.";
    ProcessCpuSecondsTotal Counter "process_cpu_seconds_total" "Processor time of the process, of user and system together.";
    ProcessResidentMemoryBytes Gauge "process_resident_memory_bytes" "Memory of the process that lies in RAM.";
    ProcessOpenFds Gauge "process_open_fds" "Descriptors that are open.";
    ProcessMaxFds Gauge "process_max_fds" "Descriptors that may be open.";
    ReloadsTotal Counter "catamaran_reloads_total" "Reloads of the configuration by `result`: ok, failed.";
    ReloadLastOk Gauge "catamaran_reload_last_ok" "1 unless the last reload failed.";
    StateCopiesTotal Counter "catamaran_state_copies_total" "Copies of what is to outlive the data process, by `part`: tables (with health and operators' changes), counters; and by `result`: ok, failed. None without a supervisor.";
    ConfigServedSinceSeconds Gauge "catamaran_config_served_since_seconds" "When the configuration that is served was put in place, in Unix time.";
    PanicsTotal Counter "catamaran_panics_total" "Bugs that ended a connection.";
    ConnectionsOpen Gauge "catamaran_connections_open" "Connections from clients over all frontends that are open.";
    ConnectionsLimit Gauge "catamaran_connections_limit" "Connections from clients that may be open over all frontends.";
    ConnectionsLimitedTotal Counter "catamaran_connections_limited_total" "Connections that had to wait because as many were open over all frontends as may be.";
    AcceptsExhaustedTotal Counter "catamaran_accepts_exhausted_total" "Connections not accepted because this process lacked something.";
    ConnectsExhaustedTotal Counter "catamaran_connects_exhausted_total" "Connections to servers not made because this process lacked something.";
    ConnectionsHandedOverTotal Counter "catamaran_connections_handed_over_total" "Connections handed to a worker with fewer.";
    WorkerConnectionsOpen Gauge "catamaran_worker_connections_open" "Connections from clients that the worker has open.";
    WorkerBusySecondsTotal Counter "catamaran_worker_busy_seconds_total" "Time that the worker was not waiting for anything.";
    WorkerLagSeconds Gauge "catamaran_worker_lag_seconds" "How late the worker's loop ran at most in the last 5 s.";
    WorkerStallsTotal Counter "catamaran_worker_stalls_total" "Times a worker's loop stood still for 250 ms or longer.";
    ConnectionsAdoptedTotal Counter "catamaran_connections_adopted_total" "Connections accepted in place of a worker that stalled.";
    FlowsLimit Gauge "catamaran_flows_limit" "UDP flows that there may be at once.";
    FlowsEvictedTotal Counter "catamaran_flows_evicted_total" "UDP flows that gave way to new ones.";
    DatagramsDroppedTotal Counter "catamaran_datagrams_dropped_total" "Datagrams that were not passed on.";
    MirrorsSkippedTotal Counter "catamaran_mirrors_skipped_total" "Copies of requests that were not sent.";
    MirrorsFailedTotal Counter "catamaran_mirrors_failed_total" "Copies of requests that got no response.";
    AccessLogDroppedTotal Counter "catamaran_access_log_dropped_total" "Lines that the access log had no room for.";

    FrontendConnectionsTotal Counter "catamaran_frontend_connections_total" "Connections accepted.";
    FrontendConnectionsOpen Gauge "catamaran_frontend_connections_open" "Connections from clients that are open.";
    FrontendConnectionsLimit Gauge "catamaran_frontend_connections_limit" "Connections from clients that may be open, where that is written.";
    FrontendConnectionsLimitedTotal Counter "catamaran_frontend_connections_limited_total" "Connections that had to wait because as many were open as may be.";
    FrontendSources Gauge "catamaran_frontend_sources" "Clients that have connections open, where connections per source are limited.";
    FrontendRateKeys Gauge "catamaran_frontend_rate_keys" "Keys that the rate limit remembers.";
    FrontendRateKeysLimit Gauge "catamaran_frontend_rate_keys_limit" "Keys that the rate limit may remember.";
    FrontendRateKeysEvictedTotal Counter "catamaran_frontend_rate_keys_evicted_total" "Keys that the rate limit forgot too early for want of room.";
    FrontendRequestsTotal Counter "catamaran_frontend_requests_total" "Requests and relays that began.";
    FrontendInFlight Gauge "catamaran_frontend_in_flight" "Requests and relays under way.";
    FrontendResponsesTotal Counter "catamaran_frontend_responses_total" "Responses by `class` of status, 1xx to 5xx.";
    FrontendOutcomesTotal Counter "catamaran_frontend_outcomes_total" "Exchanges and relays by how they ended, the `outcome`.";
    FrontendReceivedBytesTotal Counter "catamaran_frontend_received_bytes_total" "Bytes from clients, counted when an exchange or relay ends.";
    FrontendSentBytesTotal Counter "catamaran_frontend_sent_bytes_total" "Bytes to clients, counted when an exchange or relay ends.";
    FrontendConnectSeconds Histogram "catamaran_frontend_connect_seconds" "Time to connect to a server, where that was needed.";
    FrontendFirstByteSeconds Histogram "catamaran_frontend_first_byte_seconds" "Time from sending a request to the head of its response.";
    FrontendDurationSeconds Histogram "catamaran_frontend_duration_seconds" "Time from a request's head to its response's end; the life of a relay.";

    FrontendThrottledTotal Counter "catamaran_frontend_throttled_total" "How often bytes had to wait for the limit on bandwidth.";
    FrontendTarpitted Gauge "catamaran_frontend_tarpitted" "Clients that are kept waiting before they are refused.";
    FrontendTarpitFullTotal Counter "catamaran_frontend_tarpit_full_total" "Clients refused at once because as many were kept waiting as may; raise tarpit.max.";

    RouteRequestsTotal Counter "catamaran_route_requests_total" "Requests that took the route.";
    RouteInFlight Gauge "catamaran_route_in_flight" "Requests under way.";
    RouteResponsesTotal Counter "catamaran_route_responses_total" "Responses by `class` of status.";
    RouteOutcomesTotal Counter "catamaran_route_outcomes_total" "Exchanges by how they ended, the `outcome`.";
    RouteReceivedBytesTotal Counter "catamaran_route_received_bytes_total" "Bytes from clients.";
    RouteSentBytesTotal Counter "catamaran_route_sent_bytes_total" "Bytes to clients.";
    RouteDurationSeconds Histogram "catamaran_route_duration_seconds" "Time from a request's head to its response's end.";
    RouteRateKeys Gauge "catamaran_route_rate_keys" "Keys that the route's rate limit remembers.";
    RouteRateKeysLimit Gauge "catamaran_route_rate_keys_limit" "Keys that the route's rate limit may remember.";
    RouteRateKeysEvictedTotal Counter "catamaran_route_rate_keys_evicted_total" "Keys that the route's rate limit forgot too early for want of room.";

    ListEntries Gauge "catamaran_list_entries" "Networks of a `list`.";
    MapEntries Gauge "catamaran_map_entries" "Entries of a `map`.";

    BackendRequestsTotal Counter "catamaran_backend_requests_total" "Requests and relays that were for the backend.";
    BackendInFlight Gauge "catamaran_backend_in_flight" "Requests and relays that its servers are working on.";
    BackendResponsesTotal Counter "catamaran_backend_responses_total" "Responses by `class` of status.";
    BackendOutcomesTotal Counter "catamaran_backend_outcomes_total" "Exchanges and relays by how they ended, the `outcome`.";
    BackendReceivedBytesTotal Counter "catamaran_backend_received_bytes_total" "Bytes from clients.";
    BackendSentBytesTotal Counter "catamaran_backend_sent_bytes_total" "Bytes to clients.";
    BackendConnectSeconds Histogram "catamaran_backend_connect_seconds" "Time to connect to a server, where that was needed.";
    BackendFirstByteSeconds Histogram "catamaran_backend_first_byte_seconds" "Time from sending a request to the head of its response.";
    BackendDurationSeconds Histogram "catamaran_backend_duration_seconds" "Time from a request's head to its response's end; the life of a relay.";
    BackendQueueSeconds Histogram "catamaran_backend_queue_seconds" "Time that requests waited for a server with room, of those that had to.";
    BackendQueueLength Gauge "catamaran_backend_queue_length" "Requests that wait for a server with room.";
    BackendQueueLimit Gauge "catamaran_backend_queue_limit" "Requests that may wait.";
    BackendQueuedTotal Counter "catamaran_backend_queued_total" "Requests that had to wait for a server with room.";
    BackendQueueFailuresTotal Counter "catamaran_backend_queue_failures_total" "Requests turned away because the queue was full, or that waited in vain.";
    BackendNoServerTotal Counter "catamaran_backend_no_server_total" "Requests for which no server was usable.";
    BackendRetriesTotal Counter "catamaran_backend_retries_total" "Tries after the first.";
    BackendRedispatchesTotal Counter "catamaran_backend_redispatches_total" "Requests and relays that another server got than was tried first.";
    BackendRetriesRefusedTotal Counter "catamaran_backend_retries_refused_total" "Tries that the budget did not allow.";
    BackendServers Gauge "catamaran_backend_servers" "Servers.";
    BackendServersUsable Gauge "catamaran_backend_servers_usable" "Servers that take new requests.";
    BackendPanic Gauge "catamaran_backend_panic" "1 while ejections are ignored because too few servers are left.";
    BackendStickEntries Gauge "catamaran_backend_stick_entries" "Clients bound to a server.";
    BackendStickLimit Gauge "catamaran_backend_stick_limit" "Clients that may be bound to a server.";
    BackendStickEvictedTotal Counter "catamaran_backend_stick_evicted_total" "Clients that were let go too early for want of room.";

    ServerUp Gauge "catamaran_server_up" "1 while checks pass and connections are accepted.";
    ServerUsable Gauge "catamaran_server_usable" "1 while it takes new requests, all told.";
    ServerEjected Gauge "catamaran_server_ejected" "1 while passive detection keeps requests away.";
    ServerDraining Gauge "catamaran_server_draining" "1 while an operator has it finish what it has.";
    ServerMaintenance Gauge "catamaran_server_maintenance" "1 while an operator keeps it out.";
    ServerWeight Gauge "catamaran_server_weight" "Share of the traffic as it is now, 0 to 256.";
    ServerRequestsTotal Counter "catamaran_server_requests_total" "Exchanges and relays given to the server.";
    ServerInFlight Gauge "catamaran_server_in_flight" "Requests (connections, for TCP) that the server is working on.";
    ServerInFlightLimit Gauge "catamaran_server_in_flight_limit" "Requests that it may work on at once, where that is written.";
    ServerResponsesTotal Counter "catamaran_server_responses_total" "Responses by `class` of status.";
    ServerOutcomesTotal Counter "catamaran_server_outcomes_total" "Exchanges and relays that ended here by how they did, the `outcome`.";
    ServerReceivedBytesTotal Counter "catamaran_server_received_bytes_total" "Bytes from clients.";
    ServerSentBytesTotal Counter "catamaran_server_sent_bytes_total" "Bytes to clients.";
    ServerConnectSeconds Histogram "catamaran_server_connect_seconds" "Time to connect to it, where that was needed.";
    ServerFirstByteSeconds Histogram "catamaran_server_first_byte_seconds" "Time from sending a request to the head of its response.";
    ServerDurationSeconds Histogram "catamaran_server_duration_seconds" "Time from a request's head to its response's end; the life of a relay.";
    ServerConnectionsOpen Gauge "catamaran_server_connections_open" "Connections to the server, idle ones included.";
    ServerConnectsTotal Counter "catamaran_server_connects_total" "Connections made to the server.";
    ServerConnectFailuresTotal Counter "catamaran_server_connect_failures_total" "Connections that could not be made.";
    ServerReusesTotal Counter "catamaran_server_reuses_total" "Requests sent over a connection used before.";
    ServerRetriesTotal Counter "catamaran_server_retries_total" "Tries that ended here and were made again, here or elsewhere.";
    ServerRedispatchesTotal Counter "catamaran_server_redispatches_total" "Requests and relays that came here after another server had failed them.";
    ServerFailuresTotal Counter "catamaran_server_failures_total" "Responses of class 5xx, and exchanges without one.";
    ServerLatencySeconds Gauge "catamaran_server_latency_seconds" "Peak-EWMA of the time that the server takes to answer.";
    ServerChecksTotal Counter "catamaran_server_checks_total" "Active checks by `result`: pass, fail, inconclusive.";
    ServerStatusChangesTotal Counter "catamaran_server_status_changes_total" "Times that checks took the server down or brought it up, the `status`.";

    NameLookupsTotal Counter "catamaran_name_lookups_total" "Lookups of servers' names by `result`: ok, failed.";

    ClusterRunning Gauge "catamaran_cluster_running" "1 while this node shares with its peers; 0 while its port cannot be had.";
    ClusterCurrent Gauge "catamaran_cluster_current" "1 once this node has been told all that its peers knew.";
    ClusterConnectFailuresTotal Counter "catamaran_cluster_connect_failures_total" "Connections to peers that came to nothing.";
    ClusterWrongSecretsTotal Counter "catamaran_cluster_wrong_secrets_total" "Connections that came in and did not know the secret.";
    ClusterRefusedTotal Counter "catamaran_cluster_refused_total" "Connections refused for another reason: a stranger, another version, nonsense.";
    ClusterCrowdedOutTotal Counter "catamaran_cluster_crowded_out_total" "Connections closed because too many others had not said who they are.";
    ClusterSentBytesTotal Counter "catamaran_cluster_sent_bytes_total" "Bytes written to peers.";
    ClusterReceivedBytesTotal Counter "catamaran_cluster_received_bytes_total" "Bytes read from peers.";
    PeerConnected Gauge "catamaran_peer_connected" "1 while the peer is connected.";
    PeerInStep Gauge "catamaran_peer_in_step" "1 while the peer is connected and has been told all that was known when it came.";
    PeerConfigDrifted Gauge "catamaran_peer_config_drifted" "1 while the peer serves another configuration.";
    PeerLagSeconds Gauge "catamaran_peer_lag_seconds" "Age of the oldest change that the peer is not known to have.";
    PeerWaitingEntries Gauge "catamaran_peer_waiting_entries" "Changed entries that the peer is not known to have.";
    PeerSentEntriesTotal Counter "catamaran_peer_sent_entries_total" "Entries told to the peer.";
    PeerReceivedEntriesTotal Counter "catamaran_peer_received_entries_total" "Entries told by the peer.";
    PeerTakenEntriesTotal Counter "catamaran_peer_taken_entries_total" "Entries of affinity tables and notes told by the peer that were newer than what was known.";
    PeerResentBatchesTotal Counter "catamaran_peer_resent_batches_total" "Batches that were told again, because the peer did not say that they arrived.";
    PeerTaughtTotal Counter "catamaran_peer_taught_total" "Times that the peer was taught all that is known.";
    PeerDisconnectsTotal Counter "catamaran_peer_disconnects_total" "Connections to the peer that ended.";
    PeerClockAheadTotal Counter "catamaran_peer_clock_ahead_total" "Entries of a clock more than a second ahead of this node's.";
    PeerUnknownTablesTotal Counter "catamaran_peer_unknown_tables_total" "Batches for tables that are not configured here.";
    PeerUnknownFramesTotal Counter "catamaran_peer_unknown_frames_total" "Messages of kinds that this version does not know.";
    PeerDroppedNotesTotal Counter "catamaran_peer_dropped_notes_total" "Notes of drains and health for which there was no room.";
    EtcdConnected Gauge "catamaran_etcd_connected" "1 while changes arrive from etcd as they happen.";
    EtcdForeign Gauge "catamaran_etcd_foreign" "1 while etcd is not the cluster that is known: nothing is taken away until it is accepted.";
    EtcdConfigOk Gauge "catamaran_etcd_config_ok" "1 unless the configuration in etcd cannot serve, so that the last good one goes on.";
    EtcdConfigHeld Gauge "catamaran_etcd_config_held" "1 while a configuration waits for the cluster to be accepted.";
    EtcdStateOk Gauge "catamaran_etcd_state_ok" "1 unless the last good state cannot be kept on disk.";
    EtcdLastContactSeconds Gauge "catamaran_etcd_last_contact_seconds" "When etcd answered last, in Unix time.";
    EtcdServers Gauge "catamaran_etcd_servers" "Servers from etcd by `state`: registered, missing.";
    EtcdDisconnectsTotal Counter "catamaran_etcd_disconnects_total" "Times that the watch over etcd ended.";
    EtcdStrangeKeysTotal Counter "catamaran_etcd_strange_keys_total" "Keys and values in etcd that are not understood.";

    TracingSpansExportedTotal Counter "catamaran_tracing_spans_exported_total" "Spans that the collector took.";
    TracingSpansFailedTotal Counter "catamaran_tracing_spans_failed_total" "Spans that the collector did not take.";
    TracingDroppedTotal Counter "catamaran_tracing_dropped_total" "Sampled requests whose spans were dropped because as many waited for the collector as may.";
    TracingLimitedTotal Counter "catamaran_tracing_limited_total" "Requests that were not sampled because as many were in that second as may be.";
    TracingQueueLength Gauge "catamaran_tracing_queue_length" "Sampled requests whose spans wait for the collector.";
    TracingQueueLimit Gauge "catamaran_tracing_queue_limit" "Sampled requests whose spans may wait.";
    TracingCollectorUp Gauge "catamaran_tracing_collector_up" "1 unless the last try to reach the collector failed.";

    VirtualIpActive Gauge "catamaran_virtual_ip_active" "1 while this node holds the addresses.";
    VirtualIpState Gauge "catamaran_virtual_ip_state" "1 for the `state` that holds: initialize, backup, active.";
    VirtualIpPriority Gauge "catamaran_virtual_ip_priority" "Priority as it is now, 1 to 254; 1 while this node cannot serve.";
    VirtualIpConflict Gauge "catamaran_virtual_ip_conflict" "1 while another node is heard that is active too.";
    VirtualIpAdvertsSentTotal Counter "catamaran_virtual_ip_adverts_sent_total" "Adverts sent.";
    VirtualIpAdvertsReceivedTotal Counter "catamaran_virtual_ip_adverts_received_total" "Adverts of other nodes that were heeded.";
    VirtualIpAdvertsDroppedTotal Counter "catamaran_virtual_ip_adverts_dropped_total" "Adverts that were not, by `reason`.";
    VirtualIpBecameActiveTotal Counter "catamaran_virtual_ip_became_active_total" "Times this node took the addresses.";
    VirtualIpBecameBackupTotal Counter "catamaran_virtual_ip_became_backup_total" "Times this node gave the addresses up to another.";
    VirtualIpConflictsTotal Counter "catamaran_virtual_ip_conflicts_total" "Times another node was found active too.";
    VirtualIpLateTotal Counter "catamaran_virtual_ip_late_total" "Times this node was not given the processor in time, and gave up or found that nobody had taken over.";
    VirtualIpAnnouncementsTotal Counter "catamaran_virtual_ip_announcements_total" "Gratuitous ARP and unsolicited neighbour advertisements sent.";
    VirtualIpPathDead Gauge "catamaran_virtual_ip_path_dead" "1 while a peer is alive and active, as replication knows, and its adverts do not arrive.";
    VirtualIpPathDeathsTotal Counter "catamaran_virtual_ip_path_deaths_total" "Times that began.";
    VirtualIpAnswersTotal Counter "catamaran_virtual_ip_answers_total" "Neighbours who asked for an address and were answered.";
    VirtualIpFailuresTotal Counter "catamaran_virtual_ip_failures_total" "Sends and changes of addresses that failed.";
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
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        let text = std::fs::read_to_string(path).unwrap();
        let (before, rest) = text.split_once(START).unwrap();
        let (listed, after) = rest.split_once(END).unwrap();
        let mut table =
            String::from("| metric | kind | labels | is |\n| --- | --- | --- | --- |\n");
        for metric in Metric::ALL {
            let (name, kind, help) = (metric.name(), metric.kind().as_str(), metric.help());
            let labels = labels(*metric).join(", ");
            table += &format!("| `{name}` | {kind} | {labels} | {help} |\n");
        }
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, format!("{before}{START}{table}{END}{after}")).unwrap();
        } else {
            assert_eq!(listed, table, "run with UPDATE_DOCS=1");
        }
    }

    /// The labels of a metric: those of its kind of object, and the words that its help marks.
    fn labels(metric: Metric) -> Vec<&'static str> {
        let of_object: &[&str] = match metric.name().split('_').nth(1) {
            Some("frontend") => &["frontend"],
            Some("route") => &["frontend", "route"],
            Some("backend") => &["backend"],
            Some("server") => &["backend", "server"],
            Some("virtual") => &["virtual_ip", "family"],
            Some("peer") => &["peer"],
            Some("worker") if metric != Metric::WorkerStallsTotal => &["worker"],
            _ => &[],
        };
        let marked = metric.help().split('`').skip(1).step_by(2);
        of_object.iter().copied().chain(marked).collect()
    }

    #[test]
    fn units_and_families_are_those_of_openmetrics() {
        assert_eq!(Metric::PanicsTotal.family(), "catamaran_panics");
        assert_eq!(Metric::PanicsTotal.unit(), None);
        assert_eq!(Metric::ProcessCpuSecondsTotal.unit(), Some("seconds"));
        let received = Metric::FrontendReceivedBytesTotal;
        assert_eq!(received.family(), "catamaran_frontend_received_bytes");
        assert_eq!(received.unit(), Some("bytes"));
    }

    #[test]
    fn the_place_in_the_list_is_the_variant_s_number() {
        for (place, metric) in Metric::ALL.iter().enumerate() {
            assert_eq!(place, *metric as usize);
        }
    }
}
