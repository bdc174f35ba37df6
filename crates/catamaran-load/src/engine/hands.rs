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
    pub(crate) workers: Vec<u64>,
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
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let round = |time: Duration| exact(Duration::from_millis(millis(time)));
        write!(
            f,
            "agent {} was lost after {} ({}): {:.0} % of the load is missing from then on, and the {} \
             before that it had not reported yet",
            self.agent,
            round(self.at),
            self.why,
            100.0 * self.share,
            round(self.unmerged)
        )
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
                let threads = start(course, &crew, shared, commands, to_lead)?;
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

/// Starts those workers of a course that `shares` names.
pub(crate) fn hire<C: Crew>(course: &Course, crew: &Arc<C>, shares: Shares) -> io::Result<Hired> {
    let (commands, _) = watch::channel(Command::Wait);
    let (to_lead, messages) = unbounded_channel();
    let shared = Arc::new(Shared::new(course.scenarios.len(), shares));
    let threads = start(course, crew, &shared, &commands, &to_lead)?;
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
    shared: &Arc<Shared>,
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
            to_lead: to_lead.clone(),
        })
    };
    shared.shares.stripes().map(start).collect()
}
