//! Tags that a virtual user asked for lately.
//!
//! Its next request and checks have the same as a rule, and to put names and values together and to
//! compare them costs more than all else that is counted of a request.

use crate::tags::TagsId;

/// What the tags of a sample depend on, as far as it changes from one to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// The latest, with the group that they were asked for in.
#[derive(Debug, Default)]
pub(super) struct Memo {
    group: String,
    kept: Vec<(Kept, TagsId)>,
    /// Which is replaced next, once there are many.
    oldest: usize,
}

#[derive(Debug)]
enum Kept {
    /// URL and method; the rest.
    Answer(String, String, Rest),
    Iteration,
}

type Rest = (u16, Option<bool>, [u8; 8], &'static str);

impl Kept {
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

impl From<About<'_>> for Kept {
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

impl Memo {
    pub(super) fn find(&self, group: &str, about: About<'_>) -> Option<TagsId> {
        if self.group != group {
            return None;
        }
        let mut kept = self.kept.iter();
        kept.find(|(kept, _)| kept.is(about)).map(|(_, tags)| *tags)
    }

    pub(super) fn keep(&mut self, group: &str, about: About<'_>, tags: TagsId) {
        if self.group != group {
            group.clone_into(&mut self.group);
            self.kept.clear();
        }
        let kept = (about.into(), tags);
        if self.kept.len() < MAX_KEPT {
            self.kept.push(kept);
        } else {
            self.kept[self.oldest] = kept;
            self.oldest = (self.oldest + 1) % MAX_KEPT;
        }
    }
}

/// More are asked for anew.
const MAX_KEPT: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_lately_is_known_in_its_group_only() {
        let mut memo = Memo::default();
        let answered = |status: u16| About::Answer {
            url: "http://a/",
            method: "GET",
            status,
            verdict: Some(true),
            version: *b"HTTP/1.1",
            tls: "",
        };
        let answer = answered(200);
        memo.keep("", answer, TagsId::default());
        assert!(memo.find("", answer).is_some());
        assert!(memo.find("::a", answer).is_none());
        assert!(memo.find("", answered(404)).is_none());
        memo.keep("::a", answered(500), TagsId::default());
        assert!(memo.find("", answer).is_none());
        for status in 501..510 {
            memo.keep("::a", answered(status), TagsId::default());
        }
        assert!(memo.find("::a", answered(500)).is_none());
        assert!(memo.find("::a", answered(509)).is_some());
        assert!(memo.find("::a", About::Iteration).is_none());
    }
}
