//! A router's status as a part of a message.

use crate::wire::{Reader, Writer};
use catamaran_core::model::Name;
use catamaran_core::vrrp::{Counters, Family, State, Status};

pub(crate) fn write(out: &mut Writer, status: &Status) {
    out.text(status.name.as_str());
    out.byte(u8::from(status.family == Family::V6));
    let state = State::ALL.iter().position(|&state| state == status.state);
    out.byte(state.and_then(|at| u8::try_from(at).ok()).unwrap_or(0));
    out.byte(status.priority);
    out.text(&status.active.map(|ip| ip.to_string()).unwrap_or_default());
    out.byte(u8::from(status.is_in_conflict));
    for number in numbers(&mut status.counters.clone()) {
        out.number(*number);
    }
}

pub(crate) fn read(fields: &mut Reader<'_>) -> Option<Status> {
    let mut status = Status {
        name: Name::new(fields.text()?),
        family: if fields.byte()? == 1 {
            Family::V6
        } else {
            Family::V4
        },
        state: *State::ALL.get(usize::from(fields.byte()?))?,
        priority: fields.byte()?,
        active: fields.text()?.parse().ok(),
        is_in_conflict: fields.byte()? == 1,
        counters: Counters::default(),
    };
    for number in numbers(&mut status.counters) {
        *number = fields.number()?;
    }
    Some(status)
}

/// Every number of the counters, in the order of the message.
fn numbers(counters: &mut Counters) -> impl Iterator<Item = &mut u64> {
    let Counters {
        adverts_sent,
        adverts_received,
        adverts_dropped,
        became_active,
        became_backup,
        conflicts,
        late,
        announcements,
        failures,
    } = counters;
    let single = [
        adverts_sent,
        adverts_received,
        became_active,
        became_backup,
        conflicts,
        late,
        announcements,
        failures,
    ];
    single.into_iter().chain(adverts_dropped)
}
