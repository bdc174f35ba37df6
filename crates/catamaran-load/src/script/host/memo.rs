//! What virtual users of a worker asked for lately.
//!
//! The next request and the next checks have the same tags as a rule, and to put names and values together
//! and to compare them costs more than all else that is counted of a request. One virtual user finds what
//! another has made: they run the same script.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash};

use foldhash::fast::FixedState;

use crate::tags::TagsId;

/// Values by what they were made of.
#[derive(Debug)]
pub(in crate::script) struct Memo<T>(HashMap<u64, T, FixedState>);

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<T> Memo<T> {
    /// The value made of `key`; `is_it` tells it from others with the same hash.
    pub(in crate::script) fn find(
        &self,
        key: impl Hash,
        is_it: impl FnOnce(&T) -> bool,
    ) -> Option<&T> {
        self.0.get(&hash(key)).filter(|value| is_it(value))
    }

    /// Keeps a value for the next time.
    pub(in crate::script) fn keep(&mut self, key: impl Hash, value: T) {
        if self.0.len() >= MAX_KEPT {
            self.0.clear();
        }
        self.0.insert(hash(key), value);
    }
}

fn hash(key: impl Hash) -> u64 {
    FixedState::default().hash_one(key)
}

/// What the tags of a sample depend on, as far as it changes from one to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::script) enum About<'a> {
    /// An answer.
    Answer {
        url: &'a str,
        method: &'a str,
        status: u16,
        /// Whether it was expected, if that is judged.
        verdict: Option<bool>,
        /// The first bytes of the head.
        version: [u8; 8],
        /// The version of TLS.
        tls: &'static str,
    },
    /// The iteration.
    Iteration,
}

/// Where tags are asked for: the scenario and the group.
pub(super) type Where<'a> = (Option<usize>, &'a str);

/// Tags by what they depend on.
#[derive(Debug, Default)]
pub(super) struct TagMemo(Memo<Kept>);

#[derive(Debug)]
struct Kept {
    scenario: Option<usize>,
    group: String,
    about: KeptAbout,
    tags: TagsId,
}

#[derive(Debug)]
enum KeptAbout {
    /// URL and method; the rest.
    Answer(String, String, Rest),
    Iteration,
}

type Rest = (u16, Option<bool>, [u8; 8], &'static str);

impl KeptAbout {
    fn is(&self, about: About<'_>) -> bool {
        match (self, about) {
            (
                Self::Answer(of, by, rest),
                About::Answer {
                    url,
                    method,
                    status,
                    verdict,
                    version,
                    tls,
                },
            ) => *rest == (status, verdict, version, tls) && of == url && by == method,
            (Self::Iteration, About::Iteration) => true,
            _ => false,
        }
    }
}

impl From<About<'_>> for KeptAbout {
    fn from(about: About<'_>) -> Self {
        match about {
            About::Answer {
                url,
                method,
                status,
                verdict,
                version,
                tls,
            } => {
                let rest = (status, verdict, version, tls);
                Self::Answer(url.to_owned(), method.to_owned(), rest)
            }
            About::Iteration => Self::Iteration,
        }
    }
}

impl TagMemo {
    pub(super) fn find(&self, at: Where<'_>, about: About<'_>) -> Option<TagsId> {
        let is_it = |kept: &Kept| (kept.scenario, &*kept.group) == at && kept.about.is(about);
        self.0.find((at, about), is_it).map(|kept| kept.tags)
    }

    pub(super) fn keep(&mut self, at: Where<'_>, about: About<'_>, tags: TagsId) {
        let (scenario, group) = at;
        let kept = Kept {
            scenario,
            group: group.to_owned(),
            about: about.into(),
            tags,
        };
        self.0.keep((at, about), kept);
    }
}

/// More are forgotten together.
const MAX_KEPT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_lately_is_known_in_its_scenario_and_group_only() {
        let mut memo = TagMemo::default();
        let answered = |status: u16| About::Answer {
            url: "http://a/",
            method: "GET",
            status,
            verdict: Some(true),
            version: *b"HTTP/1.1",
            tls: "",
        };
        let (here, group) = ((Some(0), ""), (Some(0), "::a"));
        memo.keep(here, answered(200), TagsId::default());
        assert!(memo.find(here, answered(200)).is_some());
        assert!(memo.find(group, answered(200)).is_none());
        assert!(memo.find((Some(1), ""), answered(200)).is_none());
        assert!(memo.find(here, answered(404)).is_none());
        memo.keep(group, answered(500), TagsId::default());
        assert!(memo.find(here, answered(200)).is_some());
        assert!(memo.find(here, answered(500)).is_none());
        assert!(memo.find(group, About::Iteration).is_none());
    }

    #[test]
    fn only_so_many_are_kept() {
        let mut memo = Memo::default();
        for number in 0..=MAX_KEPT {
            memo.keep(number, number);
        }
        assert!(memo.0.len() <= MAX_KEPT);
        assert_eq!(memo.find(MAX_KEPT, |_| true), Some(&MAX_KEPT));
        assert_eq!(memo.find(0, |_| true), None);
        assert_eq!(memo.find(MAX_KEPT, |_| false), None);
    }
}
