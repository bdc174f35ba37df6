//! What coordinator and agent say to each other.

use super::PROTOCOL;
use super::codec::{Malformed, Reader, Writer};
use super::job::Job;
use super::report;
use crate::engine::{Message, Resumed};
use crate::metric::Registry;

/// Who speaks. Its form is the same in all versions, so that any two can tell each other theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) protocol: u64,
    /// Of the program.
    pub(super) version: String,
}

impl Hello {
    pub(super) fn own() -> Self {
        Self {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Why these two cannot work together; `where_` is who says this hello.
    pub(super) fn check(&self, where_: &str) -> Result<(), String> {
        let own = Self::own();
        if *self == own {
            return Ok(());
        }
        Err(format!(
            "{where_} is catamaran {} (agents' protocol {}), and this is {} ({}); run the same version on all \
             machines",
            self.version, self.protocol, own.version, own.protocol
        ))
    }

    fn write(&self, writer: &mut Writer) {
        writer.text(MAGIC);
        writer.number(self.protocol);
        writer.text(&self.version);
    }

    /// What follows in another version is left alone.
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if reader.text()? != MAGIC {
            return Err(Malformed);
        }
        Ok(Self {
            protocol: reader.number()?,
            version: reader.text()?.chars().take(MAX_VERSION).collect(),
        })
    }
}

/// What the coordinator says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Hello(Hello),
    Job(Job),
    /// Is answered at once, to measure the way.
    Ping(u64),
    Begin(Begin),
    /// When the agent's clock says this.
    Start(u64),
    Drain,
    Cut,
    /// These workers of an agent that was lost go on here.
    TakeOver(Vec<u64>, Resumed),
}

/// Which workers an agent has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Begin {
    pub(super) workers: Vec<u64>,
    /// All workers of all agents.
    pub(super) of: u64,
    /// What `setup` returned, as JSON.
    pub(super) data: Option<String>,
}

impl Order {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        match self {
            Self::Hello(hello) => {
                writer.byte(0);
                hello.write(&mut writer);
            }
            Self::Job(job) => {
                writer.byte(1);
                job.write(&mut writer);
            }
            Self::Ping(number) => {
                writer.byte(2);
                writer.number(*number);
            }
            Self::Begin(begin) => {
                writer.byte(3);
                writer.list(begin.workers.iter(), |writer, &worker| {
                    writer.number(worker);
                });
                writer.number(begin.of);
                writer.list(begin.data.iter(), |writer, data| writer.text(data));
            }
            Self::Start(nanos) => {
                writer.byte(4);
                writer.number(*nanos);
            }
            Self::Drain => writer.byte(5),
            Self::Cut => writer.byte(6),
            Self::TakeOver(workers, resumed) => {
                writer.byte(7);
                for numbers in [workers, &resumed.begun, &resumed.asked] {
                    writer.list(numbers.iter(), |writer, &number| writer.number(number));
                }
            }
        }
        writer.into_bytes()
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let order = match reader.byte()? {
            0 => return Ok(Self::Hello(Hello::read(&mut reader)?)),
            1 => Self::Job(Job::read(&mut reader)?),
            2 => Self::Ping(reader.number()?),
            3 => Self::Begin(Begin {
                workers: reader.list(Reader::number)?,
                of: reader.number()?,
                data: reader.list(Reader::text)?.pop(),
            }),
            4 => Self::Start(reader.number()?),
            5 => Self::Drain,
            6 => Self::Cut,
            7 => Self::TakeOver(
                reader.list(Reader::number)?,
                Resumed {
                    begun: reader.list(Reader::number)?,
                    asked: reader.list(Reader::number)?,
                },
            ),
            _ => return Err(Malformed),
        };
        reader.end()?;
        Ok(order)
    }
}

/// What an agent says.
#[derive(Debug)]
pub(super) enum Word {
    /// And how many workers it may have.
    Hello(Hello, u64),
    /// It has another run.
    Busy,
    /// It cannot do this job, and why.
    Refused(String),
    /// It can; metrics and scenarios of its own reading.
    Prepared(Vec<u8>),
    /// What it was asked, and what its clock says.
    Pong(u64, u64),
    /// From a worker.
    Told(Message),
    /// All workers are done.
    Ended,
}

impl Word {
    /// `is_coarse` says of each sink whether its values are sent as counts.
    pub(super) fn to_bytes(&self, is_coarse: impl FnMut(usize, u64) -> bool) -> Vec<u8> {
        let mut writer = Writer::default();
        match self {
            Self::Hello(hello, workers) => {
                writer.byte(0);
                hello.write(&mut writer);
                writer.number(*workers);
            }
            Self::Busy => writer.byte(1),
            Self::Refused(why) => {
                writer.byte(2);
                writer.text(why);
            }
            Self::Prepared(digest) => {
                writer.byte(3);
                writer.bytes(digest);
            }
            Self::Pong(number, now) => {
                writer.byte(4);
                writer.number(*number);
                writer.number(*now);
            }
            Self::Told(message) => {
                writer.byte(5);
                write_message(&mut writer, message, is_coarse);
            }
            Self::Ended => writer.byte(6),
        }
        writer.into_bytes()
    }

    /// Of a word without a report.
    pub(super) fn to_plain_bytes(&self) -> Vec<u8> {
        self.to_bytes(|_, _| false)
    }

    /// Reports are read as boards of `registry`.
    pub(super) fn read(bytes: &[u8], registry: &Registry) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let word = match reader.byte()? {
            0 => {
                let hello = Hello::read(&mut reader)?;
                // Another version may say no number, or something else.
                return Ok(Self::Hello(hello, reader.number().unwrap_or(0)));
            }
            1 => Self::Busy,
            2 => Self::Refused(reader.text()?),
            3 => Self::Prepared(reader.bytes()?.to_vec()),
            4 => Self::Pong(reader.number()?, reader.number()?),
            5 => Self::Told(read_message(&mut reader, registry)?),
            6 => Self::Ended,
            _ => return Err(Malformed),
        };
        reader.end()?;
        Ok(word)
    }
}

fn write_message(
    writer: &mut Writer,
    message: &Message,
    is_coarse: impl FnMut(usize, u64) -> bool,
) {
    match message {
        Message::Ready => writer.byte(0),
        Message::Failed(why) => {
            writer.byte(1);
            writer.text(why);
        }
        Message::Warning(text) => {
            writer.byte(2);
            writer.text(text);
        }
        Message::Aborted(why) => {
            writer.byte(3);
            writer.text(why);
        }
        Message::MarkedFailed => writer.byte(4),
        Message::Interval(report) => {
            writer.byte(5);
            report::write(writer, report, is_coarse);
        }
        Message::Done(report) => {
            writer.byte(6);
            report::write(writer, report, is_coarse);
        }
        Message::Error(text) => {
            writer.byte(7);
            writer.text(text);
        }
        // An agent has none itself.
        Message::Lost(lost) => {
            writer.byte(1);
            writer.text(&lost.why);
        }
    }
}

fn read_message(reader: &mut Reader<'_>, registry: &Registry) -> Result<Message, Malformed> {
    Ok(match reader.byte()? {
        0 => Message::Ready,
        1 => Message::Failed(reader.text()?),
        2 => Message::Warning(reader.text()?),
        3 => Message::Aborted(reader.text()?),
        4 => Message::MarkedFailed,
        5 => Message::Interval(report::read(reader, registry)?),
        6 => Message::Done(report::read(reader, registry)?),
        7 => Message::Error(reader.text()?),
        _ => return Err(Malformed),
    })
}

const MAGIC: &str = "catamaran load";
/// Characters of a version that are shown.
const MAX_VERSION: usize = 40;
