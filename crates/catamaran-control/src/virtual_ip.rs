//! What the vrrp process last said of the virtual addresses.

use crate::admin::{Events, Kind};
use crate::metrics::{Exposition, Label, Metric};
use catamaran_core::vrrp::{Dropped, State, Status};
use std::sync::{Arc, Mutex, PoisonError};

/// The last status of every virtual router; empty without virtual addresses. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct VirtualIps {
    known: Arc<Mutex<Vec<Status>>>,
    events: Arc<Events>,
}

impl VirtualIps {
    /// None yet; changes of state will be noted in `events`.
    #[must_use]
    pub fn new(events: Arc<Events>) -> Self {
        Self {
            known: Arc::default(),
            events,
        }
    }

    /// Puts what was just heard in the place of what was known.
    pub fn set(&self, all: Vec<Status>) {
        let before = self.all();
        for status in &all {
            let same = |one: &&Status| one.name == status.name && one.family == status.family;
            // What is heard first is news only if the addresses are here.
            let was = before
                .iter()
                .find(same)
                .map_or(State::Initialize, |one| one.state);
            if was != status.state {
                self.events.note(Kind::VirtualIp, told(status));
            }
            for message in told_of_conflicts(before.iter().find(same), status) {
                self.events.note(Kind::VirtualIp, message);
            }
            let was_path_dead = before.iter().find(same).is_some_and(|one| one.is_path_dead);
            if was_path_dead != status.is_path_dead {
                self.events.note(Kind::VirtualIp, told_of_path(status));
            }
        }
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// The status of every virtual router, in the order of the configuration, IPv4 first.
    #[must_use]
    pub fn all(&self) -> Vec<Status> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Adds the metrics of all virtual routers.
    pub(crate) fn collect(&self, out: &mut Exposition) {
        for status in self.all() {
            collect_one(&status, out);
        }
    }
}

/// A change of state in words.
fn told(status: &Status) -> String {
    let (name, family) = (&status.name, status.family.as_str());
    match (status.state, status.active) {
        (State::Active, _) => format!("{name} ({family}): active here"),
        (State::Backup, Some(active)) => format!("{name} ({family}): backup of {active}"),
        (State::Backup, None) => format!("{name} ({family}): backup"),
        (State::Initialize, _) => format!("{name} ({family}): its interface is unusable"),
    }
}

fn told_of_path(status: &Status) -> String {
    let (name, family) = (&status.name, status.family.as_str());
    let what = if status.is_path_dead {
        "a peer is alive and active, but its adverts do not arrive"
    } else {
        "the path of adverts is no longer in question"
    };
    format!("{name} ({family}): {what}")
}

/// Which conflicts began and ended since `before`; a short one did both.
fn told_of_conflicts(before: Option<&Status>, status: &Status) -> Vec<String> {
    let (name, family) = (&status.name, status.family.as_str());
    // Of one that is as old as this process nobody knows when it began.
    let (was_in_one, had) = before.map_or((false, status.counters.conflicts), |before| {
        (before.is_in_conflict, before.counters.conflicts)
    });
    let has_begun = status.counters.conflicts > had || status.is_in_conflict && !was_in_one;
    let has_ended = !status.is_in_conflict && (was_in_one || has_begun);
    let mut told = Vec::new();
    if has_begun {
        told.push(format!("{name} ({family}): another node is active too"));
    }
    if has_ended {
        told.push(format!(
            "{name} ({family}): no other node is active any more"
        ));
    }
    told
}

fn collect_one(status: &Status, out: &mut Exposition) {
    let labels: [Label<'_>; 2] = [
        ("virtual_ip", (&status.name).into()),
        ("family", status.family.as_str().into()),
    ];
    let is_active = status.state == State::Active;
    for (metric, value) in [
        (Metric::VirtualIpActive, u8::from(is_active)),
        (Metric::VirtualIpPriority, status.priority),
        (Metric::VirtualIpConflict, u8::from(status.is_in_conflict)),
        (Metric::VirtualIpPathDead, u8::from(status.is_path_dead)),
    ] {
        out.gauge(metric, &labels, value.into());
    }
    for state in State::ALL {
        let labels = [labels[0], labels[1], ("state", state.as_str().into())];
        let is_it = u8::from(status.state == state);
        out.gauge(Metric::VirtualIpState, &labels, is_it.into());
    }
    let counters = &status.counters;
    for (metric, count) in [
        (Metric::VirtualIpAdvertsSentTotal, counters.adverts_sent),
        (
            Metric::VirtualIpAdvertsReceivedTotal,
            counters.adverts_received,
        ),
        (Metric::VirtualIpBecameActiveTotal, counters.became_active),
        (Metric::VirtualIpBecameBackupTotal, counters.became_backup),
        (Metric::VirtualIpConflictsTotal, counters.conflicts),
        (Metric::VirtualIpLateTotal, counters.late),
        (Metric::VirtualIpAnnouncementsTotal, counters.announcements),
        (Metric::VirtualIpPathDeathsTotal, counters.path_deaths),
        (Metric::VirtualIpAnswersTotal, counters.answers),
        (Metric::VirtualIpFailuresTotal, counters.failures),
    ] {
        out.counter(metric, &labels, count);
    }
    for dropped in Dropped::ALL {
        let labels = [labels[0], labels[1], ("reason", dropped.as_str().into())];
        let count = counters.adverts_dropped[dropped.index()];
        out.counter(Metric::VirtualIpAdvertsDroppedTotal, &labels, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Format;
    use catamaran_core::vrrp::{Counters, Family};

    #[test]
    fn an_active_router_is_told_with_its_drops_by_reason() {
        let mut counters = Counters::default();
        counters.adverts_dropped[Dropped::Ttl.index()] = 3;
        let virtual_ips = VirtualIps::default();
        virtual_ips.set(vec![Status {
            name: "main".into(),
            family: Family::V4,
            state: State::Active,
            priority: 150,
            active: None,
            is_in_conflict: false,
            is_path_dead: false,
            router_id: 51,
            counters,
        }]);
        let mut out = Exposition::new();
        virtual_ips.collect(&mut out);
        let page = out.finish(Format::Prometheus);
        let labels = "virtual_ip=\"main\",family=\"ipv4\"";
        for line in [
            format!("catamaran_virtual_ip_active{{{labels}}} 1\n"),
            format!("catamaran_virtual_ip_priority{{{labels}}} 150\n"),
            format!("catamaran_virtual_ip_state{{{labels},state=\"backup\"}} 0\n"),
            format!("catamaran_virtual_ip_adverts_dropped_total{{{labels},reason=\"ttl\"}} 3\n"),
        ] {
            assert!(page.contains(&line), "{line}{page}");
        }
    }

    #[test]
    fn a_change_of_state_is_an_event_and_the_same_state_again_is_none() {
        let events = Arc::new(Events::default());
        let virtual_ips = VirtualIps::new(Arc::clone(&events));
        let status = |state| Status {
            name: "main".into(),
            family: Family::V4,
            state,
            priority: 150,
            active: None,
            is_in_conflict: false,
            is_path_dead: false,
            router_id: 51,
            counters: Counters::default(),
        };
        for state in [
            State::Initialize,
            State::Active,
            State::Active,
            State::Backup,
        ] {
            virtual_ips.set(vec![status(state)]);
        }
        let noted: Vec<String> = events.after(0).into_iter().map(|e| e.message).collect();
        assert_eq!(noted, ["main (ipv4): active here", "main (ipv4): backup"]);
    }

    #[test]
    fn each_conflict_begins_and_ends_with_an_event_even_one_between_two_reports() {
        let events = Arc::new(Events::default());
        let virtual_ips = VirtualIps::new(Arc::clone(&events));
        let report = |conflicts, is_in_conflict| {
            virtual_ips.set(vec![Status {
                name: "main".into(),
                family: Family::V4,
                state: State::Initialize,
                priority: 150,
                active: None,
                is_in_conflict,
                is_path_dead: false,
                router_id: 51,
                counters: Counters {
                    conflicts,
                    ..Counters::default()
                },
            }]);
        };
        for (conflicts, is_in_conflict) in [(0, false), (1, true), (1, true), (1, false)] {
            report(conflicts, is_in_conflict);
        }
        let noted = || events.after(0).into_iter().map(|e| e.message);
        let both = [
            "main (ipv4): another node is active too",
            "main (ipv4): no other node is active any more",
        ];
        assert!(noted().eq(both));
        report(2, false);
        assert!(noted().eq([both, both].concat()));
        report(3, true);
        report(4, true);
        assert_eq!(noted().count(), 6);
    }
}
