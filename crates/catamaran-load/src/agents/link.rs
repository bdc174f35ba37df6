//! A connection between a coordinator and an agent: authenticated, encrypted, never silent.
//!
//! ```text
//! frame:   length u32, big-endian | that many bytes, over as many payloads of Noise as it takes
//! ```
//! Both sides say something each second, if only an empty frame; who is silent is gone: the coordinator for
//! an agent after [`AGENT_SILENCE`], an agent for the coordinator after [`LEAD_SILENCE`]. The agent's patience
//! is the shorter one, so that it has stopped when others take over what it did.

use std::time::Duration;

use catamaran_noise::{MAX_PAYLOAD, NoiseError, Opener, Sealer, initiate, respond};
use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{
    Receiver, Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel,
};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Secret;

/// Why nothing more comes from the other side.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Gone {
    /// It says nothing.
    #[error("nothing was heard of it for {} s", .0.as_secs())]
    Silent(Duration),
    /// The connection is over, or it said what nobody can read.
    #[error("{0}")]
    Broken(String),
}

impl From<String> for Gone {
    fn from(why: String) -> Self {
        Self::Broken(why)
    }
}

impl From<Gone> for String {
    fn from(gone: Gone) -> Self {
        gone.to_string()
    }
}

/// A connection whose two tasks read and write. It closes when this is dropped and all is sent.
#[derive(Debug)]
pub(super) struct Link {
    outgoing: UnboundedSender<Vec<u8>>,
    incoming: Receiver<Result<Vec<u8>, Gone>>,
}

impl Link {
    /// Connects to an agent.
    pub(super) async fn connect(
        address: &str,
        secret: &Secret,
        max_frame: usize,
    ) -> Result<Self, String> {
        let stream = timeout(CONNECT, TcpStream::connect(address)).await;
        let stream = stream
            .map_err(|_| "it cannot be reached: no answer".to_owned())?
            .map_err(|error| {
                format!("it cannot be reached: {error}; is an agent running there?")
            })?;
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        Self::initiate(stream, secret, max_frame).await
    }

    /// Begins with an agent that is connected.
    pub(super) async fn initiate<S>(
        mut stream: S,
        secret: &Secret,
        max_frame: usize,
    ) -> Result<Self, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let keys = timeout(CONNECT, initiate(&mut stream, &secret.0, PROLOGUE)).await;
        let keys = keys.map_err(|_| "it does not shake hands; is it an agent?".to_owned())?;
        let keys = keys.map_err(|error| told(&error))?;
        Ok(Self::start(stream, keys, max_frame, LEAD_SILENCE))
    }

    /// Takes in who connected.
    pub(super) async fn accept<S>(
        mut stream: S,
        secret: &Secret,
        max_frame: usize,
    ) -> Result<Self, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let keys = timeout(CONNECT, respond(&mut stream, &[&secret.0], PROLOGUE)).await;
        let keys = keys.map_err(|_| "it does not shake hands".to_owned())?;
        let (sealer, opener, _) = keys.map_err(|error| told(&error))?;
        Ok(Self::start(
            stream,
            (sealer, opener),
            max_frame,
            AGENT_SILENCE,
        ))
    }

    fn start<S>(
        stream: S,
        (sealer, opener): (Sealer, Opener),
        max_frame: usize,
        silence: Duration,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, writer) = split(stream);
        let (outgoing, queue) = unbounded_channel();
        let (to_owner, incoming) = channel(QUEUE);
        tokio::spawn(write(writer, sealer, queue));
        let incoming_frames = Incoming {
            reader,
            opener,
            max_frame,
            silence,
        };
        tokio::spawn(incoming_frames.read(to_owner));
        Self { outgoing, incoming }
    }

    /// Sends a frame, as soon as those before it are out.
    pub(super) fn send(&self, frame: Vec<u8>) {
        // That the connection is gone, the reader tells.
        let _ = self.outgoing.send(frame);
    }

    /// The next frame, or why there is none. May be dropped while it waits.
    pub(super) async fn receive(&mut self) -> Result<Vec<u8>, Gone> {
        let received = self.incoming.recv().await;
        received.unwrap_or_else(|| Err(Gone::Broken("the connection is closed".to_owned())))
    }
}

async fn write(
    mut writer: impl AsyncWrite + Unpin,
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
            let sent = timeout(LEAD_SILENCE, sealer.send(&mut writer, &payload)).await;
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

/// What reads frames.
struct Incoming<R> {
    reader: R,
    opener: Opener,
    max_frame: usize,
    silence: Duration,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    async fn read(mut self, to_owner: Sender<Result<Vec<u8>, Gone>>) {
        loop {
            let frame = tokio::select! {
                frame = self.read_frame() => frame,
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

    async fn read_frame(&mut self) -> Result<Vec<u8>, Gone> {
        let mut frame = self.next().await?;
        let prefix = frame
            .get(..PREFIX)
            .and_then(|prefix| prefix.try_into().ok());
        let prefix: [u8; PREFIX] =
            prefix.ok_or_else(|| "it sent a frame without a length".to_owned())?;
        let (len, most) = (u32::from_be_bytes(prefix) as usize, self.max_frame);
        if len > most {
            return Err(format!("it sent {len} bytes at once; {most} are allowed").into());
        }
        frame.drain(..PREFIX);
        // Grows as bytes come, not as they are announced.
        while frame.len() < len {
            let more = self.next().await?;
            if more.is_empty() {
                return Err("it sent a frame that does not go on".to_owned().into());
            }
            frame.extend_from_slice(&more);
        }
        if frame.len() > len {
            let text = "it sent a frame that is longer than it says";
            return Err(text.to_owned().into());
        }
        Ok(frame)
    }

    async fn next(&mut self) -> Result<Vec<u8>, Gone> {
        let received = timeout(self.silence, self.opener.receive(&mut self.reader)).await;
        let received = received.map_err(|_| Gone::Silent(self.silence))?;
        let (payload, _) = received.map_err(|error| told(&error))?;
        Ok(payload)
    }
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
/// An agent that says nothing for so long is gone for its coordinator. Chosen: ten missed beats.
pub(super) const LEAD_SILENCE: Duration = Duration::from_secs(10);
/// A coordinator that says nothing for so long is gone for its agents. Chosen: five missed beats, so that an
/// agent that is cut off has stopped seconds before its coordinator gives it up.
pub(super) const AGENT_SILENCE: Duration = Duration::from_secs(5);
const BEAT: Duration = Duration::from_secs(1);
/// Frames that wait for their reader.
const QUEUE: usize = 16;
/// Bytes before a frame.
const PREFIX: usize = 4;

/// Shakes hands as an agent does, and says nothing from then on.
#[cfg(test)]
pub(super) async fn mute<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, secret: Secret) -> S {
    let keys = respond(&mut stream, &[&secret.0], PROLOGUE).await;
    keys.expect("the other side knows the secret");
    stream
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;
    use tokio::time::{Instant, sleep};

    fn secret() -> Secret {
        Secret::new([3; 32])
    }

    #[tokio::test(start_paused = true)]
    async fn who_accepts_and_shakes_no_hands_is_no_agent() {
        let (here, _there) = duplex(1000);
        let begin = Instant::now();
        let told = Link::initiate(here, &secret(), 10).await.unwrap_err();
        assert!(told.contains("is it an agent?"), "{told}");
        assert_eq!(begin.elapsed(), CONNECT);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_shakes_hands_and_says_nothing_is_gone() {
        let (here, there) = duplex(100_000);
        let agent = tokio::spawn(mute(there, secret()));
        let mut link = Link::initiate(here, &secret(), 10).await.unwrap();
        let _held = agent.await.unwrap();
        let begin = Instant::now();
        assert_eq!(link.receive().await, Err(Gone::Silent(LEAD_SILENCE)));
        assert_eq!(begin.elapsed(), LEAD_SILENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_gives_up_a_silent_coordinator_before_that_gives_up_the_agent() {
        let (mut here, there) = duplex(100_000);
        let lead = tokio::spawn(async move {
            let keys = initiate(&mut here, &secret().0, PROLOGUE).await;
            (keys.map(drop), here)
        });
        let mut link = Link::accept(there, &secret(), 10).await.unwrap();
        let (shaken, _held) = lead.await.unwrap();
        shaken.unwrap();
        let begin = Instant::now();
        assert_eq!(link.receive().await, Err(Gone::Silent(AGENT_SILENCE)));
        // A beat may have been under way on both sides when they were cut off.
        assert!(begin.elapsed() + BEAT * 2 < LEAD_SILENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn two_who_have_nothing_to_say_stay_together() {
        let (here, there) = duplex(100_000);
        let agent = tokio::spawn(async move { Link::accept(there, &secret(), 10).await });
        let mut link = Link::initiate(here, &secret(), 10).await.unwrap();
        let mut agent = agent.await.unwrap().unwrap();
        for _ in 0..3 {
            sleep(LEAD_SILENCE * 2).await;
            agent.send(vec![1]);
            assert_eq!(link.receive().await, Ok(vec![1]));
            link.send(vec![2]);
            assert_eq!(agent.receive().await, Ok(vec![2]));
        }
    }
}
