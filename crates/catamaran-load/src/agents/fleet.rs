//! The coordinator's side: agents gathered, told what to do, and listened to.
//!
//! The connections live on a thread of their own: a script's `setup` that computes for long must not look
//! like a coordinator that has gone.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::attendant::{Attendant, Beginning, Channels, Part};
use super::clocks::Clocks;
use super::job::{Job, MAX_JOB_BYTES, digest};
use super::message::{Begin, Order};
use super::{Agents, OnLoss};
use crate::engine::{Command, Course, Message, Resumed};
use crate::schedule::Shares;

/// Agents that are ready for a run. They are free again when this is dropped.
#[derive(Debug)]
pub struct Fleet {
    members: Vec<Member>,
    on_loss: OnLoss,
}

#[derive(Debug)]
struct Member {
    address: String,
    /// Which of all workers it has from the beginning.
    workers: Vec<u64>,
    parts: UnboundedSender<Part>,
    /// What is known of the clock there.
    clocks: Arc<Mutex<Clocks>>,
}

impl Fleet {
    /// Connects to all agents and has them read the job. `most` is how many workers there may be, and
    /// `wanted` how many each agent gets, unless it chooses itself.
    ///
    /// # Errors
    /// When one of them cannot take part: which, and why.
    pub async fn muster(
        agents: &Agents,
        job: Job,
        course: &Course,
        (wanted, most): (Option<u64>, u64),
    ) -> Result<Self, String> {
        check(agents, &job)?;
        let job: Arc<[u8]> = Order::Job(job).to_bytes().into();
        let digest = digest(course);
        let (mut attendants, mut channels) = (Vec::new(), Vec::new());
        let (mut members, mut answers) = (Vec::new(), Vec::new());
        for address in &agents.addresses {
            let (to_attendant, parts) = unbounded_channel();
            let (to_muster, answer) = oneshot::channel();
            let clocks = Arc::default();
            attendants.push(Attendant {
                address: address.clone(),
                secret: agents.secret.clone(),
                registry: Arc::clone(&course.registry),
                job: Arc::clone(&job),
                digest: digest.clone(),
                clocks: Arc::clone(&clocks),
            });
            channels.push((to_muster, parts));
            answers.push(answer);
            members.push(Member {
                address: address.clone(),
                workers: Vec::new(),
                parts: to_attendant,
                clocks,
            });
        }
        start(attendants.into_iter().zip(channels).collect())?;
        let mut capacities = Vec::new();
        for (member, answer) in members.iter().zip(answers) {
            let answer = answer.await;
            let answer = answer.unwrap_or_else(|_| Err("it was not asked".to_owned()));
            let own = answer.map_err(|why| format!("agent {}: {why}", member.address))?;
            capacities.push(wanted.unwrap_or(own).clamp(1, MAX_WORKERS));
        }
        for (member, workers) in members.iter_mut().zip(deal(&capacities, most)) {
            member.workers = workers;
        }
        let on_loss = agents.on_loss;
        Ok(Self { members, on_loss })
    }

    /// All workers of all agents.
    #[must_use]
    pub fn workers(&self) -> u64 {
        let members = self.members.iter();
        members.map(|member| member.workers.len() as u64).sum()
    }

    /// Says which agents have nothing to do.
    pub(crate) fn tell_idle(&self, err: &mut dyn Write) {
        for member in self.members.iter().filter(|one| one.workers.is_empty()) {
            // A terminal that has gone is no reason to end the run.
            let _ = writeln!(
                err,
                "warning: agent {} has nothing to do: there are fewer virtual users than agents",
                member.address
            );
        }
    }

    /// Has the agents make their virtual users and follow the lead.
    pub(crate) fn begin(
        &self,
        course: &Course,
        data: Option<&Arc<str>>,
        commands: &watch::Sender<Command>,
        to_lead: &UnboundedSender<Message>,
    ) {
        for member in self.members.iter().filter(|one| !one.workers.is_empty()) {
            let begin = Begin {
                workers: member.workers.clone(),
                of: course.workers,
                data: data.map(|data| data.as_ref().to_owned()),
            };
            let beginning = Beginning {
                begin,
                on_loss: self.on_loss,
                commands: commands.subscribe(),
                to_lead: to_lead.clone(),
            };
            // Of one that has ended the lead hears by the missing report.
            let _ = member.parts.send(Part::Begin(Box::new(beginning)));
        }
    }

    /// Deals the places of workers that were lost to the agents that are left. Returns those that were
    /// dealt, by agent, with what was begun for them.
    pub(crate) fn take_over(&self, workers: &[u64], resumed: &Resumed) -> Vec<(Vec<u64>, Resumed)> {
        let of = self.workers();
        let members = self.members.iter();
        // An agent whose attendant has ended is lost, or done with its own share.
        let left: Vec<_> = members.filter(|member| !member.parts.is_closed()).collect();
        let mut taken = Vec::new();
        for (member, own) in left.iter().zip(split(workers, left.len())) {
            let Some(resumed) = part_of(workers, &own, of, resumed) else {
                continue;
            };
            // An attendant that ends later than this tells that these are lost again.
            let part = Part::TakeOver(own.clone(), resumed.clone());
            if member.parts.send(part).is_ok() {
                taken.push((own, resumed));
            }
        }
        taken
    }

    /// Nanoseconds between the word to start and the start, so that the word arrives before.
    pub(crate) fn start_delay(&self) -> u64 {
        let members = self.members.iter();
        let trips = members.filter_map(|member| {
            let clocks = member.clocks.lock();
            clocks.unwrap_or_else(PoisonError::into_inner).round_trip()
        });
        let longest = trips.max();
        SPARE_NANOS + longest.unwrap_or(0).min(MAX_ROUND_TRIP_NANOS) * 2
    }

    /// The agent that has this worker.
    pub(crate) fn agent_of(&self, worker: u64) -> Option<String> {
        let mut members = self.members.iter();
        let found = members.find(|member| member.workers.contains(&worker))?;
        Some(found.address.clone())
    }
}

/// What can be known to be wrong before anybody is asked.
fn check(agents: &Agents, job: &Job) -> Result<(), String> {
    let addresses = &agents.addresses;
    if addresses.len() > MAX_AGENTS {
        return Err(format!(
            "{} agents are too many; {MAX_AGENTS} at most",
            addresses.len()
        ));
    }
    let twice = (1..addresses.len()).find(|&at| addresses[..at].contains(&addresses[at]));
    if let Some(at) = twice {
        let address = &addresses[at];
        return Err(format!(
            "agent {address} is named twice; each serves one run at a time"
        ));
    }
    let len = job.len();
    if len > MAX_JOB_BYTES {
        return Err(format!(
            "script and files are {} MB together, and agents take {} MB; have the script open less, or fetch \
             it in setup()",
            len / 1_000_000,
            MAX_JOB_BYTES / 1_000_000
        ));
    }
    Ok(())
}

/// Deals out `most` workers at most, one to each agent in turn while it has room.
fn deal(capacities: &[u64], most: u64) -> Vec<Vec<u64>> {
    let mut dealt = vec![Vec::new(); capacities.len()];
    let mut next = 0;
    loop {
        let before = next;
        for (workers, &capacity) in dealt.iter_mut().zip(capacities) {
            if next < most && (workers.len() as u64) < capacity {
                workers.push(next);
                next += 1;
            }
        }
        if next == before {
            return dealt;
        }
    }
}

/// Workers in so many parts of about the same size.
fn split(workers: &[u64], parts: usize) -> Vec<Vec<u64>> {
    let part = |first: usize| workers.iter().copied().skip(first).step_by(parts.max(1));
    (0..parts).map(|first| part(first).collect()).collect()
}

/// What those of `own` have done of what `workers` did together: of iterations that are numbered, those
/// whose numbers are their own.
fn part_of(workers: &[u64], own: &[u64], of: u64, resumed: &Resumed) -> Option<Resumed> {
    let (all, own) = (
        Shares::new(workers.to_vec(), of)?,
        Shares::new(own.to_vec(), of)?,
    );
    let part = |counts: &[u64]| {
        let counts = counts.iter();
        counts.map(|&count| own.position(all.nth(count))).collect()
    };
    Some(Resumed {
        begun: part(&resumed.begun),
        asked: part(&resumed.asked),
    })
}

/// Starts the thread of the connections, which ends with the last of them.
fn start(attendants: Vec<(Attendant, Channels)>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the thread for agents: {error}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let work = move || {
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for (attendant, (to_muster, parts)) in attendants {
                tasks.spawn(attendant.attend(to_muster, parts));
            }
            while tasks.join_next().await.is_some() {}
            // What is still to be sent goes out before the runtime is dropped.
            tokio::time::sleep(LINGER).await;
        });
    };
    let thread = std::thread::Builder::new().name("load-agents".to_owned());
    thread.spawn(work).map(drop).map_err(failed)
}

/// Agents of one run. Chosen: a hundred machines are more than any target here withstands.
const MAX_AGENTS: usize = 100;
/// Workers of one agent.
const MAX_WORKERS: u64 = 1024;
/// For what was queued last to be sent.
const LINGER: Duration = Duration::from_millis(20);
/// Time for agents to wake their workers.
const SPARE_NANOS: u64 = 50_000_000;
/// A way that takes longer makes starts uneven, and is not waited for.
const MAX_ROUND_TRIP_NANOS: u64 = 2_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::Secret;

    #[test]
    fn workers_are_dealt_out_in_turn_as_far_as_there_are_any() {
        assert_eq!(deal(&[2, 2], 10), [vec![0, 2], vec![1, 3]]);
        assert_eq!(deal(&[1, 3], 10), [vec![0], vec![1, 2, 3]]);
        assert_eq!(deal(&[4, 4, 4], 2), [vec![0], vec![1], vec![]]);
    }

    #[test]
    fn what_was_begun_is_split_as_the_numbers_are() {
        let (of, total) = (7, 100);
        let lost = [1, 2, 5];
        let begun = Resumed {
            begun: vec![17, 0],
            asked: vec![13],
        };
        let all = Shares::new(lost.to_vec(), of).unwrap();
        let mut left: Vec<u64> = (17..all.share_of(total)).map(|n| all.nth(n)).collect();
        for own in split(&lost, 2) {
            let part = part_of(&lost, &own, of, &begun).unwrap();
            let own = Shares::new(own, of).unwrap();
            assert_eq!(part.begun[1], 0);
            for n in part.begun[0]..own.share_of(total) {
                let at = left.iter().position(|&number| number == own.nth(n));
                left.remove(at.unwrap());
            }
        }
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(split(&[4], 2), [vec![4], vec![]]);
    }

    #[test]
    fn an_agent_that_is_named_twice_is_refused() {
        let agents = |addresses: &[&str]| Agents {
            addresses: addresses.iter().map(|&one| one.to_owned()).collect(),
            secret: Secret::new([0; 32]),
            on_loss: OnLoss::default(),
            arguments: Vec::new(),
            files: std::collections::BTreeMap::new(),
        };
        let job = Job::default();
        assert!(check(&agents(&["a:1", "b:1"]), &job).is_ok());
        assert!(check(&agents(&["a:1", "a:1"]), &job).is_err());
    }
}
