//! One request to a collector.
//!
//! A connection for each: there is one a second at most but under load, when it carries hundreds of
//! exchanges.

use super::delivery::Reply;
use catamaran_core::model::Collector;
use catamaran_http1::{BodyReader, Limits, Parsed, RequestKind, ResponseHead};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Sends `body` to the first of `addresses` that takes a connection, and reads its answer. The caller
/// sees to it that this ends.
pub(super) async fn post(
    addresses: &[SocketAddr],
    collector: &Collector,
    body: &[u8],
) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(addresses).await?;
    stream.set_nodelay(true)?;
    let mut request = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: catamaran/{}\r\n\
         Content-Type: application/x-protobuf\r\nContent-Length: {}\r\nConnection: close\r\n",
        collector.path,
        collector.authority,
        env!("CARGO_PKG_VERSION"),
        body.len(),
    );
    for (name, value) in &collector.headers {
        request += &format!("{name}: {}\r\n", value.reveal());
    }
    request += "\r\n";
    let (mut reading, mut writing) = stream.split();
    let sending = async {
        writing.write_all(request.as_bytes()).await?;
        writing.write_all(body).await
    };
    let mut answer = Answer::default();
    tokio::pin! {
        let sending = sending;
        let receiving = answer.read(&mut reading);
    }
    // A collector may refuse before it has read all; what it said counts.
    tokio::select! {
        biased;
        received = &mut receiving => return received,
        sent = &mut sending => {
            if let Err(error) = sent {
                return receiving.await.map_err(|_| error);
            }
        }
    }
    receiving.await
}

/// An answer on its way.
struct Answer {
    head: ResponseHead,
    input: Vec<u8>,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            head: ResponseHead::new(),
            input: Vec::new(),
        }
    }
}

impl Answer {
    async fn read(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Reply> {
        self.read_head(stream).await?;
        let retry_after = self.retry_after();
        let mut reader = BodyReader::new();
        reader.begin(self.head.body);
        self.input.drain(..self.head.head_len);
        let mut body = Vec::new();
        loop {
            let mut at = 0;
            while at < self.input.len() && !reader.is_finished() {
                let step = reader.advance(&self.input[at..]).map_err(invalid)?;
                body.extend_from_slice(&self.input[at..][step.data]);
                at += step.consumed;
            }
            self.input.clear();
            if reader.is_finished() || body.len() >= MAX_BODY {
                break;
            }
            if stream.read_buf(&mut self.input).await? == 0 {
                reader.on_eof().map_err(invalid)?;
                break;
            }
        }
        Ok(Reply {
            status: self.head.status,
            retry_after,
            body,
        })
    }

    /// Reads up to the end of the final response's head.
    async fn read_head(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
        loop {
            if !self.input.is_empty() {
                let parsed = self
                    .head
                    .parse(&self.input, &LIMITS, RequestKind::default());
                match parsed.map_err(invalid)? {
                    Parsed::Partial => {}
                    Parsed::Complete if !self.head.is_interim() => return Ok(()),
                    Parsed::Complete => {
                        self.input.drain(..self.head.head_len);
                        continue;
                    }
                }
            }
            if stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// What it says of when to come again, if that is a number of seconds. A date, which the field
    /// may hold too, is of no use without a clock that both agree on.
    fn retry_after(&self) -> Option<Duration> {
        let mut fields = self.head.fields().iter();
        let field = fields.find(|field| {
            let name = field.name.of(&self.input);
            name.eq_ignore_ascii_case(b"retry-after")
        })?;
        let value = std::str::from_utf8(field.value.of(&self.input)).ok()?;
        value.parse().ok().map(Duration::from_secs)
    }
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Limits of an answer's head.
const LIMITS: Limits = Limits {
    max_head_bytes: 16 * 1024,
    max_fields: 64,
};
/// Bytes of an answer that are read: it is empty, or a sentence.
const MAX_BODY: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use catamaran_core::model::{Secret, ServerAddr};
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    /// What becomes of a request that `answer` is given to, and the request.
    async fn asked(answer: &'static [u8]) -> (io::Result<Reply>, Vec<u8>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let collector = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut got = Vec::new();
            while !got.ends_with(b"spans") {
                let mut part = [0; 512];
                let count = stream.read(&mut part).unwrap();
                got.extend_from_slice(&part[..count]);
            }
            stream.write_all(answer).unwrap();
            got
        });
        let settings = Collector {
            address: ServerAddr::Ip(address),
            authority: "c.example:4318".to_owned(),
            path: "/v1/traces".to_owned(),
            headers: vec![("X-Key".to_owned(), Secret::new("open"))],
        };
        let reply = post(&[address], &settings, b"spans").await;
        (reply, collector.join().unwrap())
    }

    #[tokio::test]
    async fn a_request_says_what_it_carries_and_who_we_are() {
        let (reply, got) = asked(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        let reply = reply.unwrap();
        assert_eq!((reply.status, reply.body.as_slice()), (200, &b"ok"[..]));
        let got = String::from_utf8(got).unwrap();
        assert!(got.starts_with("POST /v1/traces HTTP/1.1\r\nHost: c.example:4318\r\n"));
        for line in [
            "\r\nContent-Type: application/x-protobuf\r\n",
            "\r\nContent-Length: 5\r\n",
            "\r\nX-Key: open\r\n",
        ] {
            assert!(got.contains(line), "{got}");
        }
    }

    #[tokio::test]
    async fn answers_in_any_framing_are_read() {
        for (answer, status, wait) in [
            (
                &b"HTTP/1.1 503 \r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"[..],
                503,
                Some(7),
            ),
            (b"HTTP/1.1 100 \r\n\r\nHTTP/1.1 200 \r\n\r\nok", 200, None),
            (b"HTTP/1.0 429 \r\nRetry-After: soon\r\n\r\nok", 429, None),
        ] {
            let reply = asked(answer).await.0.unwrap();
            assert_eq!((reply.status, reply.body.as_slice()), (status, &b"ok"[..]));
            assert_eq!(reply.retry_after, wait.map(Duration::from_secs));
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_or_none_is_an_error() {
        for answer in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
            b"SSH-2.0-OpenSSH\r\n\r\n",
        ] {
            assert!(asked(answer).await.0.is_err());
        }
    }
}
