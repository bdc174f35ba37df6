//! What follows from a collector's answer: the rules of OTLP for trying again
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp-response>), and what the log is told. No I/O.

use super::otlp::{Answer, one_line};
use catamaran_core::Timestamp;
use std::time::Duration;

/// What a collector answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// When it wants to be asked again.
    pub(super) retry_after: Option<Duration>,
    /// The beginning of its body.
    pub(super) body: Vec<u8>,
}

/// What becomes of a batch after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was taken, but for this many spans.
    Taken { rejected: u64 },
    /// It is tried again after this time.
    Again(Duration),
    /// It is lost.
    Lost,
}

/// What the log is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Spans do not arrive: why, and what to do.
    Away(String),
    /// They arrive again.
    Back,
    /// Some were rejected: why.
    Rejected(String),
}

/// The tries to deliver one batch after the other.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// Tries of the batch that failed.
    tries: u32,
    /// Whether the last batch or try failed.
    is_away: bool,
    /// Whether the log knows.
    is_told: bool,
    last_told: Option<Timestamp>,
    last_rejected: Option<Timestamp>,
}

impl Delivery {
    /// Takes note of how a try went; an error is told by its words.
    pub(super) fn handle(
        &mut self,
        now: Timestamp,
        result: Result<Reply, String>,
        rng: &mut fastrand::Rng,
    ) -> (Verdict, Option<Notice>) {
        let (why, may_repeat, wait) = match result {
            Ok(reply) if (200..300).contains(&reply.status) => return self.taken(now, &reply.body),
            Ok(reply) => {
                let may_repeat = matches!(reply.status, 429 | 502 | 503 | 504);
                (refusal(&reply), may_repeat, reply.retry_after)
            }
            Err(error) => (
                format!("{error}; start the collector, or correct `endpoint` under [tracing]"),
                true,
                None,
            ),
        };
        self.is_away = true;
        let is_due = |last: Option<Timestamp>| {
            last.is_none_or(|last| now.saturating_since(last) >= TOLD_EVERY)
        };
        let notice = (!self.is_told && is_due(self.last_told)).then(|| {
            (self.is_told, self.last_told) = (true, Some(now));
            Notice::Away(why)
        });
        self.tries += 1;
        if !may_repeat || self.tries >= MAX_TRIES {
            self.tries = 0;
            return (Verdict::Lost, notice);
        }
        let wait = wait.unwrap_or_else(|| {
            // Twice as long each time; by chance shorter, so that not all balancers come at once.
            let longest = FIRST_WAIT * 2_u32.pow(self.tries - 1);
            longest.mul_f64(0.5 + rng.f64() / 2.0)
        });
        (Verdict::Again(wait.min(LONGEST_WAIT)), notice)
    }

    fn taken(&mut self, now: Timestamp, body: &[u8]) -> (Verdict, Option<Notice>) {
        let answer = Answer::read(body);
        self.tries = 0;
        self.is_away = false;
        let verdict = Verdict::Taken {
            rejected: answer.rejected,
        };
        if std::mem::take(&mut self.is_told) {
            return (verdict, Some(Notice::Back));
        }
        let last = self.last_rejected;
        let is_due = last.is_none_or(|last| now.saturating_since(last) >= TOLD_EVERY);
        let notice = (answer.rejected > 0 && is_due).then(|| {
            self.last_rejected = Some(now);
            Notice::Rejected(answer.message)
        });
        (verdict, notice)
    }

    /// Whether the last try failed.
    pub(super) const fn is_away(&self) -> bool {
        self.is_away
    }
}

/// Why a collector did not take a batch, and what to do.
fn refusal(reply: &Reply) -> String {
    let status = reply.status;
    let remedy = match status {
        400 => "is it a collector of OTLP over HTTP?",
        401 | 403 => "it wants to know who we are: write `headers-file` under [tracing]",
        404 | 405 => "no traces are taken at this path; correct `endpoint` under [tracing]",
        413 => "its limit on a request is too low; raise it to 16 MiB",
        415 => "it takes no protobuf; send to a collector that does",
        429 | 503 => "it has too much to do; lower `sample` under [tracing], or give it more room",
        502 | 504 => "what it stands before does not answer",
        _ => "its log says more",
    };
    let said = one_line(&reply.body);
    let text = format!("the collector answers {status}: {remedy}");
    // A protobuf of a status is no text; what of it is, is told.
    match said.is_empty() || said.contains('\u{fffd}') {
        true => text,
        false => format!("{text}; it says: {said}"),
    }
}

/// Tries of one batch: with the waits between them about half a minute.
const MAX_TRIES: u32 = 6;
/// Wait before the second try; doubled from then on.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait, whatever the collector says.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often the log is told of the same trouble.
const TOLD_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(seconds)
    }

    fn reply(status: u16) -> Result<Reply, String> {
        Ok(Reply {
            status,
            ..Reply::default()
        })
    }

    fn try_all(delivery: &mut Delivery, status: u16) -> Vec<Verdict> {
        let mut rng = fastrand::Rng::with_seed(4);
        let mut all = Vec::new();
        loop {
            let (verdict, _) = delivery.handle(at(1), reply(status), &mut rng);
            all.push(verdict);
            if !matches!(verdict, Verdict::Again(_)) {
                return all;
            }
        }
    }

    #[test]
    fn what_may_pass_is_tried_again_with_longer_waits_and_then_given_up() {
        for status in [429, 502, 503, 504] {
            let all = try_all(&mut Delivery::default(), status);
            assert_eq!(all.len(), 6, "{status}");
            assert_eq!(all[5], Verdict::Lost);
            for (before, verdict) in all[..5].iter().enumerate() {
                let Verdict::Again(wait) = verdict else {
                    panic!("{verdict:?}");
                };
                let longest = Duration::from_secs(1 << before);
                assert!(*wait <= longest && *wait >= longest / 2, "{wait:?}");
            }
        }
    }

    #[test]
    fn what_will_not_pass_is_lost_at_once() {
        for status in [301, 400, 401, 404, 413, 500, 501] {
            let all = try_all(&mut Delivery::default(), status);
            assert_eq!(all, [Verdict::Lost], "{status}");
        }
    }

    #[test]
    fn the_collector_says_when_to_come_again_but_not_for_ever() {
        let mut rng = fastrand::Rng::with_seed(4);
        for (said, expected) in [(7, 7), (86_400, 30)] {
            let reply = Reply {
                status: 503,
                retry_after: Some(Duration::from_secs(said)),
                ..Reply::default()
            };
            let (verdict, _) = Delivery::default().handle(at(1), Ok(reply), &mut rng);
            assert_eq!(verdict, Verdict::Again(Duration::from_secs(expected)));
        }
    }

    #[test]
    fn trouble_is_told_once_and_so_is_its_end() {
        let mut rng = fastrand::Rng::with_seed(4);
        let mut delivery = Delivery::default();
        let refused = || Err("connection refused".to_owned());
        let (_, notice) = delivery.handle(at(1), refused(), &mut rng);
        let Some(Notice::Away(why)) = notice else {
            panic!("{notice:?}");
        };
        assert!(
            why.starts_with("connection refused; start the collector"),
            "{why}"
        );
        for second in 2..200 {
            assert_eq!(delivery.handle(at(second), refused(), &mut rng).1, None);
        }
        assert!(delivery.is_away());
        let taken = Verdict::Taken { rejected: 0 };
        let back = delivery.handle(at(200), reply(200), &mut rng);
        assert_eq!(back, (taken, Some(Notice::Back)));
        assert_eq!(
            delivery.handle(at(201), reply(202), &mut rng),
            (taken, None)
        );
        assert!(!delivery.is_away());
    }

    #[test]
    fn one_that_comes_and_goes_does_not_fill_the_log() {
        let mut rng = fastrand::Rng::with_seed(4);
        let mut delivery = Delivery::default();
        let mut notices = 0;
        for second in 0..120 {
            let status = if second % 2 == 0 { 500 } else { 200 };
            let (_, notice) = delivery.handle(at(second), reply(status), &mut rng);
            notices += usize::from(notice.is_some());
        }
        assert_eq!(notices, 4);
    }

    #[test]
    fn a_refusal_names_its_remedy_and_the_collectors_words() {
        let mut refused = Reply {
            status: 401,
            body: b"no\ntoken".to_vec(),
            ..Reply::default()
        };
        let said = "the collector answers 401: it wants to know who we are: write `headers-file` \
                    under [tracing]";
        assert_eq!(refusal(&refused), format!("{said}; it says: no\\ntoken"));
        refused.body = vec![0x08, 0xff];
        assert_eq!(refusal(&refused), said);
    }
}
