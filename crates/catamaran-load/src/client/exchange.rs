//! One request and its answer on a connection, with the time of each phase.

use catamaran_http1::RequestKind;
use catamaran_sys::clock::now_nanos;

use super::answer::Lent;
use super::{Connection, Failure, Kept};

/// Nanoseconds of each phase of an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// Before a connection was there, name resolution and connecting included.
    pub blocked: u64,
    /// Connecting.
    pub connecting: u64,
    /// Shaking hands for TLS.
    pub handshaking: u64,
    /// From the first byte written to the last.
    pub sending: u64,
    /// From the last byte written to the first received.
    pub waiting: u64,
    /// From the first byte received to the last.
    pub receiving: u64,
}

impl Phases {
    /// What counts as the request's duration: all but getting a connection.
    #[must_use]
    pub const fn duration(&self) -> u64 {
        self.sending + self.waiting + self.receiving
    }
}

/// What came back.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Whether the connection may be used again.
    pub keeps_connection: bool,
    /// Bytes sent, framing included.
    pub sent: u64,
    /// Bytes received, framing included.
    pub received: u64,
    /// Times; `blocked`, `connecting` and `handshaking` are the caller's.
    pub phases: Phases,
}

/// Sends a request and reads its answer; what is kept of it goes to `kept`.
pub async fn exchange(
    connection: &mut Connection,
    head: &[u8],
    body: &[u8],
    kind: RequestKind,
    mut kept: Option<&mut Kept>,
) -> Result<Answer, Failure> {
    let begin = now_nanos();
    let stream = &connection.stream;
    stream.write(head, body).await?;
    let sent = now_nanos();
    let mut first = None;
    // Lent with the first bytes: who waits for an answer needs none, and most wait.
    let mut lent = None;
    let mut received = 0;
    loop {
        let is_whole = stream
            .read(|bytes| {
                if first.is_none() && !bytes.is_empty() {
                    first = Some(now_nanos());
                }
                received += bytes.len() as u64;
                let reader = lent.get_or_insert_with(|| Lent::new(kind));
                if bytes.is_empty() {
                    return reader.on_eof().map(|()| true);
                }
                reader.feed(bytes, kept.as_deref_mut(), MAX_BODY)
            })
            .await??;
        if is_whole {
            break;
        }
    }
    let end = now_nanos();
    let first = first.unwrap_or(end);
    let (mut status, mut keeps_connection) = (0, false);
    if let Some(reader) = lent {
        status = reader.status();
        keeps_connection = reader.keeps_connection();
        reader.give_back();
    }
    Ok(Answer {
        status,
        keeps_connection,
        sent: (head.len() + body.len()) as u64,
        received,
        phases: Phases {
            sending: sent - begin,
            waiting: first.saturating_sub(sent),
            receiving: end.saturating_sub(first),
            ..Phases::default()
        },
    })
}

/// Bytes of a body that are kept at most; what nobody keeps may be of any size.
pub(super) const MAX_BODY: usize = 256 * 1024 * 1024;
