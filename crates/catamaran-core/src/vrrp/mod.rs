//! VRRP, the protocol by which one of several nodes holds a virtual address (RFC 9568, RFC 3768).
//!
//! ```text
//!              interface usable                    silence, hand-over, preemption
//!  Initialize ------------------> Backup ------------------------------------> Active
//!      ^                          |   ^                                          |
//!      |  link down, stop         |   '-- outranked, own timer late, group ------'
//!      '--------------------------+--------------------- link down, stop --------'
//! ```
//! [`Machine`] holds the virtual routers of one node and decides when each is active. It opens no
//! socket: adverts that arrived come in by [`Machine::handle_advert`], what is to be done is
//! fetched by [`Machine::poll_action`]. [`Advert`] is the packet, [`announce`] the frames that tell
//! neighbours where the address is now, [`Tracking`] what lowers the priority of a node, [`Seal`] the
//! proof that an advert is genuine and new.
//!
//! Where this goes beyond the RFC:
//! - A node that finds its own timer late by so much that another may have taken over says nothing before
//!   it knows, and gives its addresses up if one has or if it cannot know ([`Reason::Late`]).
//! - A node that does not preempt still takes over from one whose priority *fell* while it was
//!   active, or is 1: that one says that it cannot serve.
//! - The loser of a conflict says that it gave up, and the winner announces its addresses again when
//!   the other has said so or fallen silent, so that the loser's announcement is not the last that
//!   neighbours heard.
//! - Where peers say by another path that they are active, and the link answers for them, only the
//!   path of adverts is dead: a backup does not take over, and of two actives the weaker yields
//!   ([`Machine::handle_witness`], [`Machine::handle_answer`]).

pub mod announce;
mod checksum;
mod late;
mod machine;
mod packet;
mod router;
mod seal;
mod settings;
#[cfg(test)]
mod sim;
mod status;
mod tracking;
mod witness;

pub use machine::{Action, Machine, RouterIndex};
pub use packet::{Advert, ChecksumStyle, PacketError, VRRP_PROTOCOL};
pub use router::{Event, Reason, State};
pub use seal::{Freshness, Seal, Stamps, TOLERANCE, Tag};
pub use settings::{AdvertInterval, Family, Settings, Version};
pub use status::{Counters, Dropped, Status};
pub use tracking::Tracking;
