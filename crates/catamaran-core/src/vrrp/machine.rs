//! All virtual routers of one node, and the groups in which they move together.

use super::packet::Advert;
use super::router::{Event, Reason, Router, State};
use super::settings::Settings;
use super::status::Dropped;
use crate::Timestamp;
use std::collections::VecDeque;
use std::net::IpAddr;

/// Index of a router in the list that [`Machine::new`] was given.
pub type RouterIndex = usize;

/// What the shell is to do, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send an advert of this priority.
    SendAdvert {
        /// The router it speaks for.
        router: RouterIndex,
        /// The priority it carries; 0 to give up.
        priority: u8,
    },
    /// Put the virtual addresses on the interface.
    AddAddresses(RouterIndex),
    /// Take the virtual addresses off the interface.
    RemoveAddresses(RouterIndex),
    /// Tell the neighbours where the addresses are.
    Announce(RouterIndex),
    /// Ask on the link who has the addresses; see [`Machine::handle_answer`].
    Ask(RouterIndex),
    /// Tell whoever wants to know.
    Event(RouterIndex, Event),
}

/// The virtual routers of one node.
///
/// After each `handle_*` call fetch what is to be done until [`Machine::poll_action`] is `None`, and
/// call [`Machine::handle_timeout`] no later than at [`Machine::poll_timeout`].
#[derive(Clone, Debug)]
pub struct Machine {
    routers: Vec<Router>,
    actions: VecDeque<Action>,
    is_stopped: bool,
}

/// Where a router puts what is to be done.
pub(super) struct Output<'a> {
    pub(super) router: RouterIndex,
    actions: &'a mut VecDeque<Action>,
}

impl Output<'_> {
    pub(super) fn push(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(super) fn event(&mut self, event: Event) {
        self.actions.push_back(Action::Event(self.router, event));
    }
}

impl Machine {
    /// Routers that wait for their interfaces, each with priority 1 until
    /// [`Machine::handle_priority`] says more.
    #[must_use]
    pub fn new(settings: Vec<Settings>) -> Self {
        Self {
            routers: settings.into_iter().map(Router::new).collect(),
            actions: VecDeque::new(),
            is_stopped: false,
        }
    }

    /// Says that the interface of `router` is usable and has the address `local`, or that it is not.
    /// The routers of a group run only while the interfaces of all are usable.
    pub fn handle_interface(&mut self, now: Timestamp, router: RouterIndex, local: Option<IpAddr>) {
        self.wake(now);
        self.routers[router].set_local(local);
        if self.is_stopped {
            return;
        }
        let members = self.members(router);
        let is_usable = members
            .iter()
            .all(|&member| self.routers[member].is_usable());
        for member in members {
            let (machine, mut out) = self.split(member);
            if is_usable {
                machine.start(now, &mut out);
            } else {
                machine.stop(Reason::LinkDown, &mut out);
            }
        }
    }

    /// Says that the priority of `router` is another.
    pub fn handle_priority(&mut self, now: Timestamp, router: RouterIndex, priority: u8) {
        self.wake(now);
        let (machine, mut out) = self.split(router);
        machine.handle_priority(now, priority, &mut out);
    }

    /// Takes an advert for `router` that came from `from`, with a TTL of 255.
    ///
    /// # Errors
    /// Why it is not heeded.
    pub fn handle_advert(
        &mut self,
        now: Timestamp,
        router: RouterIndex,
        from: IpAddr,
        advert: &Advert,
    ) -> Result<(), Dropped> {
        self.wake(now);
        let (machine, mut out) = self.split(router);
        machine.check(from, advert)?;
        let before = machine.state();
        machine.handle_advert(now, from, advert, &mut out);
        self.lead_group(now, router, before);
        Ok(())
    }

    /// Says what is heard of other nodes by other means than adverts: the highest priority of one
    /// that is alive and active.
    pub fn handle_witness(&mut self, now: Timestamp, router: RouterIndex, active: Option<u8>) {
        self.wake(now);
        let (machine, mut out) = self.split(router);
        machine.handle_witness(now, active, &mut out);
    }

    /// Says whether all peers are known to be away. Then nobody has taken over from a router that was
    /// late, and it goes on; if one was cut off from word only, their adverts decide.
    pub fn handle_alone(&mut self, is_alone: bool) {
        for router in &mut self.routers {
            router.handle_alone(is_alone);
        }
    }

    /// Says whether the connection to a peer that was active for `router` has just ended.
    pub fn handle_departure(&mut self, now: Timestamp, router: RouterIndex, is_gone: bool) {
        self.wake(now);
        self.routers[router].handle_departure(now, is_gone);
    }

    /// Says that another node on the link answered for an address of `router`.
    pub fn handle_answer(&mut self, now: Timestamp, router: RouterIndex) {
        self.wake(now);
        let (machine, mut out) = self.split(router);
        let before = machine.state();
        machine.handle_answer(now, &mut out);
        self.lead_group(now, router, before);
    }

    /// Gives up what was silent for too long while this process slept. To be called before anything that
    /// arrived meanwhile is looked at.
    pub fn handle_wake(&mut self, now: Timestamp) {
        self.wake(now);
        for router in &mut self.routers {
            router.begin_to_read(now);
        }
    }

    /// Does what has become due. Calling it early or late is harmless. To be called when all that has
    /// arrived since [`Machine::handle_wake`] was handled: a router that slept for a while goes on
    /// if none of it was another active, and does nothing if that was not called.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.wake(now);
        for router in 0..self.routers.len() {
            let (machine, mut out) = self.split(router);
            let before = machine.state();
            machine.handle_timeout(now, &mut out);
            self.lead_group(now, router, before);
        }
    }

    /// Gives everything up for good; [`Machine::has_stopped`] says when that is done.
    pub fn handle_stop(&mut self, now: Timestamp) {
        self.wake(now);
        self.is_stopped = true;
        for router in 0..self.routers.len() {
            let (machine, mut out) = self.split(router);
            machine.leave(now, &mut out);
        }
    }

    /// Whether it was asked to stop and holds no address any more.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        let rests = |router: &Router| router.state() == State::Initialize;
        self.is_stopped && self.routers.iter().all(rests)
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Machine::handle_timeout`] is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Timestamp {
        let timeouts = self.routers.iter().map(Router::timeout);
        timeouts.min().unwrap_or(Timestamp::MAX)
    }

    /// The state of `router`.
    #[must_use]
    pub fn state(&self, router: RouterIndex) -> State {
        self.routers[router].state()
    }

    /// The priority of `router` that holds now.
    #[must_use]
    pub fn priority(&self, router: RouterIndex) -> u8 {
        self.routers[router].priority()
    }

    /// The active of `router` as far as this node knows.
    #[must_use]
    pub fn active(&self, router: RouterIndex) -> Option<IpAddr> {
        self.routers[router].active()
    }

    /// Whether `router` hears another active beside itself.
    #[must_use]
    pub fn is_in_conflict(&self, router: RouterIndex) -> bool {
        self.routers[router].is_in_conflict()
    }

    /// Whether a peer of `router` is active elsewhere while its adverts do not arrive.
    #[must_use]
    pub fn is_path_dead(&self, router: RouterIndex) -> bool {
        self.routers[router].is_path_dead()
    }

    /// What was configured of `router`.
    #[must_use]
    pub fn settings(&self, router: RouterIndex) -> &Settings {
        self.routers[router].settings()
    }

    /// Gives up, before anything else is done, what was silent for too long.
    fn wake(&mut self, now: Timestamp) {
        for router in 0..self.routers.len() {
            let (machine, mut out) = self.split(router);
            if machine.wake(now, &mut out) {
                self.lead_group(now, router, State::Active);
            }
        }
    }

    /// Has the group of `router` follow, if its state is no longer `before`.
    fn lead_group(&mut self, now: Timestamp, router: RouterIndex, before: State) {
        let to = self.routers[router].state();
        if to == before {
            return;
        }
        for member in self.members(router) {
            if member != router {
                let (machine, mut out) = self.split(member);
                machine.follow(now, to, &mut out);
            }
        }
    }

    /// The routers that move with `router`, itself among them.
    fn members(&self, router: RouterIndex) -> Vec<RouterIndex> {
        let Some(group) = self.routers[router].settings().group else {
            return vec![router];
        };
        let is_member = |&other: &RouterIndex| self.routers[other].settings().group == Some(group);
        (0..self.routers.len()).filter(is_member).collect()
    }

    fn split(&mut self, router: RouterIndex) -> (&mut Router, Output<'_>) {
        let out = Output {
            router,
            actions: &mut self.actions,
        };
        (&mut self.routers[router], out)
    }
}
