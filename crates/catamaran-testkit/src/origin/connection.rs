//! One connection of a scripted origin.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use super::reply::{Ending, Reply, Step};
use super::{Plan, Script, Service, State};
use crate::client::reset_on_close;
use crate::message::Request;
use crate::wire::{WireError, WireReader, not_closed};

/// Serves the connection to its end and says why it ended.
pub(super) fn serve(plan: &Plan, state: &State, id: u64, stream: TcpStream) -> WireError {
    // A socket that broke between accept and here shows itself at the first read.
    stream.set_nodelay(true).ok();
    match &plan.service {
        Service::Tcp(tunnel) => {
            tunnel(stream);
            WireError::Closed
        }
        Service::Http(script) => {
            let mut connection = Connection {
                plan,
                state,
                script,
                id,
                reader: match plan.keeps_records {
                    true => WireReader::recording(stream),
                    false => WireReader::new(stream),
                },
            };
            let ended = connection.run();
            connection.record(None);
            ended
        }
    }
}

struct Connection<'a> {
    plan: &'a Plan,
    state: &'a State,
    script: &'a Script,
    id: u64,
    reader: WireReader<TcpStream>,
}

/// Why a connection is not used for another request.
enum Stop {
    /// It broke.
    Broken(WireError),
    /// The script ended it.
    Scripted,
}

impl From<WireError> for Stop {
    fn from(error: WireError) -> Self {
        Self::Broken(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.into())
    }
}

impl Connection<'_> {
    fn run(&mut self) -> WireError {
        for index in 0.. {
            match self.exchange(index) {
                Ok(()) => {}
                Err(Stop::Broken(error)) => return error,
                Err(Stop::Scripted) => break,
            }
        }
        WireError::Closed
    }

    fn exchange(&mut self, index: usize) -> Result<(), Stop> {
        self.wait_for_bytes(index)?;
        let mut request = Request::read_head(&mut self.reader, index)?;
        if request.expects_continue() && !self.plan.answers_early {
            self.stream().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut is_read = false;
        if !self.plan.answers_early {
            self.read_body(&mut request)?;
            is_read = true;
        }
        let reply = (self.script)(&request);
        self.play(&reply, request, is_read)
    }

    fn play(&mut self, reply: &Reply, mut request: Request, is_read: bool) -> Result<(), Stop> {
        let mut is_read = is_read;
        for step in reply.steps(&request.method) {
            match step {
                Step::Send(bytes) => self.stream().write_all(&bytes)?,
                Step::Pause(pause) => thread::sleep(pause),
                Step::ReadBody if is_read => {}
                Step::ReadBody => {
                    self.read_body(&mut request)?;
                    is_read = true;
                }
                Step::Tunnel(tunnel) => {
                    tunnel(self.stream().try_clone()?);
                    return Err(Stop::Scripted);
                }
            }
        }
        match reply.ending {
            Ending::Keep if request.keeps_alive() => Ok(()),
            Ending::Keep | Ending::Close => Err(Stop::Scripted),
            Ending::Reset => {
                // The clone kept for `close_connections` would hold the reset back.
                self.state.open().remove(&self.id);
                reset_on_close(self.stream())?;
                Err(Stop::Scripted)
            }
            Ending::HalfClose => {
                self.stream().shutdown(Shutdown::Write)?;
                self.reader.read_to_end()?;
                Err(Stop::Scripted)
            }
            Ending::Hang => {
                self.reader.read_to_end()?;
                Err(Stop::Scripted)
            }
        }
    }

    /// Reads the body, records the request and counts a POST as committed.
    fn read_body(&mut self, request: &mut Request) -> Result<(), Stop> {
        let body = self.reader.read_body(request.framing).map_err(not_closed)?;
        request.body = body;
        if !self.plan.keeps_records {
            return Ok(());
        }
        if request.method == "POST" {
            let mut records = self.state.records();
            *records
                .commits
                .entry(request.body.content.clone())
                .or_default() += 1;
        }
        self.record(Some(request.clone()));
        Ok(())
    }

    fn wait_for_bytes(&self, index: usize) -> Result<(), Stop> {
        if !self.reader.buffered().is_empty() {
            return Ok(());
        }
        let stream = self.stream();
        if index > 0 {
            stream.set_read_timeout(self.plan.idle)?;
        }
        let peeked = stream.peek(&mut [0]);
        if index > 0 {
            stream.set_read_timeout(None)?;
        }
        match peeked {
            Ok(0) => Err(Stop::Broken(WireError::Closed)),
            Ok(_) if index > 0 && self.plan.drops_reused => Err(Stop::Scripted),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Stop::Scripted),
            Err(error) => Err(error.into()),
        }
    }

    fn record(&mut self, request: Option<Request>) {
        if !self.plan.keeps_records {
            return;
        }
        let bytes = self.reader.take_recorded();
        let mut records = self.state.records();
        let recording = records.connections.entry(self.id).or_default();
        recording.bytes.extend_from_slice(&bytes);
        recording.requests.extend(request);
        drop(records);
        self.state.changed.notify_all();
    }

    const fn stream(&self) -> &TcpStream {
        self.reader.inner()
    }
}
