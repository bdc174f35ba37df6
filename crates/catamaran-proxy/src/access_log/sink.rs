//! Where log lines end: standard output, a file, or syslog. Blocks; used by the log writer only.

use super::civil::Civil;
use super::decimal;
use catamaran_core::model::LogTarget;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// An open target.
#[derive(Debug)]
pub(super) enum Sink {
    Stdout {
        torn: bool,
    },
    File {
        path: PathBuf,
        file: File,
        torn: bool,
    },
    SyslogUnix {
        path: PathBuf,
        socket: UnixDatagram,
    },
    SyslogUdp {
        address: SocketAddr,
        socket: UdpSocket,
        hostname: String,
    },
}

impl Sink {
    pub(super) fn open(target: &LogTarget) -> io::Result<Self> {
        Ok(match target {
            LogTarget::Stdout => Self::Stdout { torn: false },
            LogTarget::File(path) => Self::File {
                path: path.clone(),
                file: open_file(path)?,
                torn: false,
            },
            LogTarget::SyslogUnix(path) => {
                // Not connected: a syslog daemon that starts late or again needs nothing from us.
                let socket = UnixDatagram::unbound()?;
                socket.set_write_timeout(Some(MAX_SEND))?;
                Self::SyslogUnix {
                    path: path.clone(),
                    socket,
                }
            }
            LogTarget::SyslogUdp(address) => {
                let any: SocketAddr = match address {
                    SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                    SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                };
                Self::SyslogUdp {
                    address: *address,
                    socket: UdpSocket::bind(any)?,
                    hostname: hostname(),
                }
            }
        })
    }

    /// Opens a file anew by its name, after log rotation has moved it; others stay. On failure
    /// the old file goes on being written.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Self::File { path, file, torn } = self {
            *file = open_file(path)?;
            *torn = false;
        }
        Ok(())
    }

    /// Writes whole lines. Syslog gets a datagram each; the first failure ends the batch.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout { torn } => write_lines(&mut io::stdout(), torn, lines),
            Self::File { file, torn, .. } => write_lines(file, torn, lines),
            Self::SyslogUnix { path, socket } => each_datagram(lines, unix_head, |datagram| {
                socket.send_to(datagram, &path).map(drop)
            }),
            Self::SyslogUdp {
                address,
                socket,
                hostname,
            } => each_datagram(
                lines,
                |out| rfc5424_head(hostname, out),
                |datagram| socket.send_to(datagram, *address).map(drop),
            ),
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Writes `lines`, on a line of their own even if the write before broke off in the middle of one
/// (a full disk).
fn write_lines(output: &mut impl Write, torn: &mut bool, lines: &[u8]) -> io::Result<()> {
    if *torn {
        output.write_all(b"\n")?;
    }
    *torn = true;
    output.write_all(lines)?;
    output.flush()?;
    *torn = false;
    Ok(())
}

fn each_datagram(
    lines: &[u8],
    head: impl Fn(&mut Vec<u8>),
    mut send: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut datagram = Vec::new();
    for line in lines.split(|&byte| byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        datagram.clear();
        head(&mut datagram);
        datagram.extend_from_slice(line);
        datagram.truncate(MAX_DATAGRAM);
        send(&datagram)?;
    }
    Ok(())
}

/// What glibc's `syslog(3)` sends to `/dev/log`, which every daemon there reads (journald does not
/// read RFC 5424).
fn unix_head(out: &mut Vec<u8>) {
    out.extend_from_slice(PRIORITY);
    now().syslog(out);
    out.extend_from_slice(b" catamaran[");
    decimal(u64::from(std::process::id()), out);
    out.extend_from_slice(b"]: ");
}

/// RFC 5424 §6: version, time, host, application, process; no message id, no structured data.
fn rfc5424_head(hostname: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(PRIORITY);
    out.extend_from_slice(b"1 ");
    now().rfc3339(out);
    out.push(b' ');
    out.extend_from_slice(hostname.as_bytes());
    out.extend_from_slice(b" catamaran ");
    decimal(u64::from(std::process::id()), out);
    out.extend_from_slice(b" - - ");
}

fn now() -> Civil {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let micros = since_1970.unwrap_or_default().as_micros();
    Civil::from_unix_us(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// The node's name as RFC 5424 §6.2.4 wants it: printable ASCII, at most 255, else `-`.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    let fits = (1..=255).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
    if fits { name } else { "-" }.to_owned()
}

/// Facility local0, severity informational, as HAProxy logs by default (RFC 5424 §6.2.1).
const PRIORITY: &[u8] = b"<134>";

/// Longest datagram; the rest of a line is cut off. Chosen: rsyslog's default message size.
const MAX_DATAGRAM: usize = 8 * 1024;

/// How long a full syslog socket may hold up the log writer, never a worker. Chosen.
const MAX_SEND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `room` bytes, then fails once.
    struct Disk {
        written: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                self.room = usize::MAX;
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(self.room);
            self.room -= taken;
            self.written.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_torn_by_a_full_disk_does_not_swallow_the_next() {
        let mut disk = Disk {
            written: Vec::new(),
            room: 2,
        };
        let mut torn = false;
        write_lines(&mut disk, &mut torn, b"one\n").unwrap_err();
        write_lines(&mut disk, &mut torn, b"two\n").unwrap();
        write_lines(&mut disk, &mut torn, b"three\n").unwrap();
        assert_eq!(disk.written, b"on\ntwo\nthree\n");
    }
}
