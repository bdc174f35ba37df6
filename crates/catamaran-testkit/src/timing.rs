//! Trials whose own timing matters, on machines that stop a thread for seconds at any moment.

use std::time::{Duration, Instant};

/// How often a trial is repeated whose timing was not sound.
const TRIES: usize = 50;
/// How often something that should be fast is timed.
const TIMINGS: usize = 5;

/// Does `work` again until it has taken less than `limit`, and returns what that time gave.
///
/// For what must be done before a deadline of the program under test: whatever is asserted of the
/// result holds only if the test itself was in time.
///
/// # Panics
/// When the machine never lets it be that fast.
pub fn timely<T>(limit: Duration, mut work: impl FnMut() -> T) -> T {
    for _ in 0..TRIES {
        let began = Instant::now();
        let done = work();
        if began.elapsed() < limit {
            return done;
        }
    }
    panic!("the machine is too slow: nothing took less than {limit:?} in {TRIES} tries");
}

/// Times `work` until it takes less than `bound`, a few times at most, and returns the shortest.
///
/// For what must be fast: a busy machine makes one trial slow, only the program all of them.
pub fn shortest(bound: Duration, mut work: impl FnMut()) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..TIMINGS {
        let began = Instant::now();
        work();
        best = best.min(began.elapsed());
        if best < bound {
            break;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::sleep;

    #[test]
    fn work_is_repeated_until_it_was_in_time() {
        let mut pauses = [Duration::from_secs(2), Duration::ZERO].into_iter();
        let mut times = 0;
        let told = timely(Duration::from_secs(1), || {
            sleep(pauses.next().unwrap_or_default());
            times += 1;
            times
        });
        assert!(told >= 2);
    }

    #[test]
    fn the_shortest_of_a_few_is_told_and_the_rest_not_tried() {
        let mut times = 0;
        let best = shortest(Duration::from_secs(3600), || times += 1);
        assert!(best < Duration::from_secs(3600));
        assert_eq!(times, 1);
        let best = shortest(Duration::ZERO, || times += 1);
        assert_eq!((best > Duration::ZERO, times), (true, 1 + TIMINGS));
    }
}
