//! One TCP connection of an echo server.

use super::Answers;
use super::request::{self, Body, Head, Speech};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// A connection and the bytes that were read but not used yet.
#[derive(Debug)]
struct Connection<'a> {
    stream: TcpStream,
    buf: Vec<u8>,
    answers: &'a Answers,
}

/// Answers whatever the client speaks until one of the two ends the connection.
pub(crate) async fn serve(stream: TcpStream, answers: &Answers) -> io::Result<()> {
    let mut connection = Connection {
        stream,
        buf: Vec::new(),
        answers,
    };
    match connection.first_words().await? {
        Speech::Http => connection.serve_http().await,
        Speech::Raw | Speech::Undecided => connection.serve_raw().await,
    }
}

impl Connection<'_> {
    /// Reads until the client's first bytes decide, or it falls silent.
    async fn first_words(&mut self) -> io::Result<Speech> {
        loop {
            let patience = if self.buf.is_empty() {
                FIRST_BYTE
            } else {
                SILENCE
            };
            match timeout(patience, self.fill()).await {
                Ok(Ok(0)) | Err(_) => return Ok(Speech::Raw),
                Ok(read) => read?,
            };
            match request::classify(&self.buf) {
                Speech::Undecided => {}
                decided @ (Speech::Http | Speech::Raw) => return Ok(decided),
            }
        }
    }

    /// Sends the message and ends. What the client still sends is read for a while: closing with
    /// unread bytes would reset the connection and could take the answer with it.
    async fn serve_raw(mut self) -> io::Result<()> {
        sleep(self.answers.delay).await;
        self.stream.write_all(&self.answers.line).await?;
        self.end().await
    }

    async fn serve_http(mut self) -> io::Result<()> {
        loop {
            let head = match request::parse_head(&self.buf) {
                Ok(Some(head)) => head,
                Ok(None) => match timeout(KEEP_ALIVE, self.fill()).await {
                    Ok(Ok(0)) | Err(_) => return Ok(()),
                    Ok(read) => {
                        read?;
                        continue;
                    }
                },
                Err(request::BadRequest) => return self.refuse().await,
            };
            self.buf.drain(..head.len);
            if head.expects_continue {
                self.stream
                    .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                    .await?;
            }
            match head.body {
                Body::Length(length) => self.skip(length).await?,
                Body::Chunked => self.skip_chunks().await?,
            }
            self.respond(&head).await?;
            if !head.keep_alive {
                return self.end().await;
            }
        }
    }

    async fn respond(&mut self, head: &Head) -> io::Result<()> {
        let body = if head.is_health {
            HEALTHY
        } else {
            sleep(self.answers.delay).await;
            &self.answers.body
        };
        let connection = if head.keep_alive {
            "keep-alive"
        } else {
            "close"
        };
        let mut response = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {}\r\nConnection: {connection}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        if !head.is_head {
            response.extend_from_slice(body);
        }
        self.stream.write_all(&response).await
    }

    async fn refuse(mut self) -> io::Result<()> {
        let response =
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        self.stream.write_all(response).await?;
        self.end().await
    }

    async fn end(mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        let drain = async {
            self.buf.clear();
            while self.fill().await? > 0 {
                self.buf.clear();
            }
            Ok(())
        };
        timeout(LAST_BYTES, drain).await.unwrap_or(Ok(()))
    }

    /// Drops `length` bytes of body.
    async fn skip(&mut self, mut length: u64) -> io::Result<()> {
        loop {
            let have = u64::try_from(self.buf.len()).unwrap_or(u64::MAX);
            let dropped = have.min(length);
            self.buf.drain(..usize::try_from(dropped).unwrap_or(0));
            length -= dropped;
            if length == 0 {
                return Ok(());
            }
            self.fill_more().await?;
        }
    }

    /// Drops chunks and the trailers after them.
    async fn skip_chunks(&mut self) -> io::Result<()> {
        loop {
            let line = self.line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(digits, 16)
                .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            if size == 0 {
                break;
            }
            self.skip(size).await?;
            self.line().await?;
        }
        while !self.line().await?.is_empty() {}
        Ok(())
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buf.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buf.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim().to_owned());
            }
            if self.buf.len() > request::MAX_HEAD_BYTES {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.fill_more().await?;
        }
    }

    async fn fill_more(&mut self) -> io::Result<()> {
        match timeout(KEEP_ALIVE, self.fill()).await {
            Ok(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read.map(|_| ()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.buf.reserve(READ_BYTES);
        self.stream.read_buf(&mut self.buf).await
    }
}

/// How long a client may say nothing before it gets the message all the same.
const FIRST_BYTE: Duration = Duration::from_secs(2);
/// How long the rest of a request line may take before it counts as raw bytes.
const SILENCE: Duration = Duration::from_millis(500);
/// How long a client may be idle between requests or in the middle of one.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long bytes of a client are still read after the answer.
const LAST_BYTES: Duration = Duration::from_secs(1);
const READ_BYTES: usize = 16 * 1024;
const HEALTHY: &[u8] = b"ok\n";
