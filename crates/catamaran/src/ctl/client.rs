//! Asks the admin API, over its unix socket or over TCP.

use super::failure::Failure;
use crate::args::DoorArgs;
use anyhow::{Context as _, ensure};
use catamaran_http1::{BodyReader, Limits, Parsed, RequestKind, ResponseHead};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the API is, and how to get in.
#[derive(Debug)]
pub(crate) struct Client {
    door: Door,
    token: Option<String>,
}

#[derive(Debug)]
enum Door {
    Unix(PathBuf),
    /// The authority of the URL.
    Tcp(String),
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Client {
    /// A client of the address if one is named, else of the socket, else of the first of the usual
    /// sockets that answers.
    pub(crate) fn open(door: &DoorArgs) -> Result<Self, Failure> {
        match &door.url {
            Some(url) => Ok(Self::of_url(url, door.token_file.as_deref())?),
            None => Self::of_socket(door.socket.as_deref()),
        }
    }

    /// A client of the socket, if one is named, else of the first of the usual places where one
    /// answers.
    fn of_socket(path: Option<&Path>) -> Result<Self, Failure> {
        let token = None;
        if let Some(path) = path {
            let door = Door::Unix(path.to_owned());
            return Ok(Self { door, token });
        }
        let paths = crate::admin::usual_paths();
        let answering = paths.iter().find(|path| UnixStream::connect(path).is_ok());
        match answering {
            Some(path) => Ok(Self {
                door: Door::Unix(path.clone()),
                token,
            }),
            None => {
                let is_closed_to_us = |path: &PathBuf| {
                    let denied = io::ErrorKind::PermissionDenied;
                    UnixStream::connect(path).is_err_and(|error| error.kind() == denied)
                };
                // One that belongs to another user is told as such, not as missing.
                if let Some(path) = paths.iter().find(|path| is_closed_to_us(path)) {
                    let door = Door::Unix(path.clone());
                    return Ok(Self { door, token });
                }
                let paths: Vec<_> = paths
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                Err(Failure::Unreachable(format!(
                    "no catamaran answers at {}; name its socket with `--socket PATH` or its \
                     address with `--url URL`, or start it with `catamaran run`",
                    paths.join(" or ")
                )))
            }
        }
    }

    /// A client of an address over TCP.
    fn of_url(url: &str, token_file: Option<&Path>) -> Result<Self, Failure> {
        let authority = url.strip_prefix("http://").ok_or_else(|| {
            Failure::Usage(format!(
                "`{url}` is no URL of the admin API; write http://ADDRESS:PORT"
            ))
        })?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let token = match token_file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("{}: cannot be read", path.display()))?;
                Some(text.trim().to_owned())
            }
        };
        Ok(Self {
            door: Door::Tcp(authority.to_owned()),
            token,
        })
    }

    /// What `GET path` answers.
    pub(crate) fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask("GET", path, None)?.json()
    }

    /// What `GET path` answers, as text.
    pub(crate) fn get_text(&self, path: &str) -> Result<String, Failure> {
        let answer = self.ask("GET", path, None)?;
        if answer.status != 200 {
            return Err(answer.refusal());
        }
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// What another method answers.
    pub(crate) fn change(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        self.ask(method, path, body)?.json()
    }

    /// Hands every line that `GET path` answers to `each`, until the process ends the answer or
    /// nothing has come for [`SILENCE`].
    pub(crate) fn stream(
        &self,
        path: &str,
        each: impl FnMut(&str) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let request = self.request("GET", path, None);
        let streamed = match &self.door {
            Door::Unix(path) => UnixStream::connect(path).map(|stream| {
                stream.set_read_timeout(Some(SILENCE))?;
                read_lines(stream, &request, each)
            }),
            Door::Tcp(authority) => connect(authority).map(|stream| {
                stream.set_read_timeout(Some(SILENCE))?;
                read_lines(stream, &request, each)
            }),
        };
        match streamed {
            Err(error) => Err(self.unreachable(&error)),
            Ok(Ok(None)) => Err(Failure::Unreachable(format!(
                "{}: it has ended",
                self.place()
            ))),
            Ok(Ok(Some(refused))) => Err(refused.refusal()),
            Ok(Err(error)) => Err(Failure::Other(error)),
        }
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, Failure> {
        let request = self.request(method, path, body);
        let answered = match &self.door {
            Door::Unix(path) => UnixStream::connect(path)
                .and_then(|stream| {
                    stream.set_read_timeout(Some(PATIENCE))?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    Ok(stream)
                })
                .map(|stream| exchange(stream, &request)),
            Door::Tcp(authority) => connect(authority)
                .and_then(|stream| {
                    stream.set_read_timeout(Some(PATIENCE))?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    Ok(stream)
                })
                .map(|stream| exchange(stream, &request)),
        };
        match answered {
            Err(error) => Err(self.unreachable(&error)),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Failure::Other(
                error.context(format!("{}: the answer could not be read", self.place())),
            )),
        }
    }

    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> String {
        let host = match &self.door {
            Door::Unix(_) => "localhost",
            Door::Tcp(authority) => authority,
        };
        let authorization = match &self.token {
            Some(token) => format!("Authorization: Bearer {token}\r\n"),
            None => String::new(),
        };
        let body = body.map(Value::to_string).unwrap_or_default();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{authorization}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let place = self.place();
        let remedy = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "; only root and the user of the process may open the socket: try `sudo`"
            }
            io::ErrorKind::NotFound => "; no socket is there: see `socket` under [admin]",
            io::ErrorKind::ConnectionRefused => "; nothing listens there any more",
            _ => "",
        };
        Failure::Unreachable(format!("{place}: no catamaran answers: {error}{remedy}"))
    }

    fn place(&self) -> String {
        match &self.door {
            Door::Unix(path) => path.display().to_string(),
            Door::Tcp(authority) => authority.clone(),
        }
    }
}

impl Answer {
    fn json(self) -> Result<Value, Failure> {
        if self.status != 200 {
            return Err(self.refusal());
        }
        let value = serde_json::from_slice(&self.body);
        value.map_err(|error| Failure::Other(anyhow::anyhow!("the answer is no JSON: {error}")))
    }

    fn refusal(&self) -> Failure {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        match body["error"]["message"].as_str() {
            Some(_) if body["error"]["code"] == "no-token" => Failure::Refused(
                "the token is missing or wrong; name the file that holds it with `--token-file FILE`"
                    .to_owned(),
            ),
            Some(message) => Failure::Refused(message.to_owned()),
            None => Failure::Refused(format!("refused with status {}", self.status)),
        }
    }
}

fn connect(authority: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in authority.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn exchange(mut stream: impl Read + Write, request: &str) -> anyhow::Result<Answer> {
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut bytes)?;
    let mut head = ResponseHead::new();
    let parsed = head.parse(&bytes, &Limits::default(), RequestKind::default())?;
    ensure!(
        parsed == Parsed::Complete,
        "the connection was closed early"
    );
    let mut reader = BodyReader::new();
    reader.begin(head.body);
    let mut rest = &bytes[head.head_len..];
    let mut body = Vec::new();
    while !reader.is_finished() && !rest.is_empty() {
        let step = reader.advance(rest)?;
        body.extend_from_slice(&rest[step.data]);
        rest = &rest[step.consumed..];
    }
    reader.on_eof()?;
    Ok(Answer {
        status: head.status,
        body,
    })
}

/// Reads an answer line by line as it comes; returns a refusal as such.
fn read_lines(
    mut stream: impl Read + Write,
    request: &str,
    mut each: impl FnMut(&str) -> io::Result<()>,
) -> anyhow::Result<Option<Answer>> {
    stream.write_all(request.as_bytes())?;
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; 16 * 1024]);
    let mut head = ResponseHead::new();
    while head.parse(&bytes, &Limits::default(), RequestKind::default())? != Parsed::Complete {
        let count = stream.read(&mut chunk)?;
        ensure!(count > 0, "the connection was closed early");
        bytes.extend_from_slice(&chunk[..count]);
    }
    let mut reader = BodyReader::new();
    reader.begin(head.body);
    let mut rest = bytes.split_off(head.head_len);
    let mut text = Vec::new();
    loop {
        let mut done = 0;
        while !reader.is_finished() && done < rest.len() {
            let step = reader.advance(&rest[done..])?;
            text.extend_from_slice(&rest[done..][step.data]);
            if step.consumed == 0 {
                break;
            }
            done += step.consumed;
        }
        rest.drain(..done);
        if head.status == 200 {
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                each(&String::from_utf8_lossy(&text[..end]))?;
                text.drain(..=end);
            }
        }
        ensure!(
            text.len() < MAX_LINE_BYTES,
            "a line of the answer is too long"
        );
        let count = if reader.is_finished() {
            0
        } else {
            stream.read(&mut chunk)?
        };
        if count == 0 {
            let (status, body) = (head.status, text);
            return Ok((status != 200).then_some(Answer { status, body }));
        }
        rest.extend_from_slice(&chunk[..count]);
    }
}

/// How long a stream may say nothing: three of the heartbeats that are sent.
const SILENCE: Duration = Duration::from_secs(30);
/// Bytes of a line of a stream.
const MAX_LINE_BYTES: usize = 64 << 20;
/// How long the process may take for an answer: a little more than it gives itself.
const PATIENCE: Duration = Duration::from_secs(50);
/// Bytes of an answer: the state of 10,000 servers has a few MiB.
const MAX_ANSWER_BYTES: u64 = 256 << 20;

/// A part of a path, with what has a meaning there written as `%XX`.
pub(crate) fn escaped(part: &str) -> String {
    let mut escaped = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // A String takes every write.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
