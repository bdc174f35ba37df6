//! No byte ever crosses from one flow to another, however flows die while pipes hold their bytes.
//!
//! In each round two flows with streams of their own share the pipes of one worker. The victim's
//! receiver stalls, so that a pipe is full of its bytes when it dies; the survivor must then get
//! its own stream and nothing else, and so must all that come after.

use crate::balancer::Balancer;
use crate::eventually;
use crate::trial::{open_pipes, rounds};
use catamaran_testkit::{Client, Origin, TagChecker, TaggedStream, WireError};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::Duration;

/// Length of a survivor: two buffers of 64 KiB, which make a TCP flow count as bulky, and above what
/// makes an HTTP body worth a pipe (128 KiB still to come).
const BYTES: usize = 448 * 1024;
/// Length of a victim: more than even sockets with little room take in once they have grown.
const LONG: usize = 2 * 1024 * 1024;
/// Where the receiver of a victim stops reading: its flow is in a pipe by then.
const STALL: usize = 160 * 1024;
/// What of a stream the sender of a victim still owes when it breaks off.
const OWED: usize = 148 * 1024;
/// Streams made in advance. The flows of one moment all have different ones.
const OWNERS: usize = 16;

static STREAMS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let owners = 0..u32::try_from(OWNERS).expect("a small number");
    owners
        .map(|owner| TaggedStream::new(owner).take(LONG))
        .collect()
});

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Http,
    Tcp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Download,
    Upload,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    ClientResets,
    ClientCloses,
    ServerResets,
}

/// What a server is to do once it has sent all but [`OWED`] or received [`STALL`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Goes,
    Stalls,
    Resets,
}

/// What sockets take in of what nobody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Little,
    Much,
}

/// One stream on its way.
#[derive(Clone, Copy, Debug)]
struct Flow {
    mode: Mode,
    direction: Direction,
    owner: usize,
    fate: Fate,
    len: usize,
}

impl Flow {
    fn head(&self) -> String {
        let (direction, fate) = (self.direction, self.fate);
        let target = format!("/{direction:?}/{}/{fate:?}/{}", self.owner, self.len);
        match (self.mode, self.direction) {
            (Mode::Tcp, _) => format!("TCP {target} -\r\n\r\n"),
            (Mode::Http, Direction::Download) => {
                format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
            }
            (Mode::Http, Direction::Upload) => {
                format!(
                    "PUT {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
                    self.len
                )
            }
        }
    }

    fn parse(head: &[u8]) -> Self {
        let head = String::from_utf8_lossy(head);
        let words: Vec<_> = head.split([' ', '/']).collect();
        Self {
            mode: if words[0] == "TCP" {
                Mode::Tcp
            } else {
                Mode::Http
            },
            direction: if words[2] == "Upload" {
                Direction::Upload
            } else {
                Direction::Download
            },
            owner: words[3].parse().unwrap(),
            len: words[5].parse().unwrap(),
            fate: match words[4] {
                "Stalls" => Fate::Stalls,
                "Resets" => Fate::Resets,
                _ => Fate::Goes,
            },
        }
    }

    fn stream(&self) -> &'static [u8] {
        &STREAMS[self.owner][..self.len]
    }

    /// Says where `bytes`, received after `offset` others, are not this flow's.
    fn check(&self, offset: usize, bytes: &[u8]) -> Result<(), String> {
        if self.stream().get(offset..offset + bytes.len()) == Some(bytes) {
            return Ok(());
        }
        let mut checker = TagChecker::new(u32::try_from(self.owner).expect("a small number"));
        checker
            .check(&self.stream()[..offset.min(self.len)])
            .unwrap();
        match checker.check(bytes) {
            Err(foreign) => Err(format!("{self:?}: {foreign}")),
            Ok(()) => Err(format!("{self:?}: more than the whole stream")),
        }
    }

    /// Receives up to `until` bytes of the stream; stops early, without error, when it breaks.
    fn receive(
        &self,
        connection: &mut Client,
        offset: &mut usize,
        until: usize,
    ) -> Result<Option<WireError>, String> {
        while *offset < until {
            match connection.receive_some() {
                Ok(Some(bytes)) => {
                    self.check(*offset, &bytes)?;
                    *offset += bytes.len();
                }
                Ok(None) => return Ok(Some(WireError::Closed)),
                Err(error) => return Ok(Some(error)),
            }
        }
        Ok(None)
    }
}

/// What servers received that they should not have got.
type Findings = Arc<Mutex<Vec<String>>>;

fn server(findings: &Findings) -> impl Fn(TcpStream) + Send + Sync + use<> {
    let findings = Arc::clone(findings);
    move |stream| {
        let mut connection = Client::from_stream(stream).unwrap();
        while let Ok(head) = connection.receive_until(b"\r\n\r\n") {
            let flow = Flow::parse(&head);
            let is_whole = match flow.direction {
                Direction::Download => serve_download(&mut connection, &flow),
                Direction::Upload => {
                    serve_upload(&mut connection, &flow).unwrap_or_else(|foreign| {
                        findings.lock().unwrap().push(foreign);
                        false
                    })
                }
            };
            if !is_whole || flow.mode == Mode::Tcp {
                break;
            }
        }
    }
}

/// Sends a stream; says whether it was sent whole.
fn serve_download(connection: &mut Client, flow: &Flow) -> bool {
    let end = match flow.fate {
        Fate::Goes | Fate::Stalls => flow.len,
        Fate::Resets => flow.len - OWED,
    };
    let head = match flow.mode {
        Mode::Http => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", flow.len),
        Mode::Tcp => String::new(),
    };
    let is_sent =
        connection.send(head.as_bytes()).is_ok() && connection.send(&flow.stream()[..end]).is_ok();
    if flow.fate == Fate::Resets {
        reset(connection);
    }
    is_sent && end == flow.len
}

/// Receives a stream and confirms it; says whether it came whole, or what came instead.
fn serve_upload(connection: &mut Client, flow: &Flow) -> Result<bool, String> {
    let mut offset = 0;
    let mut ended = None;
    if flow.fate != Fate::Goes {
        ended = flow.receive(connection, &mut offset, STALL)?;
    }
    if flow.fate == Fate::Resets {
        reset(connection);
        return Ok(false);
    }
    if flow.fate == Fate::Stalls {
        thread::sleep(Duration::from_millis(20));
    }
    if ended.is_none() {
        ended = flow.receive(connection, &mut offset, flow.len)?;
    }
    let answer: &[u8] = match flow.mode {
        Mode::Http => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Mode::Tcp => b"ok",
    };
    Ok(ended.is_none() && connection.send(answer).is_ok())
}

fn reset(connection: &Client) {
    let stream = connection.stream().try_clone().unwrap();
    Client::from_stream(stream).unwrap().reset().unwrap();
}

/// The balancer between both kinds of clients and servers.
struct Bench {
    balancer: Balancer,
    /// The ordinary frontend.
    wide: SocketAddr,
    /// The frontend whose servers have little room.
    narrow: SocketAddr,
    mode: Mode,
    _origins: [Origin; 2],
    findings: Findings,
    next_owner: AtomicUsize,
}

impl Bench {
    fn start(mode: Mode) -> Self {
        let findings = Findings::default();
        let wide = Origin::tcp(Arc::new(server(&findings))).start().unwrap();
        let tight = Origin::tcp(Arc::new(server(&findings)))
            .narrow()
            .start()
            .unwrap();
        let protocol = match mode {
            Mode::Http => "http",
            Mode::Tcp => "tcp",
        };
        let balancer = Balancer::start(&format!(
            "[process]\nworkers = 1\n\
             [frontend.wide]\nprotocol = \"{protocol}\"\nlisten = \"127.0.0.1:0\"\nbackend = \"wide\"\n\
             [frontend.narrow]\nprotocol = \"{protocol}\"\nlisten = \"127.0.0.1:0\"\nbackend = \"narrow\"\n\
             [backend.wide]\nservers = [\"{}\"]\noutlier = false\n\
             [backend.narrow]\nservers = [\"{}\"]\noutlier = false\n",
            wide.addr(),
            tight.addr()
        ));
        Self {
            wide: balancer.addr_of("wide"),
            narrow: balancer.addr_of("narrow"),
            balancer,
            mode,
            _origins: [wide, tight],
            findings,
            next_owner: AtomicUsize::new(0),
        }
    }

    fn flow(&self, direction: Direction, fate: Fate, len: usize) -> Flow {
        let owner = self.next_owner.fetch_add(1, Ordering::Relaxed) % OWNERS;
        Flow {
            mode: self.mode,
            direction,
            owner,
            fate,
            len,
        }
    }

    /// Begins a flow whose receiver stalls half way. With little `room` its pipe is full then.
    fn begin_victim(
        &self,
        direction: Direction,
        death: Death,
        room: Room,
    ) -> (Client, Flow, usize) {
        let fate = match death {
            Death::ServerResets => Fate::Resets,
            Death::ClientResets | Death::ClientCloses => Fate::Stalls,
        };
        let len = match room {
            Room::Little => LONG,
            Room::Much => BYTES,
        };
        let flow = self.flow(direction, fate, len);
        let mut offset = 0;
        let mut client = match (direction, room) {
            (Direction::Download, Room::Little) => Client::connect_narrow(self.wide),
            (Direction::Upload, Room::Little) => Client::connect(self.narrow),
            (_, Room::Much) => Client::connect(self.wide),
        }
        .unwrap();
        client.send(flow.head().as_bytes()).unwrap();
        if direction == Direction::Upload {
            // The server may reset before all is sent.
            client.send(&flow.stream()[..len - 1000]).ok();
            return (client, flow, offset);
        }
        if self.mode == Mode::Http {
            client.receive_until(b"\r\n\r\n").unwrap();
        }
        flow.receive(&mut client, &mut offset, STALL).unwrap();
        (client, flow, offset)
    }

    /// One round: a victim dies while a survivor is half way.
    fn round(&self, number: usize, kept: &mut Option<Client>) {
        let direction = [Direction::Download, Direction::Upload][number % 2];
        let death = [
            Death::ClientResets,
            Death::ClientCloses,
            Death::ServerResets,
        ][number / 2 % 3];
        // Full pipes are dear to make: every fourth time.
        let room = if (number / 6).is_multiple_of(4) {
            Room::Little
        } else {
            Room::Much
        };
        let (mut client, victim, mut seen) = self.begin_victim(direction, death, room);
        let survivor = self.flow(direction, Fate::Goes, BYTES);
        let mut other = kept
            .take()
            .unwrap_or_else(|| Client::connect(self.wide).unwrap());
        other.send(survivor.head().as_bytes()).unwrap();
        let mut offset = BYTES / 2;
        match direction {
            Direction::Upload => other.send(&survivor.stream()[..offset]).unwrap(),
            Direction::Download => {
                if self.mode == Mode::Http {
                    other.receive_until(b"\r\n\r\n").unwrap();
                }
                offset = 0;
                assert_eq!(
                    survivor.receive(&mut other, &mut offset, BYTES / 2),
                    Ok(None)
                );
            }
        }
        match death {
            Death::ClientResets => client.reset().unwrap(),
            Death::ServerResets if direction == Direction::Download => {
                let end = victim.receive(&mut client, &mut seen, victim.len).unwrap();
                assert!(end.is_some(), "a cut stream came whole");
                assert!(seen <= victim.len - OWED);
            }
            Death::ClientCloses | Death::ServerResets => drop(client),
        }
        match direction {
            Direction::Upload => {
                other.send(&survivor.stream()[offset..]).unwrap();
                self.expect_ok(&mut other);
            }
            Direction::Download => {
                assert_eq!(survivor.receive(&mut other, &mut offset, BYTES), Ok(None));
                assert_eq!(offset, BYTES);
            }
        }
        if self.mode == Mode::Http {
            *kept = Some(other);
        } else {
            assert_eq!(other.receive_some(), Ok(None));
        }
    }

    fn expect_ok(&self, client: &mut Client) {
        match self.mode {
            Mode::Http => assert_eq!(client.receive_response("PUT").unwrap().text(), "ok"),
            Mode::Tcp => assert_eq!(client.receive(2).unwrap(), b"ok"),
        }
    }

    /// Rounds on four threads at once.
    fn run(&self, count: usize) {
        const THREADS: usize = 4;
        thread::scope(|scope| {
            for index in 0..THREADS {
                scope.spawn(move || {
                    let mut kept = None;
                    for number in (index..count).step_by(THREADS) {
                        // Each thread sees every kind, the four of them different ones at a time.
                        self.round(number / THREADS + index, &mut kept);
                    }
                });
            }
        });
        let foreign = self.findings.lock().unwrap();
        assert!(foreign.is_empty(), "{}: {}", foreign.len(), foreign[0]);
    }

    /// Shows that the rounds mean something: a stalled flow does keep its bytes in a pipe.
    fn assert_stalled_flows_hold_pipes(&self, directions: &[Direction]) {
        let mut victims = Vec::new();
        for (before, direction) in directions.iter().enumerate() {
            assert_eq!(open_pipes(&self.balancer.process), before);
            victims.push(self.begin_victim(*direction, Death::ClientCloses, Room::Little));
            eventually("a pipe in use", || {
                (open_pipes(&self.balancer.process) > before).then_some(())
            });
        }
    }
}

#[test]
fn no_byte_of_an_http_body_crosses_to_another() {
    let bench = Bench::start(Mode::Http);
    bench.assert_stalled_flows_hold_pipes(&[Direction::Download, Direction::Upload]);
    bench.run(rounds(10_000));
}

#[test]
fn no_byte_of_a_tcp_stream_crosses_to_another() {
    let bench = Bench::start(Mode::Tcp);
    // An upload counts as bulky only when its sender is ahead of us, which none can be made to be.
    bench.assert_stalled_flows_hold_pipes(&[Direction::Download]);
    bench.run(rounds(10_000));
}
