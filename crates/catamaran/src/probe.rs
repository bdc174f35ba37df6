//! `catamaran probe`: asks one URL and tells by the exit status whether the answer was 200 to 299.
//!
//! For images that hold no shell and no curl. It knows numeric addresses only, so that a check
//! of health never waits for a name server.

use crate::args::ProbeArgs;
use anyhow::{Context as _, bail};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    address: SocketAddr,
    target: String,
}

#[cfg(feature = "etcd")]
impl Url {
    /// A path at an address.
    pub(crate) fn new(address: SocketAddr, target: &str) -> Self {
        let target = target.to_owned();
        Self { address, target }
    }
}

/// Asks, and fails with the reason.
pub(crate) fn run(args: &ProbeArgs) -> anyhow::Result<ExitCode> {
    check(&args.url, args.timeout)?;
    Ok(ExitCode::SUCCESS)
}

/// Asks, within this time, and fails with the reason.
pub(crate) fn check(url: &Url, timeout: Duration) -> anyhow::Result<()> {
    let status = ask(url, timeout).with_context(|| format!("http://{}", url.address))?;
    if !(200..300).contains(&status) {
        bail!("http://{}: status {status}", url.address);
    }
    Ok(())
}

/// The status of the answer. The time is for everything together.
fn ask(url: &Url, timeout: Duration) -> anyhow::Result<u16> {
    let deadline = Instant::now() + timeout;
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left).context("timeout")
    };
    let Url { address, target } = url;
    let mut stream = TcpStream::connect_timeout(address, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    let mut buf = [0; 512];
    while head.len() < STATUS_LINE {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut buf)? {
            0 => break,
            read => head.extend_from_slice(&buf[..read]),
        }
    }
    status(&head).context("the answer is not HTTP/1")
}

/// The status in the first bytes of an answer.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.get(..STATUS_LINE)?;
    let digits = line
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Reads `http://ADDRESS[:PORT][/PATH]`.
pub(crate) fn parse_url(text: &str) -> Result<Url, String> {
    let rest = text
        .strip_prefix("http://")
        .ok_or("expected a URL such as http://127.0.0.1:9100/ready")?;
    let (authority, target) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let address = authority
        .parse()
        .or_else(|_| format!("{authority}:80").parse())
        .map_err(|_| "expected a numeric address, such as 127.0.0.1:9100 or [::1]:9100")?;
    if target.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err("a path has no spaces, control characters or letters beyond ASCII".to_owned());
    }
    Ok(Url {
        address,
        target: target.to_owned(),
    })
}

/// Length of `HTTP/1.1 200`.
const STATUS_LINE: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_numeric_address() {
        let url = parse_url("http://127.0.0.1:9100/ready").unwrap();
        assert_eq!(url.address, "127.0.0.1:9100".parse().unwrap());
        assert_eq!(url.target, "/ready");
        let url = parse_url("http://[::1]").unwrap();
        assert_eq!(url.address, "[::1]:80".parse().unwrap());
        assert_eq!(url.target, "/");
        for wrong in [
            "127.0.0.1:9100",
            "https://127.0.0.1/",
            "http://localhost/",
            "http://127.0.0.1/a b",
            "http://127.0.0.1/a\r\nX: y",
        ] {
            assert!(parse_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_status_is_read_off_the_first_line() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 503"), Some(503));
        assert_eq!(status(b"HTTP/1.1 2"), None);
        assert_eq!(status(b"SSH-2.0-OpenSSH"), None);
    }
}
