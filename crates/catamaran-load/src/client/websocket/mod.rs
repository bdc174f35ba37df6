//! WebSockets (RFC 6455): the handshake, and messages in both directions. No extensions.

mod frame;

use std::rc::Rc;

use catamaran_http1::{Limits, Parsed, RequestKind, ResponseHead};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::task::yield_now;

pub use frame::{Event, FrameError, Opcode, close_payload};

use super::request::base64;
use super::{Connection, Failure, HeaderError, RequestText, Url, UrlError};
use frame::FrameReader;

/// A handshake that is ready to be sent.
#[derive(Clone, Debug)]
pub struct Handshake {
    request: RequestText,
    key: String,
}

impl Handshake {
    /// Writes one for this URL with fields of the caller's.
    pub fn new(
        url: &Url,
        fields: &[(String, String)],
        user_agent: &str,
    ) -> Result<Self, HeaderError> {
        let mut nonce = [0; 16];
        fastrand::fill(&mut nonce);
        let key = base64(&nonce);
        let own = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", key.as_str()),
        ];
        let is_own = |name: &str| own.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        let given = fields.iter().filter(|(name, _)| !is_own(name)).cloned();
        let own_fields = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let fields: Vec<_> = own_fields.into_iter().chain(given).collect();
        Ok(Self {
            request: RequestText::new("GET", url, &fields, None, user_agent)?,
            key,
        })
    }

    /// What the server must answer to prove that it speaks WebSocket (RFC 6455 §4.2.2).
    fn proof(&self) -> String {
        let text = format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", self.key);
        base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref())
    }
}

/// What a handshake came to.
#[derive(Debug)]
pub struct Shaken {
    /// The status; 101 if there is a socket.
    pub status: u16,
    /// The head of the answer.
    pub head: Vec<u8>,
    /// Bytes sent and received.
    pub moved: (u64, u64),
    /// The open socket, or why there is none.
    pub socket: Result<WebSocket, Failure>,
    /// Bytes of the answer's body that came with its head, if there is no socket.
    pub rest: Vec<u8>,
}

/// An open WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    connection: Rc<Connection>,
    reader: FrameReader,
}

/// The sending end of a WebSocket.
#[derive(Clone, Debug)]
pub struct Outbox {
    connection: Rc<Connection>,
}

impl WebSocket {
    /// Shakes hands on a new connection.
    ///
    /// # Errors
    /// When there is no answer that could be read.
    pub async fn shake_hands(
        connection: Connection,
        handshake: &Handshake,
    ) -> Result<Shaken, Failure> {
        let request = &handshake.request;
        connection.write(&request.head, &[]).await?;
        let kind = RequestKind {
            upgrade: true,
            ..request.kind
        };
        let (limits, mut head) = (Limits::default(), ResponseHead::default());
        let mut bytes = Vec::new();
        let mut at = 0;
        loop {
            match head.parse(&bytes[at..], &limits, kind)? {
                Parsed::Complete if head.is_interim() => at += head.head_len,
                Parsed::Complete => break,
                Parsed::Partial => {
                    let append = |read: &[u8]| {
                        bytes.extend_from_slice(read);
                        read.len()
                    };
                    if connection.read(append).await? == 0 {
                        return Err(Failure::Closed);
                    }
                }
            }
        }
        let received = bytes.len() as u64;
        let rest = bytes.split_off(at + head.head_len);
        bytes.drain(..at);
        let mut reader = FrameReader::default();
        reader.feed(&rest);
        let is_proved = field(&bytes, "sec-websocket-accept") == Some(handshake.proof());
        let socket = if head.status == 101 && is_proved {
            Ok(Self {
                connection: Rc::new(connection),
                reader,
            })
        } else {
            Err(Failure::WebSocket("bad handshake".to_owned()))
        };
        Ok(Shaken {
            status: head.status,
            head: bytes,
            moved: (request.head.len() as u64, received),
            socket,
            rest,
        })
    }

    /// The sending end. Frames of several senders go out one after the other only if they wait for
    /// each other.
    #[must_use]
    pub fn outbox(&self) -> Outbox {
        Outbox {
            connection: Rc::clone(&self.connection),
        }
    }

    /// Waits for the next event. Bytes received are added to `received`.
    ///
    /// May be dropped and called again; nothing is lost.
    pub async fn next(&mut self, received: &mut u64) -> Result<Event, Failure> {
        loop {
            if let Some(event) = self.reader.next()? {
                return Ok(event);
            }
            let reader = &mut self.reader;
            let take = |bytes: &[u8]| {
                reader.feed(bytes);
                bytes.len()
            };
            match self.connection.read(take).await? {
                0 => return Err(Failure::Closed),
                len => *received += len as u64,
            }
            // One read may hold thousands of frames of which nobody hears; others get their turn in between.
            yield_now().await;
        }
    }
}

impl Outbox {
    /// Sends a whole message or a control frame. Returns the bytes that went out.
    pub async fn send(&self, opcode: Opcode, payload: &[u8]) -> Result<u64, Failure> {
        let mut frame = Vec::new();
        let mask = fastrand::u32(..).to_be_bytes();
        frame::write(opcode, payload, mask, &mut frame);
        self.connection.write(&frame, &[]).await?;
        Ok(frame.len() as u64)
    }
}

/// The URL of the handshake of a `ws` or `wss` URL.
pub fn http_url(text: &str) -> Result<String, UrlError> {
    let schemes = [("ws://", "http://"), ("wss://", "https://")];
    let found = schemes.iter().find_map(|(own, http)| {
        let rest = text.strip_prefix(own)?;
        Some(format!("{http}{rest}"))
    });
    found.ok_or_else(|| UrlError::WebSocket(text.to_owned()))
}

/// The value of a field of a head.
fn field(head: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(head);
    text.lines().find_map(|line| {
        let (own, value) = line.split_once(':')?;
        own.eq_ignore_ascii_case(name)
            .then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_proved_as_the_standard_shows() {
        // RFC 6455 §1.3
        let url = Url::parse("http://a/chat").unwrap();
        let fields = [("connection".to_owned(), "close".to_owned())];
        let mut handshake = Handshake::new(&url, &fields, "me").unwrap();
        let text = String::from_utf8(handshake.request.head.clone()).unwrap();
        assert!(text.contains("Connection: Upgrade\r\n") && !text.contains("close"));
        handshake.key = "dGhlIHNhbXBsZSBub25jZQ==".to_owned();
        assert_eq!(handshake.proof(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
