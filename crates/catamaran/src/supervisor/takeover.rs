//! How a supervisor begins: with sockets of its own, or with all that one before it left behind.

use super::child::DataProcess;
use super::virtual_ips::VirtualIps;
use crate::bind;
use crate::channel::Channel;
use crate::door::{self, Claim, Door, DoorName};
use crate::handover::{Handover, Message, Orphan};
use crate::limits;
use crate::source::Source;
use crate::systemd::Inherited;
use anyhow::Context as _;
use catamaran_core::model::Config;
use std::sync::Arc;
use std::time::Duration;

/// What a supervisor begins with.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) handover: Handover,
    pub(super) drain: Duration,
    pub(super) door: Option<Door>,
    /// A data process that serves already.
    pub(super) adopted: Option<DataProcess>,
    pub(super) virtual_ips: Option<Arc<VirtualIps>>,
}

/// How a supervisor came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entrance {
    /// Somebody started it.
    Started,
    /// It is the process of another binary, executed in its place.
    Executed,
}

/// Opens what `config`, read from `source`, needs, or takes over what serves it without a
/// supervisor.
///
/// # Errors
/// When another instance serves the configuration, or something cannot be opened.
pub(super) async fn begin(
    source: Source,
    config: &Config,
    inherited: Inherited,
    entrance: Entrance,
) -> anyhow::Result<Begin> {
    let name = DoorName::of(&source);
    let claim = match &name {
        Some(name) if entrance == Entrance::Executed => {
            Some(name.claim_within(EXECUTED_PATIENCE).await?)
        }
        Some(name) => Some(name.claim().await?),
        None => None,
    };
    let door = match claim {
        None => None,
        Some(Claim::Held(door)) => Some(door),
        Some(Claim::Taken(pid)) => return Err(door::is_taken(pid)),
        Some(Claim::Orphaned(channel, orphan)) => {
            limits::raise(config, bind::workers(config))?;
            return take_over(&source, name.as_ref(), channel, *orphan, entrance).await;
        }
    };
    let listeners = bind::open_all(config, inherited)?;
    let virtual_ips = VirtualIps::start(&source, config, name.as_ref()).await?;
    Ok(Begin {
        handover: Handover::new(source, listeners),
        drain: config.process.drain + config.process.drain_delay,
        door,
        adopted: None,
        virtual_ips: virtual_ips.map(Arc::new),
    })
}

/// Takes over the data process at the other end of `channel`, and the vrrp process if there is one.
async fn take_over(
    source: &Source,
    name: Option<&DoorName>,
    channel: Arc<Channel>,
    orphan: Orphan,
    entrance: Entrance,
) -> anyhow::Result<Begin> {
    let Orphan {
        pid,
        source: served,
        listeners,
        state,
        drain,
        door,
    } = orphan;
    // What serves is what was applied last; the file may have changed since.
    let config = served.load().context("what is served")?.config;
    let virtual_ips = VirtualIps::start(&served, &config, name).await?;
    // Held before it is told that it is ours: it was alive then, so that the number is its own.
    let adopted = DataProcess::adopt(pid, channel)?;
    let link = virtual_ips.as_ref().map(VirtualIps::data_end);
    let link = link.map(|link| link.try_clone_to_owned()).transpose()?;
    let taken = Message::Adopt(link).send(adopted.channel()).await;
    taken.context("the data process does not want to be taken over")?;
    // An upgrade is no reload.
    if served != *source && entrance == Entrance::Started {
        adopted.tell(Message::Reload).await;
    }
    Ok(Begin {
        handover: Handover {
            source: served,
            listeners,
            state,
        },
        drain,
        door: Some(Door::new(door)?),
        adopted: Some(adopted),
        virtual_ips: virtual_ips.map(Arc::new),
    })
}

/// How long one that was executed asks for the data process that serves: its end would take that
/// process along where a service manager clears up, and a machine that stalls for seconds is no reason.
const EXECUTED_PATIENCE: Duration = Duration::from_secs(60);
