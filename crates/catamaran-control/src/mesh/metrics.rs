//! Replication on the page of metrics.

use super::{Mesh, lock};
use crate::metrics::{Exposition, Label, Metric, MetricsSource};

impl MetricsSource for Mesh {
    fn collect(&self, out: &mut Exposition) {
        let view = lock(&self.0.view).clone();
        let is_running = lock(&self.0.running).is_some();
        if !is_running && view.problem.is_none() {
            return;
        }
        let flag = |is_so: bool| f64::from(u8::from(is_so));
        out.gauge(Metric::ClusterRunning, &[], flag(is_running));
        out.gauge(Metric::ClusterCurrent, &[], flag(view.is_current));
        let counts = self.0.counters.counts();
        for (metric, count) in [
            (Metric::ClusterConnectFailuresTotal, counts.connect_failures),
            (Metric::ClusterWrongSecretsTotal, counts.wrong_secrets),
            (Metric::ClusterRefusedTotal, counts.refused),
            (Metric::ClusterCrowdedOutTotal, counts.crowded_out),
            (Metric::ClusterSentBytesTotal, counts.sent_bytes),
            (Metric::ClusterReceivedBytesTotal, counts.received_bytes),
        ] {
            out.counter(metric, &[], count);
        }
        for peer in &view.peers {
            let labels: [Label<'_>; 1] = [("peer", (&peer.name).into())];
            let waiting = u32::try_from(peer.waiting).unwrap_or(u32::MAX);
            for (metric, value) in [
                (Metric::PeerConnected, flag(peer.is_connected)),
                (
                    Metric::PeerInStep,
                    flag(peer.is_connected && peer.is_taught),
                ),
                (Metric::PeerConfigDrifted, flag(peer.is_drifted)),
                (Metric::PeerLagSeconds, peer.lag.as_secs_f64()),
                (Metric::PeerWaitingEntries, waiting.into()),
            ] {
                out.gauge(metric, &labels, value);
            }
            let counters = &peer.counters;
            for (metric, count) in [
                (Metric::PeerSentEntriesTotal, counters.sent),
                (Metric::PeerReceivedEntriesTotal, counters.received),
                (Metric::PeerTakenEntriesTotal, counters.taken),
                (Metric::PeerResentBatchesTotal, counters.resent),
                (Metric::PeerTaughtTotal, counters.taught),
                (Metric::PeerDisconnectsTotal, counters.disconnects),
                (Metric::PeerClockAheadTotal, counters.clock_ahead),
                (Metric::PeerUnknownTablesTotal, counters.unknown_tables),
                (Metric::PeerUnknownFramesTotal, counters.unknown_frames),
                (Metric::PeerDroppedNotesTotal, counters.dropped_notes),
            ] {
                out.counter(metric, &labels, count);
            }
        }
    }
}
