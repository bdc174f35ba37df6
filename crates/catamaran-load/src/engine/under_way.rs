//! What becomes of a request that is cut off.

use std::rc::Rc;

use catamaran_sys::clock::now_nanos;

use super::local::Local;
use crate::board::Answered;
use crate::metric::MetricId;
use crate::sink::as_f64;
use crate::tags::TagsId;

/// A request that is under way. Dropped before [`Self::over`], it is counted as cut off.
///
/// A load test that forgot those would tell of a target that has stopped to answer that all it answered came
/// quickly.
#[derive(Debug)]
pub struct UnderWay {
    local: Rc<Local>,
    is_over: bool,
    /// Of an open model: the metric of times since requests should have begun, the tags of what is cut off,
    /// and when it should have begun, in nanoseconds of the monotonic clock.
    due: Option<(MetricId, TagsId, u64)>,
}

impl UnderWay {
    /// A request begins.
    #[must_use]
    pub fn new(local: &Rc<Local>, due: Option<(MetricId, TagsId, u64)>) -> Self {
        Self {
            local: Rc::clone(local),
            is_over: false,
            due,
        }
    }

    /// It has ended, well or not.
    pub fn over(mut self) {
        self.is_over = true;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let now = now_nanos();
        let mut recorder = self.local.recorder.borrow_mut();
        recorder.answered(Answered::cut_off());
        // It has taken so long already; how long it would have, nobody knows.
        if let Some((metric, tags, due)) = self.due {
            let waited = as_f64(now.saturating_sub(due)) / 1e6;
            recorder.record(metric, tags, waited, now);
        }
    }
}
