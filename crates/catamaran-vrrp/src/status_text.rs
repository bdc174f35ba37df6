//! A router's status as a part of a message.
//!
//! Of the counters that came later, each router's stand after all routers: who does not know them
//! reads the rest, and who expects them finds none.

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
        is_path_dead: false,
        router_id: 0,
        counters: Counters::default(),
    };
    for number in numbers(&mut status.counters) {
        *number = fields.number()?;
    }
    Some(status)
}

/// Writes the counters that came later.
pub(crate) fn write_later(out: &mut Writer, status: &Status) {
    let mut counters = status.counters.clone();
    let mut numbers: Vec<u64> = later_numbers(&mut counters).map(|number| *number).collect();
    numbers.extend([u64::from(status.is_path_dead), u64::from(status.router_id)]);
    out.byte(u8::try_from(numbers.len()).unwrap_or(0));
    for number in numbers {
        out.number(number);
    }
}

/// Reads the counters that came later, as many as there are.
pub(crate) fn read_later(fields: &mut Reader<'_>, status: &mut Status) -> Option<()> {
    let count = fields.byte()?;
    let numbers: Option<Vec<u64>> = (0..count).map(|_| fields.number()).collect();
    let mut numbers = numbers?.into_iter();
    for known in later_numbers(&mut status.counters) {
        *known = numbers.next().unwrap_or(0);
    }
    status.is_path_dead = numbers.next() == Some(1);
    let router_id = numbers.next().map(u8::try_from);
    status.router_id = router_id.and_then(Result::ok).unwrap_or(0);
    Some(())
}

/// The numbers of the first version of the message, in its order.
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
        ..
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
    single
        .into_iter()
        .chain(adverts_dropped.iter_mut().take(FIRST_DROPS))
}

/// The numbers that came later, in the order in which they came.
fn later_numbers(counters: &mut Counters) -> impl Iterator<Item = &mut u64> {
    let drops = counters.adverts_dropped.iter_mut().skip(FIRST_DROPS);
    drops.chain([&mut counters.answers, &mut counters.path_deaths])
}

/// The reasons of drops that the first version of the message had.
const FIRST_DROPS: usize = 7;
