//! Reading one answer from bytes that come in pieces of any size; no I/O.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use catamaran_http1::{BodyReader, Limits, Parsed, RequestKind, ResponseHead};

use super::Failure;

/// What of an answer is kept.
#[derive(Debug, Default)]
pub struct Kept {
    /// The head with its status line and empty line.
    pub head: Vec<u8>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// Whether the body is left out.
    pub skips_body: bool,
}

/// Reads one answer after the other.
#[derive(Debug, Default)]
pub struct AnswerReader {
    head: ResponseHead,
    limits: Limits,
    kind: RequestKind,
    /// A head that is not whole yet.
    partial: Vec<u8>,
    is_head_whole: bool,
    body: BodyReader,
    body_bytes: u64,
    has_surplus: bool,
}

impl AnswerReader {
    /// Begins the answer to a request of this kind.
    pub fn begin(&mut self, kind: RequestKind) {
        self.kind = kind;
        self.partial.clear();
        self.head.reset();
        self.is_head_whole = false;
        self.body_bytes = 0;
        self.has_surplus = false;
    }

    /// Takes what was received. Returns whether the answer is whole.
    ///
    /// With `kept`, head and body are added to it, up to `max_body` bytes.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        mut kept: Option<&mut Kept>,
        max_body: usize,
    ) -> Result<bool, Failure> {
        if self.is_head_whole {
            return self.feed_body(bytes, kept, max_body);
        }
        if self.partial.is_empty() {
            let whole = self.feed_head(bytes, kept.as_deref_mut())?;
            return match whole {
                Some(head_len) => self.feed_body(&bytes[head_len..], kept, max_body),
                None => Ok(false),
            };
        }
        let mut all = std::mem::take(&mut self.partial);
        all.extend_from_slice(bytes);
        match self.feed_head(&all, kept.as_deref_mut())? {
            Some(head_len) => self.feed_body(&all[head_len..], kept, max_body),
            None => Ok(false),
        }
    }

    /// Notes that the connection ended.
    pub fn on_eof(&mut self) -> Result<(), Failure> {
        if !self.is_head_whole {
            return Err(Failure::Closed);
        }
        self.body.on_eof().map_err(|_| Failure::Closed)
    }

    /// The status; 0 before the head is whole.
    #[must_use]
    pub fn status(&self) -> u16 {
        if self.is_head_whole {
            self.head.status
        } else {
            0
        }
    }

    /// Whether the connection may serve another exchange.
    #[must_use]
    pub fn keeps_connection(&self) -> bool {
        self.head.keep_alive && !self.has_surplus && self.body.is_finished()
    }

    /// Bytes of the body so far, without framing.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Reads heads up to the final one. Returns where its body begins; keeps what is not whole.
    fn feed_head(
        &mut self,
        bytes: &[u8],
        kept: Option<&mut Kept>,
    ) -> Result<Option<usize>, Failure> {
        let mut at = 0;
        loop {
            match self.head.parse(&bytes[at..], &self.limits, self.kind)? {
                Parsed::Partial => {
                    self.partial = bytes[at..].to_vec();
                    return Ok(None);
                }
                Parsed::Complete if self.head.is_interim() => at += self.head.head_len,
                Parsed::Complete => break,
            }
        }
        self.is_head_whole = true;
        self.body.begin(self.head.body);
        if let Some(kept) = kept {
            kept.head.clear();
            kept.head
                .extend_from_slice(&bytes[at..at + self.head.head_len]);
            kept.body.clear();
        }
        Ok(Some(at + self.head.head_len))
    }

    fn feed_body(
        &mut self,
        mut bytes: &[u8],
        mut kept: Option<&mut Kept>,
        max_body: usize,
    ) -> Result<bool, Failure> {
        while !bytes.is_empty() && !self.body.is_finished() {
            let step = self.body.advance(bytes)?;
            self.body_bytes += step.data.len() as u64;
            if let Some(kept) = kept.as_deref_mut().filter(|kept| !kept.skips_body) {
                if kept.body.len() + step.data.len() > max_body {
                    return Err(Failure::TooLarge(max_body));
                }
                kept.body.extend_from_slice(&bytes[step.data]);
            }
            bytes = &bytes[step.consumed..];
        }
        // What follows the answer answers nothing: the connection is not to be trusted.
        self.has_surplus = !bytes.is_empty();
        Ok(self.body.is_finished())
    }
}

/// A reader of this thread, lent for one answer.
///
/// It is large, and most answers come whole: so one serves many connections, of which else each had its own.
#[derive(Debug, Default)]
pub(super) struct Lent(Box<AnswerReader>);

impl Lent {
    /// Lends one that begins the answer to a request of this kind.
    pub(super) fn new(kind: RequestKind) -> Self {
        let mut lent = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        lent.begin(kind);
        lent
    }

    /// Gives it back; one that is dropped instead is freed.
    pub(super) fn give_back(self) {
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < MAX_SPARE {
                spare.push(self);
            }
        });
    }
}

impl Deref for Lent {
    type Target = AnswerReader;

    fn deref(&self) -> &AnswerReader {
        &self.0
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut AnswerReader {
        &mut self.0
    }
}

thread_local! {
    /// Readers that nobody needs now.
    static SPARE: RefCell<Vec<Lent>> = const { RefCell::new(Vec::new()) };
}

/// Readers that a thread keeps: of answers that come in pieces there may be many at once.
const MAX_SPARE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `text` in pieces of `size`. Returns status, body and whether the connection is kept.
    fn read(text: &str, size: usize) -> Result<(u16, String, bool), Failure> {
        let mut reader = AnswerReader::default();
        reader.begin(RequestKind::default());
        let mut kept = Kept::default();
        let mut is_whole = false;
        for piece in text.as_bytes().chunks(size) {
            is_whole = reader.feed(piece, Some(&mut kept), 1000)?;
        }
        if !is_whole {
            reader.on_eof()?;
        }
        let body = String::from_utf8(kept.body).unwrap();
        assert_eq!(body.len() as u64, reader.body_bytes());
        Ok((reader.status(), body, reader.keeps_connection()))
    }

    #[test]
    fn an_answer_reads_the_same_in_pieces_of_any_size() {
        for (text, status, body, keeps) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
                200,
                "abc",
                true,
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
                200,
                "abc",
                true,
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx",
                404,
                "x",
                true,
            ),
            (
                "HTTP/1.0 200 OK\r\n\r\nuntil the end",
                200,
                "until the end",
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
                200,
                "x",
                false,
            ),
        ] {
            for size in 1..=text.len() {
                let read = read(text, size).unwrap();
                assert_eq!(read, (status, body.to_owned(), keeps), "{size} {text}");
            }
        }
    }

    #[test]
    fn what_is_cut_or_broken_fails() {
        for text in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        ] {
            assert_eq!(read(text, 7), Err(Failure::Closed), "{text}");
        }
        assert!(matches!(
            read("SSH-2.0\r\n\r\n", 3),
            Err(Failure::Malformed(_))
        ));
        let large = format!("HTTP/1.0 200 OK\r\n\r\n{}", "x".repeat(1001));
        assert_eq!(read(&large, 100), Err(Failure::TooLarge(1000)));
    }

    #[test]
    fn bytes_after_the_answer_end_the_connection() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1";
        assert_eq!(read(text, text.len()), Ok((200, "x".to_owned(), false)));
    }
}
