//! Who works for the lead: threads of this process, or those of agents on other machines.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::Crew;
use super::lead::{Command, Course, Message};
use super::local::Shared;
use super::worker::{Job, spawn};
use crate::agents::{Fleet, OnLoss};
use crate::schedule::Shares;
use crate::time_text::exact;

/// Who does the work of a run.
pub enum Hands<C> {
    /// Threads of this process.
    Here(Arc<C>),
    /// Agents, who know what the work is. What `setup` returned comes along, as JSON.
    Agents(Fleet, Option<Arc<str>>),
}

impl<C> fmt::Debug for Hands<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Here(_) => "Here",
            Self::Agents(..) => "Agents",
        })
    }
}

/// Workers that are out of reach.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) agent: String,
    /// Workers that count iterations together.
    pub(crate) groups: Vec<Vec<u64>>,
    pub(crate) why: String,
    pub(crate) on_loss: OnLoss,
}

/// What a run lacks since an agent was lost.
#[derive(Clone, Debug, PartialEq)]
pub struct Missing {
    /// The agent.
    pub agent: String,
    /// How it was lost.
    pub why: String,
    /// When, since the start of the run.
    pub at: Duration,
    /// How much of the time before is not in the figures.
    pub unmerged: Duration,
    /// Its share of the load, 0 to 1.
    pub share: f64,
    /// Whether other agents have that share from then on.
    pub is_taken_over: bool,
}

impl Missing {
    /// Whether so much is missing that the run is not what it should have been.
    #[must_use]
    pub fn is_grave(&self) -> bool {
        !self.is_taken_over || self.unmerged > BRIEF
    }
}

/// What the figures may lack of an agent whose share others took over: it reports each second, and its loss
/// is seen at once, unless its machine or the network is gone.
const BRIEF: Duration = Duration::from_secs(3);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let round = |time: Duration| exact(Duration::from_millis(millis(time)));
        let (share, unmerged) = (100.0 * self.share, round(self.unmerged));
        let (agent, at, why) = (&self.agent, round(self.at), &self.why);
        write!(f, "agent {agent} was lost after {at} ({why}): ")?;
        if self.is_taken_over {
            write!(
                f,
                "others have its {share:.0} % of the load from then on; the {unmerged} before that it had not \
                 reported yet are missing"
            )
        } else {
            write!(
                f,
                "{share:.0} % of the load is missing from then on, and the {unmerged} before that it had not \
                 reported yet"
            )
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Those who have begun.
pub(super) enum Begun {
    Here(Vec<JoinHandle<()>>),
    Agents(Fleet),
}

impl<C: Crew> Hands<C> {
    /// Has them make their virtual users and wait for the start.
    pub(super) fn begin(
        self,
        course: &Course,
        shared: &Arc<Shared>,
        commands: &watch::Sender<Command>,
        to_lead: &UnboundedSender<Message>,
    ) -> io::Result<Begun> {
        match self {
            Self::Here(crew) => {
                let threads = start(course, &crew, (shared, false), commands, to_lead)?;
                Ok(Begun::Here(threads))
            }
            Self::Agents(fleet, data) => {
                fleet.begin(course, data.as_ref(), commands, to_lead);
                Ok(Begun::Agents(fleet))
            }
        }
    }
}

impl Begun {
    /// How many nanoseconds before the start it is to be told.
    pub(super) fn start_delay(&self) -> u64 {
        match self {
            Self::Here(_) => 0,
            Self::Agents(fleet) => fleet.start_delay(),
        }
    }

    /// Has agents that are left take the places of workers that were lost. Returns those that are taken, by
    /// agent, with what was begun for them.
    pub(super) fn take_over(&self, workers: &[u64], resumed: &Resumed) -> Vec<(Vec<u64>, Resumed)> {
        match self {
            Self::Here(_) => Vec::new(),
            Self::Agents(fleet) => fleet.take_over(workers, resumed),
        }
    }

    /// The agent of a worker that is not here.
    pub(super) fn agent_of(&self, worker: u64) -> Option<String> {
        match self {
            Self::Here(_) => None,
            Self::Agents(fleet) => fleet.agent_of(worker),
        }
    }

    /// Waits for threads that have said all they had to say.
    pub(super) fn end(self) {
        if let Self::Here(threads) = self {
            for thread in threads {
                // One that panicked has told so by its missing report.
                let _ = thread.join();
            }
        }
    }
}

/// Workers of this process that somebody else leads.
#[derive(Debug)]
pub(crate) struct Hired {
    pub(crate) commands: watch::Sender<Command>,
    pub(crate) messages: UnboundedReceiver<Message>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) threads: Vec<JoinHandle<()>>,
}

/// Which workers somebody else leads here.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) shares: Shares,
    /// Of workers that take over: what those did whose place they take.
    pub(crate) resumed: Option<Resumed>,
}

/// What workers did that were lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resumed {
    /// By scenario: iterations begun, of those whose number is fixed.
    pub(crate) begun: Vec<u64>,
    /// By scenario: iterations that asked for their number.
    pub(crate) asked: Vec<u64>,
}

/// Starts those workers of a course that `places` names.
pub(crate) fn hire<C: Crew>(course: &Course, crew: &Arc<C>, places: Places) -> io::Result<Hired> {
    let (commands, _) = watch::channel(Command::Wait);
    let (to_lead, messages) = unbounded_channel();
    let takes_over = places.resumed.is_some();
    let shared = match places.resumed {
        Some(Resumed { begun, asked }) => Shared::resumed(places.shares, &begun, &asked),
        None => Shared::new(course.scenarios.len(), places.shares),
    };
    let shared = Arc::new(shared);
    let threads = start(course, crew, (&shared, takes_over), &commands, &to_lead)?;
    Ok(Hired {
        commands,
        messages,
        shared,
        threads,
    })
}

fn start<C: Crew>(
    course: &Course,
    crew: &Arc<C>,
    (shared, takes_over): (&Arc<Shared>, bool),
    commands: &watch::Sender<Command>,
    to_lead: &UnboundedSender<Message>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let start = |stripe| {
        spawn(Job {
            stripe,
            crew: Arc::clone(crew),
            registry: Arc::clone(&course.registry),
            scenarios: Arc::clone(&course.scenarios),
            shared: Arc::clone(shared),
            taps: course.taps.clone(),
            commands: commands.subscribe(),
            takes_over,
            to_lead: to_lead.clone(),
        })
    };
    shared.shares.stripes().map(start).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_grave_where_nobody_took_over_or_much_was_not_reported() {
        for (is_taken_over, millis, is_grave, told) in [
            (
                false,
                100,
                true,
                "33 % of the load is missing from then on, and the 100ms",
            ),
            (
                true,
                900,
                false,
                "others have its 33 % of the load from then on; the 900ms",
            ),
            (true, 10_012, true, "the 10.012s before that"),
        ] {
            let missing = Missing {
                agent: "a:1".to_owned(),
                why: "gone".to_owned(),
                at: Duration::from_secs(12),
                unmerged: Duration::from_millis(millis),
                share: 1.0 / 3.0,
                is_taken_over,
            };
            assert_eq!(missing.is_grave(), is_grave);
            let text = missing.to_string();
            assert!(
                text.starts_with("agent a:1 was lost after 12s (gone): "),
                "{text}"
            );
            assert!(text.contains(told), "{text}");
        }
    }
}
