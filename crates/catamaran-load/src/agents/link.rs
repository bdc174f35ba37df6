//! A connection between a coordinator and an agent: authenticated, encrypted, never silent.
//!
//! ```text
//! frame:   length u32, big-endian | that many bytes, over as many payloads of Noise as it takes
//! ```
//! Both sides say something each second, if only an empty frame; who is silent for [`SILENCE`] is gone.

use std::time::Duration;

use catamaran_noise::{MAX_PAYLOAD, NoiseError, Opener, Sealer, initiate, respond};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::{
    Receiver, Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel,
};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Secret;

/// A connection whose two tasks read and write. It closes when this is dropped and all is sent.
#[derive(Debug)]
pub(super) struct Link {
    outgoing: UnboundedSender<Vec<u8>>,
    incoming: Receiver<Result<Vec<u8>, String>>,
}

impl Link {
    /// Connects to an agent.
    pub(super) async fn connect(
        address: &str,
        secret: &Secret,
        max_frame: usize,
    ) -> Result<Self, String> {
        let stream = timeout(CONNECT, TcpStream::connect(address)).await;
        let mut stream = stream
            .map_err(|_| "it cannot be reached: no answer".to_owned())?
            .map_err(|error| {
                format!("it cannot be reached: {error}; is an agent running there?")
            })?;
        let keys = timeout(CONNECT, initiate(&mut stream, &secret.0, PROLOGUE)).await;
        let keys = keys.map_err(|_| "it does not shake hands; is it an agent?".to_owned())?;
        Self::start(stream, keys.map_err(|error| told(&error))?, max_frame)
    }

    /// Takes in who connected.
    pub(super) async fn accept(
        mut stream: TcpStream,
        secret: &Secret,
        max_frame: usize,
    ) -> Result<Self, String> {
        let keys = timeout(CONNECT, respond(&mut stream, &[&secret.0], PROLOGUE)).await;
        let keys = keys.map_err(|_| "it does not shake hands".to_owned())?;
        let (sealer, opener, _) = keys.map_err(|error| told(&error))?;
        Self::start(stream, (sealer, opener), max_frame)
    }

    fn start(
        stream: TcpStream,
        (sealer, opener): (Sealer, Opener),
        max_frame: usize,
    ) -> Result<Self, String> {
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        let (reader, writer) = stream.into_split();
        let (outgoing, queue) = unbounded_channel();
        let (to_owner, incoming) = channel(QUEUE);
        tokio::spawn(write(writer, sealer, queue));
        tokio::spawn(read(reader, opener, max_frame, to_owner));
        Ok(Self { outgoing, incoming })
    }

    /// Sends a frame, as soon as those before it are out.
    pub(super) fn send(&self, frame: Vec<u8>) {
        // That the connection is gone, the reader tells.
        let _ = self.outgoing.send(frame);
    }

    /// The next frame, or why there is none. May be dropped while it waits.
    pub(super) async fn receive(&mut self) -> Result<Vec<u8>, String> {
        let received = self.incoming.recv().await;
        received.unwrap_or_else(|| Err("the connection is closed".to_owned()))
    }
}

async fn write(
    mut writer: OwnedWriteHalf,
    mut sealer: Sealer,
    mut queue: UnboundedReceiver<Vec<u8>>,
) {
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let frame = tokio::select! {
            biased;
            frame = queue.recv() => match frame {
                Some(frame) => frame,
                // Dropping the half tells the other side that this was all.
                None => return,
            },
            _ = beat.tick() => Vec::new(),
        };
        let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let mut rest = &frame[..];
        let mut payload = len.to_be_bytes().to_vec();
        loop {
            let (now, later) = rest.split_at(rest.len().min(MAX_PAYLOAD - payload.len()));
            payload.extend_from_slice(now);
            rest = later;
            let sent = timeout(SILENCE, sealer.send(&mut writer, &payload)).await;
            if !matches!(sent, Ok(Ok(_))) {
                return;
            }
            payload.clear();
            if rest.is_empty() {
                break;
            }
        }
    }
}

async fn read(
    mut reader: OwnedReadHalf,
    mut opener: Opener,
    max_frame: usize,
    to_owner: Sender<Result<Vec<u8>, String>>,
) {
    loop {
        let frame = tokio::select! {
            frame = read_frame(&mut reader, &mut opener, max_frame) => frame,
            () = to_owner.closed() => return,
        };
        let is_over = frame.is_err();
        if frame.as_ref().is_ok_and(Vec::is_empty) {
            continue;
        }
        if to_owner.send(frame).await.is_err() || is_over {
            return;
        }
    }
}

async fn read_frame(
    reader: &mut OwnedReadHalf,
    opener: &mut Opener,
    max_frame: usize,
) -> Result<Vec<u8>, String> {
    let mut frame = next(reader, opener).await?;
    let prefix = frame
        .get(..PREFIX)
        .and_then(|prefix| prefix.try_into().ok());
    let prefix: [u8; PREFIX] = prefix.ok_or("it sent a frame without a length")?;
    let len = u32::from_be_bytes(prefix) as usize;
    if len > max_frame {
        return Err(format!(
            "it sent {len} bytes at once; {max_frame} are allowed"
        ));
    }
    frame.drain(..PREFIX);
    // Grows as bytes come, not as they are announced.
    while frame.len() < len {
        let more = next(reader, opener).await?;
        if more.is_empty() {
            return Err("it sent a frame that does not go on".to_owned());
        }
        frame.extend_from_slice(&more);
    }
    if frame.len() > len {
        return Err("it sent a frame that is longer than it says".to_owned());
    }
    Ok(frame)
}

async fn next(reader: &mut OwnedReadHalf, opener: &mut Opener) -> Result<Vec<u8>, String> {
    let received = timeout(SILENCE, opener.receive(reader)).await;
    let received =
        received.map_err(|_| format!("nothing was heard of it for {} s", SILENCE.as_secs()))?;
    received
        .map(|(payload, _)| payload)
        .map_err(|error| told(&error))
}

/// An error with its cause.
fn told(error: &NoiseError) -> String {
    match error {
        NoiseError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the connection was closed".to_owned()
        }
        NoiseError::Io(error) => format!("the connection broke: {error}"),
        other => other.to_string(),
    }
}

/// Sets this protocol apart from any other that the secret might be used for.
const PROLOGUE: &[u8] = b"catamaran load agents";
/// For connecting, and for shaking hands.
const CONNECT: Duration = Duration::from_secs(5);
/// Who says nothing for so long is gone. Chosen: ten missed beats.
pub(super) const SILENCE: Duration = Duration::from_secs(10);
const BEAT: Duration = Duration::from_secs(1);
/// Frames that wait for their reader.
const QUEUE: usize = 16;
/// Bytes before a frame.
const PREFIX: usize = 4;
