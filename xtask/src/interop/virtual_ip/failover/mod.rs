//! The case `failover`: how long clients wait when a node is lost, beside keepalived with HAProxy.
//!
//! 1,000 short requests a second, each with a connection of its own, 250 ms and one try. What is
//! told is the time from the event until the last request was begun that failed, and how many did.
//! The same machines, the same interval and the same priorities for both.
//!
//! Both sides suffer each round at the same time (but for SIGSTOP), in networks of their own, so that both
//! meet the same machine. `CATAMARAN_ROUNDS=full` plays 20 rounds of all events, a number plays as many;
//! `CATAMARAN_PARTS` names what to play, and leaves the rest out: `kill` or `10 ms` say, `second heartbeat`,
//! `answers`, `false alarms`.

mod alarm;
mod answers;
mod heartbeat;
pub(super) mod load;
mod side;

use std::process::{Child, Stdio};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use self::load::{Order, Outcome};
use self::side::{Node, Side};
use super::lab::{Lab, PATIENCE, PLUGGED, Running, wait_for};
use super::pair;
use crate::shell;

/// What happens to the active node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Kill,
    Stop,
    /// Its link goes down.
    PowerOff,
    /// The switch drops it silently: its own link stays up.
    Unplugged,
    /// What it sends is lost, what is sent to it arrives.
    Mute,
    /// SIGSTOP of everything.
    Freeze,
    /// Its server dies.
    NoServer,
}

/// Events, and what is asked of them: the longest median time at an interval.
const EVENTS: [(Event, &str); 7] = [
    (Event::Kill, "kill -9 of everything"),
    (Event::Stop, "clean stop"),
    (Event::PowerOff, "link down"),
    (Event::Unplugged, "unplugged at the switch"),
    (Event::Mute, "cut in one direction"),
    (Event::Freeze, "SIGSTOP of everything"),
    (Event::NoServer, "its server dies"),
];

/// Times and losses of one event with one side.
struct Row {
    side: Side,
    what: &'static str,
    interval_ms: u32,
    recoveries: Vec<Duration>,
    lost: Vec<usize>,
}

/// Runs the case.
pub(in crate::interop) fn run() -> Result<()> {
    let program = pair::build()?;
    if is_asked("second heartbeat") {
        heartbeat::run(&program)?;
    }
    let mut rows = Vec::new();
    for interval_ms in [100, 10] {
        for (event, what) in EVENTS {
            if event.is_played(what, interval_ms) {
                rows.extend(measure(&program, event, what, interval_ms)?);
            }
        }
    }
    if is_asked("answers") {
        answers::run(&program)?;
    }
    if is_asked("false alarms") {
        alarm::run(&program)?;
    }
    shell::say(&table(&rows));
    judge(&rows)
}

/// Whether a part of the case is to be played.
fn is_asked(part: &str) -> bool {
    std::env::var(PARTS).map_or(true, |asked| part.contains(&asked))
}

/// The event, and what it costs clients when it is over; by side.
fn measure(program: &str, event: Event, what: &'static str, interval_ms: u32) -> Result<Vec<Row>> {
    let sides = [Side::Catamaran, Side::Keepalived];
    let row = |side, what| Row {
        side,
        what,
        interval_ms,
        recoveries: Vec::new(),
        lost: Vec::new(),
    };
    let mut rows = sides.map(|side| row(side, what));
    let mut healed = sides.map(|side| row(side, event.end()));
    for _ in 0..rounds() {
        let suffer = |side| suffer_once(program, side, event, interval_ms);
        // keepalived, with its real-time priority, keeps a core to itself for a second when it wakes.
        let blows = if event == Event::Freeze {
            sides.into_iter().map(suffer).collect::<Result<Vec<_>>>()?
        } else {
            at_once(sides.into(), suffer)?
        };
        for (index, (blow, end)) in blows.into_iter().enumerate() {
            rows[index].add(&blow.0, blow.1);
            if let Some(end) = end {
                healed[index].add(&end.0, end.1);
            }
        }
    }
    let rows = rows.into_iter().chain(healed);
    let rows: Vec<Row> = rows.filter(|row| !row.lost.is_empty()).collect();
    for row in &rows {
        shell::say(&row.line());
    }
    Ok(rows)
}

/// What clients saw, and when it happened.
type Blow = (Outcome, SystemTime);

/// One round of one side: the event, and its end if it has one.
fn suffer_once(
    program: &str,
    side: Side,
    event: Event,
    interval_ms: u32,
) -> Result<(Blow, Option<Blow>)> {
    let pair = Pair::start(program, side, interval_ms)?;
    let load = Load::begin(&pair.lab)?;
    let at = SystemTime::now();
    let pair = pair.suffer(event)?;
    let blow = (load.end()?, at);
    if !event.is_over_by_itself() {
        return Ok((blow, None));
    }
    let load = Load::begin(&pair.lab)?;
    let at = SystemTime::now();
    pair.heal(event)?;
    let end = (load.end()?, at);
    wait_for("exactly one active", PATIENCE, || {
        Ok(pair.lab.holders(V4)?.len() == 1)
    })?;
    Ok((blow, Some(end)))
}

/// Does all at the same time.
fn at_once<I: Send, O: Send>(all: Vec<I>, work: impl Fn(I) -> Result<O> + Sync) -> Result<Vec<O>> {
    std::thread::scope(|scope| {
        let work = &work;
        let spawn = |one| scope.spawn(move || work(one));
        let threads: Vec<_> = all.into_iter().map(spawn).collect();
        let join = |thread: ScopedJoinHandle<'_, Result<O>>| match thread.join() {
            Ok(result) => result,
            Err(_) => bail!("a round has panicked"),
        };
        threads.into_iter().map(join).collect()
    })
}

impl Event {
    /// The shorter interval is about noticing, the rest is the same; without a number of rounds only
    /// the commonest events are played.
    fn is_played(self, what: &str, interval_ms: u32) -> bool {
        if std::env::var_os(PARTS).is_some() {
            return is_asked(&format!("{what}, {interval_ms} ms"));
        }
        let is_common = matches!(self, Self::Kill | Self::Stop);
        let is_asked = std::env::var_os("CATAMARAN_ROUNDS").is_some();
        is_common || interval_ms == 100 && (is_asked || self == Self::Unplugged)
    }

    /// Whether the node is as it was when the event is over.
    const fn is_over_by_itself(self) -> bool {
        matches!(self, Self::Unplugged | Self::Mute | Self::Freeze)
    }

    const fn end(self) -> &'static str {
        match self {
            Self::Freeze => "SIGCONT",
            _ => "connected again",
        }
    }
}

/// Two nodes, of which `one` is active, and their servers.
struct Pair {
    lab: Lab,
    servers: Vec<Running>,
    one: Node,
    _two: Node,
}

impl Pair {
    /// A pair that is steady. With adverts every 10 ms a machine that is busy with other things moves
    /// the address now and then; then another pair is started.
    fn start(program: &str, side: Side, interval_ms: u32) -> Result<Self> {
        for _ in 1..STARTS {
            if let Ok(pair) = Self::try_start(program, side, interval_ms) {
                return Ok(pair);
            }
        }
        Self::try_start(program, side, interval_ms)
    }

    fn try_start(program: &str, side: Side, interval_ms: u32) -> Result<Self> {
        let lab = Lab::new(&["one", "two", "client"])?;
        let servers = vec![
            pair::start_server(&lab, program, "one")?,
            pair::start_server(&lab, program, "two")?,
        ];
        let one = side.start(&lab, program, "one", interval_ms)?;
        lab.wait_for_holder("one", V4)?;
        let two = side.start(&lab, program, "two", interval_ms)?;
        two.wait_for_peer()?;
        let is_steady = lab.stays("one", V4, Duration::from_secs(1));
        is_steady.with_context(|| format!("{}{}", one.texts(), two.texts()))?;
        Ok(Self {
            lab,
            servers,
            one,
            _two: two,
        })
    }

    fn suffer(mut self, event: Event) -> Result<Self> {
        match event {
            Event::Kill => self.one.kill()?,
            Event::Stop => self.one.stop()?,
            Event::PowerOff => self.lab.ip("one", "link set eth0 down")?,
            Event::Unplugged => self.lab.ip("switch", "link set one nomaster")?,
            Event::Mute => self.lab.tc("one", MUTE)?,
            Event::Freeze => self.one.signal(Signal::STOP),
            Event::NoServer => drop(self.servers.remove(0)),
        }
        Ok(self)
    }

    /// What was only cut off or stopped comes back.
    fn heal(&self, event: Event) -> Result<()> {
        match event {
            Event::Unplugged => self.lab.ip("switch", &format!("link set one {PLUGGED}")),
            Event::Mute => self.lab.tc("one", "qdisc del dev eth0 root"),
            Event::Freeze => {
                self.one.signal(Signal::CONT);
                Ok(())
            }
            Event::Kill | Event::Stop | Event::PowerOff | Event::NoServer => Ok(()),
        }
    }
}

/// The clients at work.
struct Load(Child);

impl Load {
    fn start(lab: &Lab, order: &Order) -> Result<Self> {
        let me = std::env::current_exe()?;
        let mut command = lab.command("client", me.to_str().context("the path is UTF-8")?);
        command
            .arg("interop-load")
            .arg(serde_json::to_string(order)?);
        Ok(Self(command.stdout(Stdio::piped()).spawn()?))
    }

    /// What is measured with; it has had answers for a second when this returns.
    fn begin(lab: &Lab) -> Result<Self> {
        let load = Self::start(
            lab,
            &Order {
                targets: vec![target(V4)?],
                rate: 1000,
                seconds: 4,
                flushes: false,
            },
        )?;
        std::thread::sleep(Duration::from_secs(1));
        Ok(load)
    }

    fn end(self) -> Result<Outcome> {
        let output = self.0.wait_with_output()?;
        if !output.status.success() {
            bail!("the load ended with {}", output.status);
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

impl Row {
    fn add(&mut self, outcome: &Outcome, at: SystemTime) {
        self.lost.push(outcome.lost(at));
        // Three seconds are as good as never.
        self.recoveries.push(outcome.recovery(at).unwrap_or(NEVER));
    }

    fn line(&self) -> String {
        let mut times = self.recoveries.clone();
        times.sort();
        let mut lost = self.lost.clone();
        lost.sort_unstable();
        let time = |time: Duration| match time {
            NEVER => "never".to_owned(),
            time => format!("{} ms", time.as_millis()),
        };
        let (middle, last) = (times.len() / 2, times.len() - 1);
        format!(
            "| {} | {} ms | {} | {} | {} | {} | {} | {} |",
            self.what,
            self.interval_ms,
            self.side.name(),
            time(times[middle]),
            time(times[last]),
            lost[middle],
            lost[last],
            times.len()
        )
    }

    fn median(&self) -> Duration {
        let mut times = self.recoveries.clone();
        times.sort();
        times[times.len() / 2]
    }
}

fn table(rows: &[Row]) -> String {
    let lines: Vec<String> = rows.iter().map(Row::line).collect();
    format!(
        "\n| what | interval | node | back after, median | worst | lost, median | worst | of |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n{}",
        lines.join("\n")
    )
}

/// Fails where ours is far from what is promised; a machine that is busy with other things must not
/// fail it, and there adverts every 10 ms do not hold.
fn judge(rows: &[Row]) -> Result<()> {
    let ours = rows.iter().filter(|row| row.side == Side::Catamaran);
    for row in ours.filter(|row| row.interval_ms == 100) {
        let median = row.median();
        ensure!(
            median < Duration::from_secs(2),
            "{} at {} ms: back only after {median:?}",
            row.what,
            row.interval_ms
        );
    }
    Ok(())
}

fn target(address: &str) -> Result<std::net::SocketAddr> {
    Ok(std::net::SocketAddr::new(address.parse()?, 80))
}

/// Rounds of each event.
fn rounds() -> usize {
    match std::env::var("CATAMARAN_ROUNDS") {
        Ok(rounds) if rounds == "full" => 20,
        Ok(rounds) => rounds.parse().unwrap_or(1),
        Err(_) => 1,
    }
}

const V4: &str = "10.9.0.100";
const V4_NET: &str = "10.9.0.100/24";
const V6: &str = "fd09::100";
const V6_NET: &str = "fd09::100/64";
const NEVER: Duration = Duration::MAX;
const PARTS: &str = "CATAMARAN_PARTS";
/// How often a pair is started until it is steady.
const STARTS: usize = 5;
/// Nothing fits into a bucket of one byte.
const MUTE: &str = "qdisc add dev eth0 root tbf rate 8bit burst 1 limit 1";
