//! Authenticated and encrypted messages over a byte stream: Noise NNpsk0 by `snow`.
//!
//! ```text
//! message:  length u16, big-endian | ciphertext, its last 16 bytes the tag
//! ```
//! Who does not know the secret is found out by the very first message. Each connection has keys of
//! its own; a recorded one can neither be read later, when the secret becomes known, nor replayed.

#![forbid(unsafe_code)]

use snow::{Builder, HandshakeState, StatelessTransportState};
use std::io;
use std::sync::Arc;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// 32 bytes that both sides know.
pub type Secret = [u8; 32];

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum NoiseError {
    /// The stream ended or failed.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// The other side has another secret, or speaks something else.
    #[error("the other side does not know the secret; are the secret files the same?")]
    WrongSecret,
    /// A message was not what the keys of the connection say.
    #[error("encryption failed")]
    Noise(#[from] snow::Error),
    /// More than [`MAX_PAYLOAD`] bytes, or a handshake that is none.
    #[error("a message of {0} bytes is too long")]
    TooLong(usize),
}

/// The sending half.
#[derive(Debug)]
pub struct Sealer {
    keys: Arc<StatelessTransportState>,
    nonce: u64,
    bytes: Vec<u8>,
}

/// The receiving half.
#[derive(Debug)]
pub struct Opener {
    keys: Arc<StatelessTransportState>,
    nonce: u64,
    bytes: Vec<u8>,
}

/// Shakes hands with whom this side connected to. `prologue` sets a protocol apart from any other that
/// the secret might be used for; it is the same on both sides.
///
/// # Errors
/// When the other side does not know the secret, or the stream breaks.
pub async fn initiate<S>(
    stream: &mut S,
    secret: &Secret,
    prologue: &[u8],
) -> Result<(Sealer, Opener), NoiseError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut handshake = builder(secret, prologue)?.build_initiator()?;
    let mut message = vec![0; HANDSHAKE_BYTES];
    let length = handshake.write_message(&[], &mut message)?;
    write(stream, &message[..length]).await?;
    // Who finds the secret wrong hangs up.
    let answer = read(stream, &mut message)
        .await
        .map_err(|error| match error {
            NoiseError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                NoiseError::WrongSecret
            }
            other => other,
        })?;
    let mut nothing = [0; HANDSHAKE_BYTES];
    handshake
        .read_message(&message[..answer], &mut nothing)
        .map_err(|_| NoiseError::WrongSecret)?;
    halves(handshake)
}

/// Shakes hands with who connected to this side. Returns which of `secrets` it knows, too.
///
/// # Errors
/// When the other side knows none of the secrets, or the stream breaks.
pub async fn respond<S>(
    stream: &mut S,
    secrets: &[&Secret],
    prologue: &[u8],
) -> Result<(Sealer, Opener, usize), NoiseError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut message = vec![0; HANDSHAKE_BYTES];
    let length = read(stream, &mut message).await?;
    let mut nothing = [0; HANDSHAKE_BYTES];
    for (at, secret) in secrets.iter().enumerate() {
        let mut handshake = builder(secret, prologue)?.build_responder()?;
        if handshake
            .read_message(&message[..length], &mut nothing)
            .is_ok()
        {
            let length = handshake.write_message(&[], &mut message)?;
            write(stream, &message[..length]).await?;
            let (sealer, opener) = halves(handshake)?;
            return Ok((sealer, opener, at));
        }
    }
    Err(NoiseError::WrongSecret)
}

impl Sealer {
    /// Sends one payload of at most [`MAX_PAYLOAD`] bytes. Returns the bytes written.
    ///
    /// # Errors
    /// When it is too long, or the stream breaks.
    pub async fn send<S>(&mut self, stream: &mut S, payload: &[u8]) -> Result<usize, NoiseError>
    where
        S: AsyncWrite + Unpin,
    {
        self.bytes.resize(2 + payload.len() + TAG, 0);
        let (prefix, body) = self.bytes.split_at_mut(2);
        let length = self.keys.write_message(self.nonce, payload, body)?;
        self.nonce += 1;
        prefix.copy_from_slice(&length_bytes(length)?);
        stream.write_all(&self.bytes).await?;
        Ok(self.bytes.len())
    }
}

impl Opener {
    /// Receives one payload. Returns it, and the bytes read.
    ///
    /// # Errors
    /// When it was not sealed by the other side, or the stream breaks.
    pub async fn receive<S>(&mut self, stream: &mut S) -> Result<(Vec<u8>, usize), NoiseError>
    where
        S: AsyncRead + Unpin,
    {
        self.bytes.resize(MAX_PAYLOAD + TAG, 0);
        let length = read(stream, &mut self.bytes).await?;
        let mut payload = vec![0; length];
        let opened = self
            .keys
            .read_message(self.nonce, &self.bytes[..length], &mut payload)?;
        self.nonce += 1;
        payload.truncate(opened);
        Ok((payload, length + 2))
    }
}

fn builder<'a>(secret: &'a Secret, prologue: &'a [u8]) -> Result<Builder<'a>, NoiseError> {
    let parameters = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
    let parameters = parameters.parse().map_err(NoiseError::Noise)?;
    Ok(Builder::new(parameters)
        .prologue(prologue)?
        .psk(0, secret)?)
}

fn halves(handshake: HandshakeState) -> Result<(Sealer, Opener), NoiseError> {
    let keys = Arc::new(handshake.into_stateless_transport_mode()?);
    let opener = Opener {
        keys: Arc::clone(&keys),
        nonce: 0,
        bytes: Vec::new(),
    };
    let sealer = Sealer {
        keys,
        nonce: 0,
        bytes: Vec::new(),
    };
    Ok((sealer, opener))
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, message: &[u8]) -> Result<(), NoiseError> {
    stream.write_all(&length_bytes(message.len())?).await?;
    Ok(stream.write_all(message).await?)
}

/// Reads one message into `into`; one that does not fit is an error.
async fn read<S: AsyncRead + Unpin>(stream: &mut S, into: &mut [u8]) -> Result<usize, NoiseError> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let length = usize::from(u16::from_be_bytes(length));
    let message = into.get_mut(..length).ok_or(NoiseError::TooLong(length))?;
    stream.read_exact(message).await?;
    Ok(length)
}

fn length_bytes(length: usize) -> Result<[u8; 2], NoiseError> {
    let length = u16::try_from(length).map_err(|_| NoiseError::TooLong(length))?;
    Ok(length.to_be_bytes())
}

/// Bytes of one payload: what Noise has room for, 65,535, less the tag.
pub const MAX_PAYLOAD: usize = 65_535 - TAG;
/// Either message of the handshake has 48 bytes.
const HANDSHAKE_BYTES: usize = 128;
const TAG: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    #[tokio::test]
    async fn who_knows_the_secret_is_heard_and_who_does_not_is_not() {
        let secret: Secret = [7; 32];
        for (theirs, prologue, knows) in [
            ([7; 32], "one", true),
            ([8; 32], "one", false),
            ([7; 32], "other", false),
        ] {
            let (mut here, mut there) = duplex(MAX_PAYLOAD);
            let answer = async {
                let answer = respond(&mut there, &[&secret], b"one").await;
                // Hanging up is what tells.
                answer.map(|(_, opener, _)| (opener, there)).ok()
            };
            let (asked, answered) =
                tokio::join!(initiate(&mut here, &theirs, prologue.as_bytes()), answer);
            assert_eq!(answered.is_some(), knows, "{prologue}");
            let Some((mut opener, mut there)) = answered else {
                assert!(matches!(asked, Err(NoiseError::WrongSecret)));
                continue;
            };
            let (mut sealer, _) = asked.unwrap();
            sealer.send(&mut here, b"hello").await.unwrap();
            assert_eq!(opener.receive(&mut there).await.unwrap().0, b"hello");
            let long = vec![0; MAX_PAYLOAD + 1];
            assert!(sealer.send(&mut here, &long).await.is_err());
        }
    }
}
