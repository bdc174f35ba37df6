//! A scripted check: sending and expecting by turns.

use super::{Failure, Finding, Stop, Target, connect_unix, socket_from};
use catamaran_core::health::{MAX_RECEIVED, Met, judge};
use catamaran_core::model::{Expect, Source, Step};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Runs `steps` against `target`.
pub(super) async fn ask(
    target: &Target,
    source: Option<&Source>,
    steps: &[Step],
) -> Result<Finding, Stop> {
    match target {
        Target::Ip(address) => {
            let socket = socket_from(*address, source)?;
            let stream: TcpStream = socket.connect(*address).await?;
            run(stream, steps).await
        }
        Target::Unix(path) => run(connect_unix(path).await?, steps).await,
    }
}

async fn run(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    steps: &[Step],
) -> Result<Finding, Stop> {
    let mut received = Vec::new();
    for step in steps {
        match step {
            Step::Send(bytes) => stream.write_all(bytes).await?,
            Step::Expect(expect) => await_met(&mut stream, expect, &mut received).await?,
        }
    }
    // In order, so that the server logs no broken connection.
    let _ = stream.shutdown().await;
    Ok(Finding::Pass)
}

async fn await_met(
    stream: &mut (impl AsyncRead + Unpin),
    expect: &Expect,
    received: &mut Vec<u8>,
) -> Result<(), Stop> {
    loop {
        match judge(expect, received) {
            Met::Yes(count) => {
                received.drain(..count);
                return Ok(());
            }
            Met::NotYet if received.len() < MAX_RECEIVED => {}
            Met::NotYet | Met::Never => {
                return Err(Failure::Unexpected(shown(received)).into());
            }
        }
        let mut part = [0; 1024];
        match stream.read(&mut part).await? {
            0 if received.is_empty() => return Err(Failure::Cut.into()),
            0 => return Err(Failure::Unexpected(shown(received)).into()),
            count => received.extend_from_slice(&part[..count]),
        }
    }
}

/// The beginning of an answer, fit for a line of the log.
fn shown(received: &[u8]) -> String {
    let beginning = &received[..received.len().min(60)];
    beginning.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn outcome(steps: Vec<Step>, answer: &'static [u8]) -> Result<Finding, String> {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let server = async move {
            theirs.write_all(answer).await.unwrap();
            let mut asked = Vec::new();
            theirs.read_to_end(&mut asked).await.unwrap();
            asked
        };
        let (finding, _) = tokio::join!(run(ours, &steps), server);
        finding.map_err(|stop| stop.into_result().reason())
    }

    fn expect(text: &'static str) -> Step {
        Step::Expect(Expect::Prefix(text.as_bytes().into()))
    }

    #[tokio::test]
    async fn a_script_passes_when_every_answer_is_as_expected() {
        let steps = || vec![expect("220"), Step::Send(b"QUIT\r\n"[..].into())];
        assert_eq!(outcome(steps(), b"220 ready\r\n").await, Ok(Finding::Pass));
        let told = outcome(steps(), b"554 no\r\n").await.unwrap_err();
        assert_eq!(told, "unexpected answer \"554 no\\r\\n\"");
    }
}
