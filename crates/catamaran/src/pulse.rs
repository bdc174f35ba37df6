//! What the data process tells its supervisor of its threads.

use crate::channel::Channel;
use crate::handover::{Message, Part};
use crate::systemd::Notifier;
use catamaran_core::Timestamp;
use catamaran_proxy::Shared;
use catamaran_sys::clock;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Tells the supervisor, whenever there is one, whether every thread turns.
pub(crate) async fn tell(line: watch::Receiver<Option<Arc<Channel>>>, shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(TELL).await;
        let Some(channel) = line.borrow().clone() else {
            continue;
        };
        let message = standing(&shared).map_or(Message::Beat, Message::Hung);
        // One that is gone is noticed elsewhere.
        let _ = message.send(&channel).await;
    }
}

/// Gives systemd, if it waits for that, a sign of life for as long as every thread turns.
pub(crate) async fn tell_systemd(notifier: Notifier, shared: Arc<Shared>) {
    let Some(interval) = notifier.watchdog_interval() else {
        return;
    };
    loop {
        if standing(&shared).is_none() {
            notifier.alive();
        }
        tokio::time::sleep(interval.min(TELL)).await;
    }
}

/// Stamps the pulse of the control thread, on which it must run, for ever.
pub(crate) async fn keep(shared: Arc<Shared>) {
    loop {
        shared.control_pulse.beat(now());
        tokio::time::sleep(BEAT).await;
    }
}

/// A thread that stands still, if one does.
fn standing(shared: &Shared) -> Option<Part> {
    let now = now();
    let mut pulses = shared.pulses.iter().take(shared.started_workers());
    let worker = pulses.position(|p| p.since(now) >= STILL);
    let control = || (shared.control_pulse.since(now) >= STILL).then_some(Part::Control);
    worker
        .map(|index| Part::Worker(u16::try_from(index).unwrap_or(u16::MAX)))
        .or_else(control)
}

fn now() -> Timestamp {
    Timestamp::from_nanos(clock::now_nanos())
}

/// How often the supervisor is told.
const TELL: Duration = Duration::from_millis(500);
/// How often the control thread stamps its pulse.
const BEAT: Duration = Duration::from_millis(100);
/// Age of a pulse from which its thread stands still.
const STILL: Duration = Duration::from_millis(500);
