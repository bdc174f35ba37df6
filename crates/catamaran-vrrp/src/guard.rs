//! The secret that the nodes of a virtual address share, and what it proves of adverts.
//!
//! The file holds a key on each line; the first one signs, all are accepted. So a new key is written
//! below the old one on all nodes, then moved above it on all, then the old one is removed. The file
//! is read once a second, on a thread of its own.

use catamaran_core::model::Authentication;
use catamaran_core::unreadable;
use catamaran_core::vrrp::{Dropped, Freshness, Seal, Stamps, Tag};
use ring::hmac;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The keys of a file; the first one signs.
#[derive(Clone, Debug)]
pub(crate) struct Keys(Arc<[hmac::Key]>);

/// What a virtual router needs to seal adverts and to judge seals.
#[derive(Debug)]
pub(crate) struct Guard {
    keys: Keys,
    is_required: bool,
    stamps: Stamps,
    freshness: Freshness,
}

impl Keys {
    /// Reads a file; what is wrong with it, in words that tell nothing of its content.
    pub(crate) fn read(path: &Path) -> Result<(Self, Vec<u8>), String> {
        let bytes = std::fs::read(path).map_err(|error| {
            let user = catamaran_sys::identity::own_name();
            let make = format!(
                "make one with `(umask 077; openssl rand -base64 32 > {})` and give every node the \
                 same",
                path.display()
            );
            unreadable(path, &error, (&user, path.exists()), &make)
        })?;
        let lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
        let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
        match lines.len() {
            0 => {
                return Err(
                    "is empty; write a key, such as `openssl rand -base64 32` makes".into(),
                );
            }
            1..=MAX_KEYS => {}
            count => return Err(format!("has {count} keys; {MAX_KEYS} are allowed")),
        }
        if let Some(at) = lines.iter().position(|line| line.len() < MIN_KEY) {
            return Err(format!(
                "has a key of less than {MIN_KEY} characters, number {}; use `openssl rand -base64 \
                 32`",
                at + 1
            ));
        }
        let keys = lines
            .iter()
            .map(|line| hmac::Key::new(hmac::HMAC_SHA256, line));
        let keys = Self(keys.collect());
        Ok((keys, bytes))
    }

    fn sign(&self, bytes: &[u8]) -> Tag {
        let tag = hmac::sign(&self.0[0], bytes);
        let mut out = Tag::default();
        out.copy_from_slice(tag.as_ref());
        out
    }

    fn has_made(&self, seal: &Seal) -> bool {
        let is_of = |key: &hmac::Key| hmac::verify(key, &seal.covered, &seal.tag).is_ok();
        self.0.iter().any(is_of)
    }
}

impl Guard {
    pub(crate) fn new(keys: Keys, authentication: &Authentication) -> Self {
        Self {
            keys,
            is_required: authentication.is_required,
            stamps: Stamps::default(),
            freshness: Freshness::default(),
        }
    }

    pub(crate) fn set_keys(&mut self, keys: Keys) {
        self.keys = keys;
    }

    /// The time of the next seal, and what signs it.
    pub(crate) fn next_seal(&mut self) -> (u64, impl Fn(&[u8]) -> Tag + use<>) {
        let keys = self.keys.clone();
        (self.stamps.next(now_micros()), move |bytes: &[u8]| {
            keys.sign(bytes)
        })
    }

    /// Whether a packet from `from` with this seal is genuine and new.
    pub(crate) fn judge(&mut self, from: IpAddr, seal: Option<&Seal>) -> Result<(), Dropped> {
        match seal {
            None if self.is_required => Err(Dropped::Unsealed),
            None => Ok(()),
            Some(seal) if !self.keys.has_made(seal) => Err(Dropped::Forged),
            Some(seal) => self.freshness.take(from, seal.time_micros, now_micros()),
        }
    }
}

/// Reads the file again and again; tells keys that are others than `known`, the bytes that were read
/// first, until `tell` says that nobody listens.
pub(crate) async fn watch<F: Future<Output = bool>>(
    authentication: Authentication,
    mut known: Vec<u8>,
    tell: impl Fn(Keys) -> F,
) {
    let mut problem = String::new();
    loop {
        tokio::time::sleep(READ_AGAIN).await;
        let path = authentication.secret_file.clone();
        // On a thread of its own: a file may lie on a disk that hangs.
        let read = tokio::task::spawn_blocking(move || Keys::read(&path)).await;
        let path = authentication.secret_file.display();
        match read {
            Ok(Ok((keys, bytes))) => {
                problem.clear();
                if bytes != known {
                    known = bytes;
                    tracing::info!(%path, keys = keys.0.len(), "secret file has changed");
                    if !tell(keys).await {
                        return;
                    }
                }
            }
            Ok(Err(now)) if now != problem => {
                tracing::error!(%path, "`secret-file` {now}; the keys read before go on");
                problem = now;
            }
            Ok(Err(_)) => {}
            Err(_) => return,
        }
    }
}

/// Seals carry the time of day: nodes have no other clock in common.
fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

/// An old and a new one, and one that somebody forgot, twice.
const MAX_KEYS: usize = 4;
/// 96 bits, if it is base64.
const MIN_KEY: usize = 16;
const READ_AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use catamaran_core::vrrp::{Advert, AdvertInterval, ChecksumStyle, Version};

    const OLD: &str = "0123456789abcdef-old";
    const NEW: &str = "0123456789abcdef-new";

    fn keys(text: &str) -> Result<Keys, String> {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("catamaran-secret-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        let read = Keys::read(&path);
        std::fs::remove_file(&path).unwrap();
        read.map(|(keys, _)| keys)
    }

    fn guard(text: &str, is_required: bool) -> Guard {
        let authentication = Authentication {
            secret_file: "/nowhere".into(),
            is_required,
        };
        Guard::new(keys(text).unwrap(), &authentication)
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// The seal of an advert of `guard` from 10.0.0.1.
    fn sealed(guard: &mut Guard) -> Seal {
        let advert = Advert {
            version: Version::V3,
            router_id: 51,
            priority: 150,
            interval: AdvertInterval::from_centisecs(100).unwrap(),
            addresses: vec![ip(100)],
        };
        let (time, sign) = guard.next_seal();
        let bytes = advert.encode_sealed(ip(1), ip(2), ChecksumStyle::Message, time, &sign);
        Seal::of(&bytes, ip(1), ip(2)).unwrap()
    }

    #[test]
    fn an_advert_is_heeded_once() {
        let (mut sender, mut receiver) = (guard(OLD, true), guard(OLD, true));
        let first = sealed(&mut sender);
        assert_eq!(receiver.judge(ip(1), Some(&first)), Ok(()));
        assert_eq!(receiver.judge(ip(1), Some(&first)), Err(Dropped::Replayed));
        let next = sealed(&mut sender);
        assert_eq!(receiver.judge(ip(1), Some(&next)), Ok(()));
        assert_eq!(receiver.judge(ip(1), Some(&first)), Err(Dropped::Replayed));
    }

    #[test]
    fn a_seal_of_another_secret_is_forged_and_takes_nobody_s_place() {
        let mut receiver = guard(OLD, true);
        let forged = sealed(&mut guard(NEW, true));
        let genuine = sealed(&mut guard(OLD, true));
        assert_eq!(receiver.judge(ip(1), Some(&forged)), Err(Dropped::Forged));
        assert_eq!(receiver.judge(ip(1), Some(&genuine)), Ok(()));
    }

    #[test]
    fn without_a_seal_an_advert_is_heeded_only_where_none_is_required() {
        assert_eq!(guard(OLD, true).judge(ip(1), None), Err(Dropped::Unsealed));
        assert_eq!(guard(OLD, false).judge(ip(1), None), Ok(()));
        let forged = sealed(&mut guard(NEW, true));
        let outcome = guard(OLD, false).judge(ip(1), Some(&forged));
        assert_eq!(outcome, Err(Dropped::Forged));
    }

    #[test]
    fn a_key_is_replaced_in_three_steps_and_every_pair_on_the_way_agrees() {
        let steps = [
            OLD.to_owned(),
            format!("{OLD}\n{NEW}\n"),
            format!("{NEW}\n{OLD}\n"),
            NEW.to_owned(),
        ];
        for step in steps.windows(2) {
            for (sends, hears) in [(0, 1), (1, 0)] {
                let seal = sealed(&mut guard(&step[sends], true));
                let outcome = guard(&step[hears], true).judge(ip(1), Some(&seal));
                assert_eq!(outcome, Ok(()), "{step:?}");
            }
        }
    }

    #[test]
    fn a_file_that_protects_nothing_is_refused() {
        for (text, problem) in [
            ("\n\n", "is empty"),
            ("0123456789abcdef\nshort", "number 2"),
            (&format!("{OLD}\n").repeat(5), "5 keys"),
        ] {
            let error = keys(text).unwrap_err();
            assert!(error.contains(problem), "{error}");
            assert!(!error.contains("0123"), "{error}");
        }
    }
}
