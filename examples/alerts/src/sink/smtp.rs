//! The SMTP of the sink: as much of RFC 5321 as a client needs to hand over a mail.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::{Mail, Mails};

/// Takes mails for ever.
pub async fn serve(listener: TcpListener, mails: Mails) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let permit = Arc::clone(&room).acquire_owned().await;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "an SMTP connection could not be accepted");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let mails = mails.clone();
        tokio::spawn(async move {
            if let Err(error) = converse(stream, &mails).await {
                tracing::debug!(%error, "an SMTP connection broke");
            }
            drop(permit);
        });
    }
}

/// One connection, until its client leaves.
async fn converse(stream: TcpStream, mails: &Mails) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    reply(&mut stream, "220 sink ready").await?;
    let (mut from, mut to) = (None, Vec::new());
    while let Some(line) = read_line(&mut stream).await? {
        let line = line.trim_end();
        let (verb, rest) = line.split_once([' ', ':']).unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => reply(&mut stream, "250-sink\r\n250 8BITMIME").await?,
            "HELO" | "NOOP" => reply(&mut stream, "250 ok").await?,
            "MAIL" => {
                from = Some(address(rest));
                to.clear();
                reply(&mut stream, "250 ok").await?;
            }
            "RCPT" if from.is_some() && to.len() < MAX_RECIPIENTS => {
                to.push(address(rest));
                reply(&mut stream, "250 ok").await?;
            }
            "DATA" if from.is_some() && !to.is_empty() => {
                reply(&mut stream, "354 end with a line of one dot").await?;
                let Some(text) = read_mail(&mut stream).await? else {
                    return reply(&mut stream, "552 too long").await;
                };
                let from = from.take().unwrap_or_default();
                mails.add(Mail {
                    from,
                    to: std::mem::take(&mut to),
                    subject: field(&text, "subject"),
                    message_id: field(&text, "message-id")
                        .trim_matches(['<', '>'])
                        .to_owned(),
                    text,
                });
                // From here on the mail is ours: the client must not send it again.
                reply(&mut stream, "250 taken").await?;
            }
            "RSET" => {
                (from, to) = (None, Vec::new());
                reply(&mut stream, "250 ok").await?;
            }
            "QUIT" => return reply(&mut stream, "221 bye").await,
            "RCPT" | "DATA" => reply(&mut stream, "503 not now").await?,
            _ => reply(&mut stream, "500 unknown").await?,
        }
    }
    Ok(())
}

async fn reply(stream: &mut BufReader<TcpStream>, text: &str) -> io::Result<()> {
    let text = format!("{text}\r\n");
    timeout(PATIENCE, stream.write_all(text.as_bytes())).await?
}

/// Reads a line with its end; `None` when the client has left.
async fn read_line(stream: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut limited = stream.take(MAX_LINE_BYTES);
    timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await??;
    if line.is_empty() {
        return Ok(None);
    }
    if !line.ends_with(b"\n") {
        return Err(io::Error::other("a line is too long or broke off"));
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

/// Reads a mail up to the dot; `None` when it is too long.
async fn read_mail(stream: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut text = String::new();
    while let Some(line) = read_line(stream).await? {
        if line.trim_end() == "." {
            return Ok(Some(text));
        }
        // A leading dot was doubled on the way (RFC 5321 §4.5.2).
        text += line.strip_prefix('.').unwrap_or(&line);
        if text.len() > MAX_MAIL_BYTES {
            return Ok(None);
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// The address between the angle brackets.
fn address(rest: &str) -> String {
    let inner = rest
        .split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or_else(|| rest.to_owned(), |(address, _)| address.to_owned())
}

/// The value of a header field; folded lines are not joined.
fn field(text: &str, name: &str) -> String {
    text.lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_default()
}

const MAX_CONNECTIONS: usize = 256;
const MAX_RECIPIENTS: usize = 100;
const MAX_LINE_BYTES: u64 = 4096;
const MAX_MAIL_BYTES: usize = 64 * 1024;
/// Longest time for a line.
const PATIENCE: Duration = Duration::from_secs(60);
