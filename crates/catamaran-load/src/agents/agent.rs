//! The agent's side: listens, and does the work of one run at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use catamaran_sys::clock::now_nanos;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::Secret;
use super::attendant::{CUT, reached};
use super::job::{Job, Load, MAX_JOB_BYTES, digest};
use super::link::Link;
use super::message::{Begin, Hello, Order, Word};
use crate::distribution::EXACT_VALUES;
use crate::engine::{Command, Course, Hired, Message, Places, Resumed, Shared};
use crate::plain;
use crate::schedule::Shares;
#[cfg(feature = "scripts")]
use crate::script;

/// Where an agent tells what it does: a line at a time.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// Reads a command line as the coordinator did.
type Parse = Arc<dyn Fn(&Job) -> Result<Load, String> + Send + Sync>;

/// Works for whoever knows the secret.
#[derive(Clone)]
pub struct Agent {
    secret: Secret,
    parse: Parse,
    log: Log,
    /// Who has a permit has the agent.
    free: Arc<Semaphore>,
    /// Connections that have not shown that they know the secret.
    nameless: Arc<Semaphore>,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").finish_non_exhaustive()
    }
}

/// A job that was read.
enum Prepared {
    Plain(plain::Prepared),
    #[cfg(feature = "scripts")]
    Script(Box<script::Prepared>),
}

impl Agent {
    /// Returns one that reads command lines with `parse`.
    pub fn new(
        secret: Secret,
        parse: impl Fn(&Job) -> Result<Load, String> + Send + Sync + 'static,
        log: Log,
    ) -> Self {
        Self {
            secret,
            parse: Arc::new(parse),
            log,
            free: Arc::new(Semaphore::new(1)),
            nameless: Arc::new(Semaphore::new(MAX_NAMELESS)),
        }
    }

    /// Serves one run after the other, for ever.
    pub async fn serve(self, listener: TcpListener) {
        loop {
            let (stream, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    (self.log)(&format!("connections cannot be accepted: {error}"));
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            // Of too many who say nothing the later ones are turned away; each has its time-out.
            let Ok(permit) = Arc::clone(&self.nameless).try_acquire_owned() else {
                continue;
            };
            let agent = self.clone();
            tokio::spawn(async move {
                let link = Link::accept(stream, &agent.secret, MAX_JOB_BYTES + SPARE_BYTES).await;
                drop(permit);
                let served = match link {
                    Ok(link) => agent.meet(link, from).await,
                    Err(why) => Err(why),
                };
                if let Err(why) = served {
                    (agent.log)(&format!("{from}: {why}"));
                }
            });
        }
    }

    /// Deals with a coordinator.
    async fn meet(&self, mut link: Link, from: SocketAddr) -> Result<(), String> {
        let Order::Hello(hello) = soon(order(&mut link)).await? else {
            return Err(OUT_OF_TURN.to_owned());
        };
        let Ok(_permit) = Arc::clone(&self.free).try_acquire_owned() else {
            link.send(Word::Busy.to_plain_bytes());
            return Err("turned away: another run is going on".to_owned());
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        link.send(Word::Hello(Hello::own(), processors as u64).to_plain_bytes());
        hello.check("the coordinator")?;
        let Order::Job(job) = soon(order(&mut link)).await? else {
            return Err(OUT_OF_TURN.to_owned());
        };
        // A command line may hold secrets.
        let shown = match job.script.as_str() {
            "" => "a run without a script".to_owned(),
            script => script.to_owned(),
        };
        let prepared = match self.prepare(job).await {
            Ok(prepared) => prepared,
            Err(why) => {
                link.send(Word::Refused(why.clone()).to_plain_bytes());
                return Err(why);
            }
        };
        let course = prepared.course();
        link.send(Word::Prepared(digest(&course)).to_plain_bytes());
        let begin = loop {
            match order(&mut link).await? {
                Order::Ping(number) => link.send(pong(number)),
                Order::Begin(begin) => break begin,
                _ => return Err(OUT_OF_TURN.to_owned()),
            }
        };
        (self.log)(&format!(
            "{from}: {shown} ({} of {} workers)",
            begin.workers.len(),
            begin.of
        ));
        let (work, messages) = Work::new(link, prepared, course, begin)?;
        let result = work.run(messages).await;
        (self.log)(&format!(
            "{from}: {}",
            result.as_ref().map_or_else(String::as_str, |()| "done")
        ));
        Ok(())
    }

    /// Reads a job on a thread that may be busy with it.
    async fn prepare(&self, job: Job) -> Result<Prepared, String> {
        let parse = Arc::clone(&self.parse);
        let prepare = move || {
            Ok(match parse(&job)? {
                Load::Plain(options) => Prepared::Plain(plain::Prepared::of_agent(*options)?),
                #[cfg(feature = "scripts")]
                Load::Script(options) => {
                    let prepared = script::Prepared::of_agent(*options, job)?;
                    Prepared::Script(Box::new(prepared))
                }
            })
        };
        let prepared = tokio::task::spawn_blocking(prepare).await;
        prepared.map_err(|error| error.to_string())?
    }
}

impl Prepared {
    fn course(&self) -> Course {
        match self {
            Self::Plain(plain) => plain.course_of_agent(),
            #[cfg(feature = "scripts")]
            Self::Script(script) => script.course_of_agent(),
        }
    }

    fn hire(
        &self,
        course: &Course,
        workers: Vec<u64>,
        begin: &Begin,
        resumed: Option<Resumed>,
    ) -> Result<Hired, String> {
        let own = workers.len();
        let shares = Shares::new(workers, begin.of).filter(|_| own <= MAX_WORKERS);
        let shares = shares.ok_or("the coordinator deals out workers that do not exist")?;
        let places = Places { shares, resumed };
        let hired = match self {
            Self::Plain(plain) => plain.hire(course, places),
            #[cfg(feature = "scripts")]
            Self::Script(script) => script.hire(course, places, begin.data.clone()),
        };
        hired.map_err(|error| error.to_string())
    }
}

/// A run that goes on.
struct Work {
    link: Link,
    prepared: Prepared,
    course: Course,
    begin: Begin,
    groups: Vec<Group>,
    /// What all workers say; each group is listened to by a task.
    to_self: UnboundedSender<Message>,
    listeners: JoinSet<()>,
    /// When it began, in nanoseconds of the monotonic clock.
    start: u64,
    /// By sink: values sent so far.
    sent: Vec<u64>,
    /// By worker: how many virtual users are at work and made, how many iterations ended and were cut.
    latest: BTreeMap<u64, [u64; 4]>,
}

/// Workers that count iterations together.
struct Group {
    commands: watch::Sender<Command>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Work {
    fn new(
        link: Link,
        prepared: Prepared,
        course: Course,
        begin: Begin,
    ) -> Result<(Self, UnboundedReceiver<Message>), String> {
        let (to_self, messages) = unbounded_channel();
        let mut work = Self {
            link,
            groups: Vec::new(),
            to_self,
            listeners: JoinSet::new(),
            start: 0,
            sent: vec![0; course.registry.sinks().len()],
            latest: BTreeMap::new(),
            prepared,
            course,
            begin,
        };
        work.add(work.begin.workers.clone(), None)?;
        Ok((work, messages))
    }

    /// Starts workers, and listens to them.
    fn add(&mut self, workers: Vec<u64>, resumed: Option<Resumed>) -> Result<(), String> {
        let hired = self
            .prepared
            .hire(&self.course, workers, &self.begin, resumed)?;
        let Hired {
            commands,
            mut messages,
            shared,
            threads,
        } = hired;
        let to_self = self.to_self.clone();
        self.listeners.spawn(async move {
            while let Some(message) = messages.recv().await {
                // The receiver is there as long as this task.
                let _ = to_self.send(message);
            }
        });
        self.groups.push(Group {
            commands,
            shared,
            threads,
        });
        Ok(())
    }

    /// Works until all workers are done. An error says why the coordinator is out of reach; then they
    /// are cut off.
    async fn run(mut self, mut messages: UnboundedReceiver<Message>) -> Result<(), String> {
        let mut result = Ok(());
        let mut deadline = None;
        while !self.listeners.is_empty() {
            tokio::select! {
                biased;
                () = reached(deadline) => {
                    let text = "a worker's thread cannot be stopped: a script keeps it in one call that cannot \
                        be interrupted; restart this agent";
                    return Err(text.to_owned());
                }
                Some(message) = messages.recv() => self.pass_on(message),
                _ = self.listeners.join_next() => {}
                order = order(&mut self.link), if result.is_ok() => {
                    let obeyed = order.and_then(|order| self.obey(order));
                    if let Err(why) = obeyed {
                        result = Err(format!("stopped: {why}"));
                        self.command(Command::Cut);
                        deadline = Some(Instant::now() + CUT);
                    }
                }
            }
        }
        while let Ok(message) = messages.try_recv() {
            self.pass_on(message);
        }
        self.link.send(Word::Ended.to_plain_bytes());
        let groups = self.groups;
        let joined = tokio::task::spawn_blocking(move || {
            for thread in groups.into_iter().flat_map(|group| group.threads) {
                // One that panicked is missed by the coordinator.
                let _ = thread.join();
            }
        });
        let _ = joined.await;
        result
    }

    fn command(&self, command: Command) {
        for group in &self.groups {
            group.commands.send_replace(command);
        }
    }

    fn obey(&mut self, order: Order) -> Result<(), String> {
        match order {
            Order::Ping(number) => self.link.send(pong(number)),
            Order::Start(at) => {
                let latest = now_nanos().saturating_add(MAX_AHEAD_NANOS);
                self.start = at.clamp(1, latest);
                self.command(Command::Start(self.start));
            }
            Order::Drain => self.command(Command::Drain),
            Order::Cut => self.command(Command::Cut),
            Order::TakeOver(workers, resumed) => self.take_over(workers, resumed)?,
            Order::Hello(_) | Order::Job(_) | Order::Begin(_) => {
                return Err(OUT_OF_TURN.to_owned());
            }
        }
        Ok(())
    }

    /// Goes on for workers of an agent that was lost.
    fn take_over(&mut self, workers: Vec<u64>, resumed: Resumed) -> Result<(), String> {
        let scenarios = self.course.scenarios.len();
        let is_sound = resumed.begun.len() == scenarios && resumed.asked.len() == scenarios;
        let last = self.groups.first().map(|group| *group.commands.borrow());
        if !is_sound || self.start == 0 {
            return Err(OUT_OF_TURN.to_owned());
        }
        self.add(workers, Some(resumed))?;
        // What all were told last holds for these, too.
        if let (Some(group), Some(last)) = (self.groups.last(), last) {
            group.commands.send_replace(last);
        }
        Ok(())
    }

    fn pass_on(&mut self, mut message: Message) {
        if let Message::Interval(report) | Message::Done(report) = &mut message {
            report.move_clock(self.start, 0);
            let own = [report.active, report.made, report.whole, report.cut];
            self.latest.insert(report.worker, own);
            self.note();
        }
        let sent = &mut self.sent;
        let frame = Word::Told(message).to_bytes(|sink, count| {
            sent[sink] += count;
            sent[sink] > EXACT_VALUES as u64
        });
        self.link.send(frame);
    }

    /// Lets scripts know what all workers of this agent count together.
    fn note(&self) {
        for group in &self.groups {
            let shared = &group.shared;
            let cells = [&shared.active, &shared.made, &shared.whole, &shared.cut];
            for (at, cell) in cells.into_iter().enumerate() {
                let sum = self.latest.values().map(|own| own[at]).sum();
                cell.store(sum, Ordering::Relaxed);
            }
        }
    }
}

/// The answer to a ping, with the time of this machine.
fn pong(number: u64) -> Vec<u8> {
    Word::Pong(number, now_nanos()).to_plain_bytes()
}

async fn order(link: &mut Link) -> Result<Order, String> {
    let frame = link.receive().await?;
    Order::read(&frame).map_err(|error| error.to_string())
}

/// What must be said without a pause, so that nobody else is kept away.
async fn soon<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let done = timeout(SOON, work).await;
    done.unwrap_or_else(|_| Err(format!("it gave no order within {} s", SOON.as_secs())))
}

const OUT_OF_TURN: &str = "the coordinator spoke out of turn; is it the same program?";
/// Connections at once that have not shown that they know the secret.
const MAX_NAMELESS: usize = 64;
/// For hello, and for a job to arrive.
const SOON: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a job beside what it holds.
const SPARE_BYTES: usize = 1024 * 1024;
const MAX_WORKERS: usize = 1024;
/// A start further ahead is a mistake.
const MAX_AHEAD_NANOS: u64 = 60_000_000_000;
