//! Giving work no longer than until a deadline.
//!
//! A timer of its own for each request would cost it a tenth of what it takes. Deadlines that lie far off,
//! as most do, are looked at a few times a second instead, by the thread that [`watch`]es over them.

use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use catamaran_sys::clock::now_nanos;

use super::Failure;

/// Gives `work` until `deadline_nanos` of the monotonic clock; if that is far off and the thread watches
/// over deadlines, a quarter of a second longer at most.
pub async fn set_timeout<T>(
    deadline_nanos: u64,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let left = deadline_nanos.saturating_sub(now_nanos());
    if left >= FAR_NANOS && WATCHED.with_borrow(|watched| watched.is_on) {
        let watched = Watched {
            work: pin!(work),
            deadline: deadline_nanos,
            slot: None,
        };
        return watched.await;
    }
    let done = tokio::time::timeout(Duration::from_nanos(left), work).await;
    done.unwrap_or(Err(Failure::Timeout))
}

/// Watches over the deadlines of this thread, until it is dropped.
pub(crate) async fn watch() {
    let _on = On::new();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = now_nanos();
        let over = WATCHED.with_borrow_mut(|watched| watched.take_over(now));
        over.into_iter().for_each(Waker::wake);
    }
}

/// Work with a deadline that lies far off.
struct Watched<'a, F> {
    work: Pin<&'a mut F>,
    deadline: u64,
    /// Where it stands in the list, once it has waited.
    slot: Option<usize>,
}

impl<T, F: Future<Output = Result<T, Failure>>> Future for Watched<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if let Poll::Ready(done) = self.work.as_mut().poll(context) {
            return Poll::Ready(done);
        }
        WATCHED.with_borrow_mut(|watched| {
            let slot = match self.slot {
                None => watched.put(self.deadline),
                Some(slot) if watched.waits[slot].is_over => {
                    return Poll::Ready(Err(Failure::Timeout));
                }
                Some(slot) => slot,
            };
            self.slot = Some(slot);
            let waker = &mut watched.waits[slot].waker;
            if !waker
                .as_ref()
                .is_some_and(|waker| waker.will_wake(context.waker()))
            {
                *waker = Some(context.waker().clone());
            }
            Poll::Pending
        })
    }
}

impl<F> Drop for Watched<'_, F> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            WATCHED.with_borrow_mut(|watched| watched.free(slot));
        }
    }
}

/// The deadlines of a thread.
#[derive(Debug, Default)]
struct Waits {
    is_on: bool,
    waits: Vec<Wait>,
    free: Vec<usize>,
}

#[derive(Debug, Default)]
struct Wait {
    deadline: u64,
    is_over: bool,
    waker: Option<Waker>,
}

impl Waits {
    fn put(&mut self, deadline: u64) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.waits.push(Wait::default());
            self.waits.len() - 1
        });
        let wait = &mut self.waits[slot];
        (wait.deadline, wait.is_over) = (deadline, false);
        slot
    }

    fn free(&mut self, slot: usize) {
        // The waker stays: the next that waits here is as a rule of the same task.
        self.waits[slot].deadline = u64::MAX;
        self.free.push(slot);
    }

    /// Marks those that are over. Returns what wakes them.
    fn take_over(&mut self, now: u64) -> Vec<Waker> {
        let over = self.waits.iter_mut().filter(|wait| wait.deadline <= now);
        over.filter_map(|wait| {
            wait.is_over = true;
            wait.deadline = u64::MAX;
            wait.waker.take()
        })
        .collect()
    }
}

/// While it lives, this thread watches.
struct On;

impl On {
    fn new() -> Self {
        WATCHED.with_borrow_mut(|watched| watched.is_on = true);
        Self
    }
}

impl Drop for On {
    fn drop(&mut self) {
        WATCHED.with_borrow_mut(|watched| watched.is_on = false);
    }
}

thread_local! {
    static WATCHED: RefCell<Waits> = RefCell::default();
}

/// How often deadlines are looked at.
const INTERVAL: Duration = Duration::from_millis(250);
/// What is as far off may be a little late.
const FAR_NANOS: u64 = 10_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_woken_once_and_its_place_used_again() {
        let mut waits = Waits::default();
        let (first, second) = (waits.put(100), waits.put(200));
        for slot in [first, second] {
            waits.waits[slot].waker = Some(Waker::noop().clone());
        }
        assert_eq!(waits.take_over(99).len(), 0);
        assert_eq!(waits.take_over(150).len(), 1);
        assert!(waits.waits[first].is_over && !waits.waits[second].is_over);
        assert_eq!(waits.take_over(150).len(), 0);
        waits.free(first);
        waits.free(second);
        assert_eq!(waits.take_over(u64::MAX - 1).len(), 0);
        assert_eq!(waits.put(300), second);
        assert_eq!(waits.waits.len(), 2);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn work_ends_at_its_deadline_whether_it_is_watched_or_not() {
        let never = || std::future::pending::<Result<(), Failure>>();
        let soon = now_nanos() + 1_000_000;
        assert!(matches!(
            set_timeout(soon, never()).await,
            Err(Failure::Timeout)
        ));
        let mut watching = pin!(watch());
        let late = now_nanos() + FAR_NANOS;
        let mut work = pin!(set_timeout(late, never()));
        let overtaken = async {
            // What the clock will say in time is said now.
            tokio::task::yield_now().await;
            let over = WATCHED.with_borrow_mut(|watched| watched.take_over(late));
            over.into_iter().for_each(Waker::wake);
        };
        tokio::pin!(overtaken);
        let ended = tokio::select! {
            biased;
            () = &mut watching => None,
            ended = &mut work => Some(ended),
            () = async { overtaken.await; std::future::pending().await } => None,
        };
        assert!(matches!(ended, Some(Err(Failure::Timeout))));
    }
}
