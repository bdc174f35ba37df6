//! Who deals with one agent: greets it, measures the way, follows its run, and tells when it is lost.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use catamaran_sys::clock::now_nanos;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::clocks::Clocks;
use super::link::{AGENT_SILENCE, Gone, Link};
use super::message::{Begin, Hello, Order, Word};
use super::{OnLoss, Secret};
use crate::engine::{Command, Lost, Message, Resumed};
use crate::metric::Registry;

/// What an agent's attendant is told.
#[derive(Debug)]
pub(super) enum Part {
    /// The run begins.
    Begin(Box<Beginning>),
    /// Its agent takes the places of these workers.
    TakeOver(Vec<u64>, Resumed),
}

/// What an attendant needs to know of the run.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) begin: Begin,
    pub(super) on_loss: OnLoss,
    pub(super) commands: watch::Receiver<Command>,
    pub(super) to_lead: UnboundedSender<Message>,
}

/// Who deals with one agent.
pub(super) struct Attendant {
    pub(super) address: String,
    pub(super) secret: Secret,
    pub(super) registry: Arc<Registry>,
    pub(super) job: Arc<[u8]>,
    pub(super) digest: Vec<u8>,
    /// What is known of the clock there.
    pub(super) clocks: Arc<Mutex<Clocks>>,
}

/// Where it tells how many workers its agent may have, or why it takes no part; and where it hears of the
/// run.
pub(super) type Channels = (
    oneshot::Sender<Result<u64, String>>,
    UnboundedReceiver<Part>,
);

impl Attendant {
    pub(super) async fn attend(
        self,
        to_muster: oneshot::Sender<Result<u64, String>>,
        parts: UnboundedReceiver<Part>,
    ) {
        let greeted = self.greet().await;
        let (link, answer) = match greeted {
            Ok((link, workers)) => (Some(link), Ok(workers)),
            Err(why) => (None, Err(why)),
        };
        // A coordinator that has given up needs no answer.
        let _ = to_muster.send(answer);
        if let Some(link) = link {
            self.follow(link, parts).await;
        }
    }

    /// Connects, and has the agent read the job.
    async fn greet(&self) -> Result<(Link, u64), String> {
        let mut link = Link::connect(&self.address, &self.secret, MAX_WORD_BYTES).await?;
        let workers = self.prepare(&mut link).await?;
        Ok((link, workers))
    }

    /// Has the agent read the job, and looks at its clock. Returns how many workers it may have.
    pub(super) async fn prepare(&self, link: &mut Link) -> Result<u64, String> {
        link.send(Order::Hello(Hello::own()).to_bytes());
        let workers = match timeout(HELLO, self.hear(link)).await {
            Ok(Ok(Word::Hello(hello, workers))) => {
                hello.check("it")?;
                workers
            }
            Ok(Ok(other)) => return Err(unexpected(&other)),
            Ok(Err(gone)) => return Err(gone.into()),
            Err(_) => return Err(format!("it said no hello within {} s", HELLO.as_secs())),
        };
        link.send(self.job.to_vec());
        match timeout(PREPARE, self.hear(link)).await {
            Ok(Ok(Word::Prepared(digest))) if digest == self.digest => {}
            Ok(Ok(Word::Prepared(_))) => {
                return Err(
                    "the script has other metrics or scenarios there; they must not depend on \
                            chance, on time or on the machine"
                        .to_owned(),
                );
            }
            Ok(Ok(other)) => return Err(unexpected(&other)),
            Ok(Err(gone)) => return Err(gone.into()),
            Err(_) => {
                let seconds = PREPARE.as_secs();
                return Err(format!("the script was not read within {seconds} s"));
            }
        }
        for _ in 0..FIRST_PINGS {
            link.send(Order::Ping(now_nanos()).to_bytes());
            match timeout(HELLO, self.hear(link)).await {
                Ok(Ok(Word::Pong(sent, there))) => self.note_pong(sent, there),
                Ok(Ok(other)) => return Err(unexpected(&other)),
                Ok(Err(gone)) => return Err(gone.into()),
                Err(_) => return Err("it does not answer any more".to_owned()),
            }
        }
        Ok(workers)
    }

    async fn hear(&self, link: &mut Link) -> Result<Word, Gone> {
        let frame = link.receive().await?;
        Word::read(&frame, &self.registry).map_err(|error| Gone::Broken(error.to_string()))
    }

    /// Waits for the run, follows it, and tells how it ends.
    async fn follow(&self, mut link: Link, mut parts: UnboundedReceiver<Part>) {
        let mut broken = None;
        let beginning = loop {
            tokio::select! {
                part = parts.recv() => match part {
                    Some(Part::Begin(beginning)) => break beginning,
                    Some(Part::TakeOver(..)) => {}
                    None => return,
                },
                why = self.measure(&mut link), if broken.is_none() => broken = Some(why),
            }
        };
        let mut run = Following {
            groups: vec![beginning.begin.workers.clone()],
            undone: beginning.begin.workers.iter().copied().collect(),
            start: 0,
            deadline: None,
            beginning,
        };
        link.send(Order::Begin(run.beginning.begin.clone()).to_bytes());
        let result = match broken {
            Some(why) => Err(why),
            None => self.lead(&mut link, &mut parts, &mut run).await,
        };
        // What is dealt to this agent from here on is lost as well.
        parts.close();
        while let Ok(part) = parts.try_recv() {
            if let Part::TakeOver(workers, _) = part {
                run.add(workers);
            }
        }
        drop(link);
        let why = match result {
            Err(gone) => gone,
            Ok(()) if run.undone.is_empty() => return,
            Ok(()) => Gone::Broken("its workers ended without a report".to_owned()),
        };
        if run.beginning.on_loss == OnLoss::TakeOver {
            self.wait_until_idle(&why, run.beginning.commands.clone())
                .await;
        }
        // A lead that has gone needs no telling.
        let _ = run.beginning.to_lead.send(Message::Lost(Lost {
            agent: self.address.clone(),
            groups: run.groups,
            why: why.to_string(),
            on_loss: run.beginning.on_loss,
        }));
    }

    /// Waits until the agent does nothing any more, so that nobody takes over what it still does.
    ///
    /// One that was silent for as long as this side waits has stopped, for it waits less. Of a connection that
    /// broke it may not know yet: it is asked again until it says that it is free, or nobody is there, or its
    /// own patience must be over.
    async fn wait_until_idle(&self, why: &Gone, mut commands: watch::Receiver<Command>) {
        if matches!(why, Gone::Silent(_)) {
            return;
        }
        let ask = async {
            while !self.is_idle().await {
                sleep(PING).await;
            }
        };
        let ends = commands.wait_for(|command| *command == Command::Cut);
        tokio::select! {
            _ = timeout(AGENT_SILENCE + SPARE, ask) => {}
            _ = ends => {}
        }
    }

    /// Whether it is known that the agent has no run.
    async fn is_idle(&self) -> bool {
        let stream = match TcpStream::connect(&self.address).await {
            Ok(stream) => stream,
            Err(error) => return error.kind() == ErrorKind::ConnectionRefused,
        };
        let Ok(mut link) = Link::initiate(stream, &self.secret, MAX_WORD_BYTES).await else {
            return false;
        };
        link.send(Order::Hello(Hello::own()).to_bytes());
        matches!(self.hear(&mut link).await, Ok(Word::Hello(..)))
    }

    /// Measures the way there and back again and again. Returns why it cannot any more.
    async fn measure(&self, link: &mut Link) -> Gone {
        let mut ticks = interval(PING);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => link.send(Order::Ping(now_nanos()).to_bytes()),
                word = self.hear(link) => match word {
                    Ok(Word::Pong(sent, there)) => self.note_pong(sent, there),
                    Ok(other) => return Gone::Broken(unexpected(&other)),
                    Err(gone) => return gone,
                }
            }
        }
    }

    fn note_pong(&self, sent: u64, there: u64) {
        self.clocks().note(sent, there, now_nanos());
    }

    fn clocks(&self) -> MutexGuard<'_, Clocks> {
        // Nobody panics who holds it.
        self.clocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on what the lead says, and what the workers say.
    async fn lead(
        &self,
        link: &mut Link,
        parts: &mut UnboundedReceiver<Part>,
        run: &mut Following,
    ) -> Result<(), Gone> {
        let mut commands = run.beginning.commands.clone();
        // What was said before this began.
        commands.mark_changed();
        loop {
            tokio::select! {
                changed = commands.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let command = *commands.borrow_and_update();
                    self.command(link, command, run)?;
                }
                Some(part) = parts.recv() => {
                    if let Part::TakeOver(workers, resumed) = part {
                        link.send(Order::TakeOver(workers.clone(), resumed).to_bytes());
                        run.add(workers);
                    }
                }
                word = self.hear(link) => match word? {
                    Word::Pong(sent, there) => self.note_pong(sent, there),
                    Word::Told(message) => self.tell(message, run)?,
                    Word::Ended => return Ok(()),
                    other => return Err(unexpected(&other).into()),
                },
                () = reached(run.deadline) => {
                    let text = "its workers did not end when they were told to";
                    return Err(Gone::Broken(text.to_owned()));
                }
            }
        }
    }

    fn command(&self, link: &Link, command: Command, run: &mut Following) -> Result<(), String> {
        match command {
            Command::Wait => {}
            Command::Start(at) => {
                run.start = at;
                let there = self.clocks().there(at);
                let there = there.ok_or("its clock makes no sense")?;
                link.send(Order::Start(there).to_bytes());
            }
            Command::Drain => link.send(Order::Drain.to_bytes()),
            Command::Cut => {
                link.send(Order::Cut.to_bytes());
                run.deadline = Some(Instant::now() + CUT);
            }
        }
        Ok(())
    }

    /// Tells the lead what a worker said, in this process's time.
    fn tell(&self, mut message: Message, run: &mut Following) -> Result<(), String> {
        match &mut message {
            Message::Interval(report) | Message::Done(report) => {
                if !run.undone.contains(&report.worker) {
                    return Err("it reports what others do".to_owned());
                }
                report.move_clock(0, run.start);
            }
            Message::Warning(text) | Message::Error(text) => {
                *text = format!("agent {}: {text}", self.address);
            }
            Message::Failed(why) => *why = format!("agent {}: {why}", self.address),
            Message::Ready | Message::Aborted(_) | Message::MarkedFailed | Message::Lost(_) => {}
        }
        if let Message::Done(report) = &message {
            run.undone.remove(&report.worker);
        }
        // A lead that has gone needs no telling.
        let _ = run.beginning.to_lead.send(message);
        Ok(())
    }
}

/// A run that an agent takes part in.
struct Following {
    beginning: Box<Beginning>,
    /// Workers that count iterations together.
    groups: Vec<Vec<u64>>,
    /// Those that have not said that they are done.
    undone: BTreeSet<u64>,
    /// When it began; 0 before.
    start: u64,
    /// When the agent must be done.
    deadline: Option<Instant>,
}

impl Following {
    /// Notes that the agent has these, too.
    fn add(&mut self, workers: Vec<u64>) {
        self.undone.extend(&workers);
        self.groups.push(workers);
    }
}

pub(super) async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// What is told of a word out of turn.
fn unexpected(word: &Word) -> String {
    match word {
        Word::Busy => "it is busy with another run; an agent serves one at a time".to_owned(),
        Word::Refused(why) => why.clone(),
        _ => "it spoke out of turn; is it the same program?".to_owned(),
    }
}

/// Bytes of one report: boards of a hundred sinks with exact values, and many checks.
const MAX_WORD_BYTES: usize = 64 * 1024 * 1024;
/// For the first word, and for answers that take no work.
const HELLO: Duration = Duration::from_secs(10);
/// Looks at the clock there before the run, of which the best counts; more follow while `setup` runs.
const FIRST_PINGS: usize = 5;
/// For an agent to stop what it does.
const SPARE: Duration = Duration::from_millis(500);
/// The top level of a script may take a minute.
const PREPARE: Duration = Duration::from_secs(90);
/// For workers that are told to end at once: scripts are interrupted, connections dropped.
pub(super) const CUT: Duration = Duration::from_secs(30);
const PING: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::link::{LEAD_SILENCE, mute};
    use tokio::io::{DuplexStream, duplex};
    use tokio::sync::mpsc::unbounded_channel;

    fn attendant() -> Attendant {
        Attendant {
            address: "127.0.0.1:1".to_owned(),
            secret: Secret::new([3; 32]),
            registry: Arc::new(Registry::new()),
            job: Arc::new([]),
            digest: b"digest".to_vec(),
            clocks: Arc::default(),
        }
    }

    /// Both ends of a connection: the coordinator's and the agent's.
    async fn connected() -> (Link, Link) {
        let (here, there) = duplex(1 << 20);
        let secret = Secret::new([3; 32]);
        let own = secret.clone();
        let agent = tokio::spawn(async move { Link::accept(there, &own, MAX_WORD_BYTES).await });
        let link = Link::initiate(here, &secret, MAX_WORD_BYTES).await;
        (link.unwrap(), agent.await.unwrap().unwrap())
    }

    fn say(link: &Link, word: &Word) {
        link.send(word.to_plain_bytes());
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_is_there_and_gives_no_answer_is_told_at_each_step() {
        for (steps, why) in [
            (0, "no hello within 10 s"),
            (1, "not read within 90 s"),
            (2, "does not answer any more"),
        ] {
            let (mut link, agent) = connected().await;
            if steps > 0 {
                say(&agent, &Word::Hello(Hello::own(), 2));
            }
            if steps > 1 {
                say(&agent, &Word::Prepared(b"digest".to_vec()));
            }
            let told = attendant().prepare(&mut link).await.unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }

    /// Follows a run of one worker, and returns what the lead is told.
    async fn lost(link: Link) -> Lost {
        let (to_attendant, parts) = unbounded_channel();
        let (to_lead, mut told) = unbounded_channel();
        let (_commands, followed) = watch::channel(Command::Wait);
        let begin = Begin {
            workers: vec![4],
            of: 5,
            data: None,
        };
        let beginning = Beginning {
            begin,
            on_loss: OnLoss::TakeOver,
            commands: followed,
            to_lead,
        };
        let part = Part::Begin(Box::new(beginning));
        to_attendant.send(part).unwrap();
        attendant().follow(link, parts).await;
        match told.recv().await {
            Some(Message::Lost(lost)) => lost,
            other => panic!("{other:?}"),
        }
    }

    /// The coordinator's end, and that of an agent that says nothing.
    async fn connected_to_mute() -> (Link, DuplexStream) {
        let (here, there) = duplex(1 << 20);
        let secret = Secret::new([3; 32]);
        let agent = tokio::spawn(mute(there, secret.clone()));
        let link = Link::initiate(here, &secret, MAX_WORD_BYTES).await;
        (link.unwrap(), agent.await.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_stops_without_closing_is_lost_after_the_silence() {
        let (link, _held) = connected_to_mute().await;
        let begin = Instant::now();
        let lost = lost(link).await;
        assert!(lost.why.contains("nothing was heard"), "{}", lost.why);
        assert_eq!(lost.groups, [[4]]);
        // It has given up before: others may take over at once.
        assert_eq!(begin.elapsed(), LEAD_SILENCE);
    }

    #[tokio::test]
    async fn an_agent_whose_process_ended_is_lost_at_once() {
        let (link, there) = connected_to_mute().await;
        drop(there);
        // Nobody listens at its address, so that there is nothing to wait for.
        let lost = lost(link).await;
        assert!(lost.why.contains("closed"), "{}", lost.why);
    }
}
