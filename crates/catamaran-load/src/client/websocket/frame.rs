//! Frames of WebSockets (RFC 6455 §5), as a client sends and receives them; no I/O.

/// What a client is told by frames that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message of text.
    Text(String),
    /// A message of bytes.
    Binary(Vec<u8>),
    /// The server asks for a pong with these bytes.
    Ping(Vec<u8>),
    /// The answer to a ping.
    Pong(Vec<u8>),
    /// The server closes, with a code (1005 without one) and a reason.
    Close(u16, String),
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A message of text.
    Text = 1,
    /// A message of bytes.
    Binary = 2,
    /// The end.
    Close = 8,
    /// A question whether the other side is there.
    Ping = 9,
    /// Its answer.
    Pong = 10,
}

/// Why what came is no frame that a server may send.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A rule of the protocol is broken.
    #[error("websocket: {0}")]
    Protocol(&'static str),
    /// Text is not UTF-8.
    #[error("websocket: invalid UTF-8 in text message")]
    Text,
    /// A message is longer than is kept.
    #[error("websocket: message larger than {0} bytes")]
    TooLarge(usize),
}

impl FrameError {
    /// The code that the connection is closed with.
    #[must_use]
    pub const fn close_code(&self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::Text => 1007,
            Self::TooLarge(_) => 1009,
        }
    }
}

/// Writes a whole frame, masked with `mask` as those of clients must be.
pub(super) fn write(opcode: Opcode, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    out.reserve(payload.len() + 14);
    out.push(FIN | opcode as u8);
    match payload.len() {
        len @ 0..126 => out.push(MASKED | low_byte(len)),
        len @ 126..0x1_0000 => {
            out.push(MASKED | 126);
            out.extend_from_slice(&len.to_be_bytes()[size_of::<usize>() - 2..]);
        }
        len => {
            out.push(MASKED | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    let masks = mask.iter().cycle();
    out.extend(payload.iter().zip(masks).map(|(byte, mask)| byte ^ mask));
}

/// The payload of a frame that closes.
#[must_use]
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(MAX_CONTROL - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    [&code.to_be_bytes(), &reason.as_bytes()[..end]].concat()
}

/// Reads frames from bytes that come in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    bytes: Vec<u8>,
    /// The message that is not whole yet, and whether it is text.
    message: Option<(bool, Vec<u8>)>,
}

impl FrameReader {
    /// Takes what was received.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next event, if it is there whole.
    pub(super) fn next(&mut self) -> Result<Option<Event>, FrameError> {
        loop {
            let Some(frame) = Header::read(&self.bytes)? else {
                return Ok(None);
            };
            let whole = self
                .message
                .as_ref()
                .map_or(0, |(_, message)| message.len());
            if frame.len > MAX_MESSAGE.saturating_sub(whole) {
                return Err(FrameError::TooLarge(MAX_MESSAGE));
            }
            let end = frame.at + frame.len;
            if self.bytes.len() < end {
                return Ok(None);
            }
            let payload: Vec<u8> = self.bytes.drain(..end).skip(frame.at).collect();
            if let Some(event) = self.take(&frame, payload)? {
                return Ok(Some(event));
            }
        }
    }

    fn take(&mut self, frame: &Header, payload: Vec<u8>) -> Result<Option<Event>, FrameError> {
        let broken = |what| Err(FrameError::Protocol(what));
        match frame.opcode {
            0 => match &mut self.message {
                Some((_, message)) => message.extend_from_slice(&payload),
                None => return broken("continuation without a beginning"),
            },
            1 | 2 if self.message.is_some() => return broken("message within a message"),
            1 | 2 => self.message = Some((frame.opcode == 1, payload)),
            8 => return close(&payload).map(Some),
            9 => return Ok(Some(Event::Ping(payload))),
            10 => return Ok(Some(Event::Pong(payload))),
            _ => return broken("unknown opcode"),
        }
        if !frame.is_final {
            return Ok(None);
        }
        match self.message.take() {
            Some((true, text)) => String::from_utf8(text)
                .map(|text| Some(Event::Text(text)))
                .map_err(|_| FrameError::Text),
            Some((false, bytes)) => Ok(Some(Event::Binary(bytes))),
            None => Ok(None),
        }
    }
}

/// What a frame says before its payload.
struct Header {
    is_final: bool,
    opcode: u8,
    /// Where the payload begins.
    at: usize,
    len: usize,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let &[first, second, ref rest @ ..] = bytes else {
            return Ok(None);
        };
        let (opcode, is_final) = (first & 0x0f, first & FIN != 0);
        if first & RESERVED != 0 {
            return Err(FrameError::Protocol("reserved bits are set"));
        }
        if second & MASKED != 0 {
            return Err(FrameError::Protocol("frame of a server is masked"));
        }
        let (len, at) = match second & !MASKED {
            126 => match rest {
                &[a, b, ..] => (u64::from(u16::from_be_bytes([a, b])), 4),
                _ => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(&len) => (u64::from_be_bytes(len), 10),
                None => return Ok(None),
            },
            len => (u64::from(len), 2),
        };
        if opcode >= 8 && (!is_final || len > MAX_CONTROL as u64) {
            return Err(FrameError::Protocol("control frame in parts or too long"));
        }
        let len = usize::try_from(len).map_err(|_| FrameError::TooLarge(MAX_MESSAGE))?;
        Ok(Some(Self {
            is_final,
            opcode,
            at,
            len,
        }))
    }
}

fn close(payload: &[u8]) -> Result<Event, FrameError> {
    match payload {
        [] => Ok(Event::Close(NO_CODE, String::new())),
        &[a, b, ref reason @ ..] => {
            let reason = str::from_utf8(reason).map_err(|_| FrameError::Text)?;
            Ok(Event::Close(u16::from_be_bytes([a, b]), reason.to_owned()))
        }
        [_] => Err(FrameError::Protocol("half a close code")),
    }
}

const fn low_byte(len: usize) -> u8 {
    len.to_le_bytes()[0]
}

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
/// Bytes that control frames carry at most.
const MAX_CONTROL: usize = 125;
/// Bytes of a message at most.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;
/// What stands for a close without a code (RFC 6455 §7.4.1).
const NO_CODE: u16 = 1005;

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads everything, fed in pieces of `size`.
    fn read(bytes: &[u8], size: usize) -> Result<Vec<Event>, FrameError> {
        let mut reader = FrameReader::default();
        let mut events = Vec::new();
        for piece in bytes.chunks(size) {
            reader.feed(piece);
            while let Some(event) = reader.next()? {
                events.push(event);
            }
        }
        Ok(events)
    }

    #[test]
    fn frames_are_those_of_the_standard() {
        // RFC 6455 §5.7
        let mut out = Vec::new();
        write(Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d], &mut out);
        let masked = [
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        assert_eq!(out, masked);
        let parts = [
            0x01, 3, b'H', b'e', b'l', 0x89, 1, b'?', 0x80, 2, b'l', b'o',
        ];
        let large = [&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0][..], &[7; 65536]].concat();
        let all = [
            &parts[..],
            &[0x82, 126, 1, 0],
            &[9; 256],
            &large,
            &[0x88, 4, 3, 0xe8, b'o', b'k'],
        ];
        let all = all.concat();
        for size in [1, 2, 3, 7, 300, 100_000] {
            let expected = [
                Event::Ping(b"?".to_vec()),
                Event::Text("Hello".to_owned()),
                Event::Binary(vec![9; 256]),
                Event::Binary(vec![7; 65536]),
                Event::Close(1000, "ok".to_owned()),
            ];
            assert_eq!(read(&all, size).unwrap(), expected, "{size}");
        }
        assert_eq!(
            read(&[0x88, 0], 9).unwrap(),
            [Event::Close(NO_CODE, String::new())]
        );
    }

    #[test]
    fn lengths_are_written_in_the_shortest_form() {
        for (len, head) in [(125, 2), (126, 4), (65535, 4), (65536, 10)] {
            let mut out = Vec::new();
            write(Opcode::Binary, &vec![0; len], [1, 2, 3, 4], &mut out);
            assert_eq!(out.len(), head + 4 + len);
        }
        assert_eq!(close_payload(1000, &"ä".repeat(100)).len(), 124);
    }

    #[test]
    fn what_no_server_may_send_is_refused() {
        let code = |bytes: &[u8]| read(bytes, 100).unwrap_err().close_code();
        assert_eq!(code(&[0x81, 0x80, 0, 0, 0, 0]), 1002);
        assert_eq!(code(&[0xc1, 0]), 1002);
        assert_eq!(code(&[0x83, 0]), 1002);
        assert_eq!(code(&[0x80, 0]), 1002);
        assert_eq!(code(&[0x01, 0, 0x01, 0]), 1002);
        assert_eq!(code(&[0x09, 0]), 1002);
        assert_eq!(code(&[0x89, 126, 0, 126]), 1002);
        assert_eq!(code(&[0x88, 1, 3]), 1002);
        assert_eq!(code(&[0x81, 1, 0xff]), 1007);
        assert_eq!(code(&[0x82, 127, 0xff, 0, 0, 0, 0, 0, 0, 0]), 1009);
        assert_eq!(code(&[0x82, 127, 0, 0, 0, 0, 0x04, 0, 0, 1]), 1009);
    }
}
