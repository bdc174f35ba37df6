//! The line between the data process and the vrrp process.
//!
//! ```text
//! data -> vrrp   version u8 | 'r' | 1 if it serves u8 | count u8 | names of failing backends
//!                | 1 if replication is current u8 | count u8 | active peers: router id u8, 1 for IPv6
//!                u8, priority u8; then for each of them 1 if it wins against the same priority u8
//!                | count u8 | routers whose active has left: router id u8, 1 for IPv6 u8
//!                | 1 if a peer has more to tell u8 | 1 if all peers are away u8
//! vrrp -> data   version u8 | 's' | count u8 | status of each router | later counters of each
//! ```
//! It is a socket of packets whose both ends the supervisor keeps, so that either process may be
//! started again. A message that finds no room is dropped: the next one says it all again.

use crate::status_text;
use crate::wire::{MAX_MESSAGE, Reader, Writer};
use catamaran_core::vrrp::Status;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

/// One end of the line.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
}

/// What the data process says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Whether it takes clients and has checked its servers.
    pub serves: bool,
    /// Tracked backends without a usable server; at most 255.
    pub failing: Vec<String>,
    /// Whether it has all that its peers know; a process without peers has.
    pub is_current: bool,
    /// Peers that say by the link of replication that they are alive and active; at most 255.
    pub others: Vec<OtherActive>,
    /// Routers of which a peer was active whose connection has just ended: the number, and whether it
    /// is the one of IPv6; at most 255.
    pub left: Vec<(u8, bool)>,
    /// Whether a peer that was away has not told yet what it has seen meanwhile.
    pub is_behind: bool,
    /// Whether there are peers, and all are away.
    pub is_alone: bool,
}

/// A peer that is active for one virtual router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherActive {
    /// The number of the router.
    pub router_id: u8,
    /// Whether it is the one of IPv6.
    pub is_v6: bool,
    /// The priority of the peer.
    pub priority: u8,
    /// Whether it is the one to stay of two with the same priority, which both know alike.
    pub wins_ties: bool,
}

impl OtherActive {
    /// Its priority, above `own` if it is the one to stay.
    pub(crate) const fn rank(self, own: u8) -> u8 {
        if self.wins_ties && self.priority == own {
            own.saturating_add(1)
        } else {
            self.priority
        }
    }
}

impl Link {
    /// Takes one end of [`catamaran_sys::fd_passing::seqpacket_pair`].
    #[must_use]
    pub const fn new(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Says how the data process is.
    ///
    /// # Errors
    /// When the line is broken; a full one is no error.
    pub fn report(&self, readiness: &Readiness) -> io::Result<()> {
        let mut out = Writer::default();
        out.0
            .extend([VERSION, READINESS, u8::from(readiness.serves)]);
        let failing = &readiness.failing[..readiness.failing.len().min(255)];
        out.byte(u8::try_from(failing.len()).unwrap_or(u8::MAX));
        for name in failing {
            out.text(name);
        }
        out.byte(u8::from(readiness.is_current));
        let others = &readiness.others[..readiness.others.len().min(255)];
        out.byte(u8::try_from(others.len()).unwrap_or(u8::MAX));
        for other in others {
            out.0
                .extend([other.router_id, u8::from(other.is_v6), other.priority]);
        }
        out.0
            .extend(others.iter().map(|other| u8::from(other.wins_ties)));
        let left = &readiness.left[..readiness.left.len().min(255)];
        out.byte(u8::try_from(left.len()).unwrap_or(u8::MAX));
        for &(router_id, is_v6) in left {
            out.0.extend([router_id, u8::from(is_v6)]);
        }
        out.byte(u8::from(readiness.is_behind));
        out.byte(u8::from(readiness.is_alone));
        self.send(&out.0)
    }

    /// The last thing that the data process said, if it said anything since the last call.
    ///
    /// # Errors
    /// When the line is broken.
    pub fn readiness(&self) -> io::Result<Option<Readiness>> {
        let mut last = None;
        self.take(|bytes| last = read_readiness(bytes).or_else(|| last.take()))?;
        Ok(last)
    }

    /// Says how the routers are.
    ///
    /// # Errors
    /// As [`Link::report`].
    pub fn tell(&self, all: &[Status]) -> io::Result<()> {
        let mut out = Writer::default();
        let all = &all[..all.len().min(255)];
        out.0.extend([VERSION, STATUS]);
        out.byte(u8::try_from(all.len()).unwrap_or(u8::MAX));
        for status in all {
            status_text::write(&mut out, status);
        }
        for status in all {
            status_text::write_later(&mut out, status);
        }
        self.send(&out.0)
    }

    /// The last thing that the vrrp process said, if it said anything since the last call.
    ///
    /// # Errors
    /// When the line is broken.
    pub fn status(&self) -> io::Result<Option<Vec<Status>>> {
        let mut last = None;
        self.take(|bytes| last = read_status(bytes).or_else(|| last.take()))?;
        Ok(last)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        match catamaran_sys::fd_passing::send_with_fds(self.socket.as_fd(), bytes, &[]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    fn take(&self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let mut buf = vec![0; MAX_MESSAGE];
        loop {
            match catamaran_sys::fd_passing::recv_with_fds(self.socket.as_fd(), &mut buf) {
                Ok(received) if received.len == 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(received) => each(&buf[..received.len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

fn read_readiness(bytes: &[u8]) -> Option<Readiness> {
    let mut fields = Reader(bytes);
    if (fields.byte()?, fields.byte()?) != (VERSION, READINESS) {
        return None;
    }
    let serves = fields.byte()? == 1;
    let count = fields.byte()?;
    let failing = (0..count).map(|_| fields.text().map(str::to_owned));
    let failing = failing.collect::<Option<_>>()?;
    // A data process that is older than this one says no more.
    let (is_current, others) = read_others(&mut fields).unwrap_or((true, Vec::new()));
    let left = read_left(&mut fields).unwrap_or_default();
    Some(Readiness {
        serves,
        failing,
        is_current,
        others,
        left,
        is_behind: fields.byte() == Some(1),
        is_alone: fields.byte() == Some(1),
    })
}

fn read_others(fields: &mut Reader<'_>) -> Option<(bool, Vec<OtherActive>)> {
    let is_current = fields.byte()? == 1;
    let count = fields.byte()?;
    let read = |_| {
        Some(OtherActive {
            router_id: fields.byte()?,
            is_v6: fields.byte()? == 1,
            priority: fields.byte()?,
            wins_ties: false,
        })
    };
    let mut others = (0..count).map(read).collect::<Option<Vec<_>>>()?;
    for other in &mut others {
        // One that is older says no more.
        other.wins_ties = fields.byte() == Some(1);
    }
    Some((is_current, others))
}

fn read_left(fields: &mut Reader<'_>) -> Option<Vec<(u8, bool)>> {
    let count = fields.byte()?;
    (0..count)
        .map(|_| Some((fields.byte()?, fields.byte()? == 1)))
        .collect()
}

fn read_status(bytes: &[u8]) -> Option<Vec<Status>> {
    let mut fields = Reader(bytes);
    if (fields.byte()?, fields.byte()?) != (VERSION, STATUS) {
        return None;
    }
    let count = fields.byte()?;
    let all = (0..count).map(|_| status_text::read(&mut fields));
    let mut all: Vec<Status> = all.collect::<Option<_>>()?;
    for status in &mut all {
        // A vrrp process that is older than this one says no more.
        if status_text::read_later(&mut fields, status).is_none() {
            break;
        }
    }
    Some(all)
}

/// How often the data process says that it is well.
pub const REPORT_INTERVAL: Duration = Duration::from_millis(50);
/// Without a word for this long it does not serve.
pub const REPORT_TIMEOUT: Duration = Duration::from_millis(250);
/// Raised with every change of the messages; others are ignored, which counts as silence.
const VERSION: u8 = 1;
const READINESS: u8 = b'r';
const STATUS: u8 = b's';

#[cfg(test)]
mod tests {
    use super::*;
    use catamaran_core::vrrp::{Counters, Family, State};

    fn pair() -> (Link, Link) {
        let (ours, theirs) = catamaran_sys::fd_passing::seqpacket_pair().unwrap();
        (Link::new(ours), Link::new(theirs))
    }

    fn readiness(failing: &[&str]) -> Readiness {
        Readiness {
            serves: true,
            failing: failing.iter().map(|&name| name.to_owned()).collect(),
            is_current: true,
            others: vec![OtherActive {
                router_id: 51,
                is_v6: true,
                priority: 150,
                wins_ties: true,
            }],
            left: vec![(51, true), (52, false)],
            is_behind: true,
            is_alone: true,
        }
    }

    #[test]
    fn only_the_last_word_counts() {
        let (data, vrrp) = pair();
        assert_eq!(vrrp.readiness().unwrap(), None);
        data.report(&readiness(&[])).unwrap();
        data.report(&readiness(&["api", "web"])).unwrap();
        assert_eq!(vrrp.readiness().unwrap(), Some(readiness(&["api", "web"])));
        assert_eq!(vrrp.readiness().unwrap(), None);
    }

    #[test]
    fn of_two_with_the_same_priority_one_ranks_above_the_other() {
        let other = |wins_ties| OtherActive {
            router_id: 51,
            is_v6: false,
            priority: 100,
            wins_ties,
        };
        assert_eq!(
            [99, 100, 101].map(|own| other(true).rank(own)),
            [100, 101, 100]
        );
        assert_eq!(other(false).rank(100), 100);
    }

    #[test]
    fn a_full_line_holds_nobody_up() {
        let (data, _vrrp) = pair();
        for _ in 0..10_000 {
            data.report(&readiness(&["api"])).unwrap();
        }
    }

    #[test]
    fn status_arrives_with_every_counter() {
        let (data, vrrp) = pair();
        let status = Status {
            name: "main".into(),
            family: Family::V6,
            state: State::Active,
            priority: 150,
            active: Some("fe80::1".parse().unwrap()),
            is_in_conflict: true,
            is_path_dead: true,
            router_id: 51,
            counters: Counters {
                adverts_sent: 1,
                adverts_received: 2,
                adverts_dropped: [3, 4, 5, 6, 7, 8, 9, 16, 17, 18, 19],
                became_active: 10,
                became_backup: 11,
                conflicts: 12,
                late: 13,
                announcements: 14,
                failures: 15,
                answers: 20,
                path_deaths: 21,
            },
        };
        let all = vec![status.clone(), status];
        vrrp.tell(&all).unwrap();
        assert_eq!(data.status().unwrap(), Some(all));
    }

    #[test]
    fn a_status_of_an_older_process_has_what_that_one_knew() {
        let (data, vrrp) = pair();
        let mut status = Status {
            name: "main".into(),
            family: Family::V4,
            state: State::Active,
            priority: 150,
            active: None,
            is_in_conflict: false,
            is_path_dead: false,
            router_id: 0,
            counters: Counters::default(),
        };
        status.counters.adverts_dropped[10] = 5;
        let mut out = Writer::default();
        out.0.extend([VERSION, STATUS, 1]);
        status_text::write(&mut out, &status);
        vrrp.send(&out.0).unwrap();
        status.counters.adverts_dropped[10] = 0;
        assert_eq!(data.status().unwrap(), Some(vec![status]));
    }

    #[test]
    fn what_is_cut_off_or_of_another_version_is_ignored() {
        assert_eq!(read_readiness(&[VERSION, READINESS, 1, 2, 3, b'a']), None);
        assert_eq!(read_readiness(&[9, READINESS, 1, 0]), None);
        let old = read_readiness(&[VERSION, READINESS, 1, 0]).unwrap();
        assert!(old.serves && old.is_current && old.others.is_empty() && old.left.is_empty());
        assert_eq!(read_status(&[VERSION, STATUS, 1, 4, b'm']), None);
    }
}
