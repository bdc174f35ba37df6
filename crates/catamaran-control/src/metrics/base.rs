//! What was counted before this process: its counters go on from there.
//!
//! The processes of one service that follow each other hand their page on. What is counted then
//! need not be listed anywhere else, whichever version counted it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

/// Values of counters, by the text before them: name and labels.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Base(HashMap<String, f64>);

/// What processes before this one have counted, as far as they have told.
#[derive(Clone, Debug, Default)]
pub struct CountedBefore(Arc<Mutex<Told>>);

#[derive(Debug)]
enum Told {
    /// As it came: it is read when somebody asks, not while this process begins to serve.
    Page(Vec<u8>),
    Read(Arc<Base>),
}

impl Default for Told {
    fn default() -> Self {
        Self::Read(Arc::default())
    }
}

impl Base {
    /// The counters and histograms of a page.
    pub(crate) fn of_page(page: &str) -> Self {
        let mut values = HashMap::new();
        let mut is_counter = false;
        for line in page.lines() {
            if let Some(comment) = line.strip_prefix('#') {
                if let Some(kind) = comment.strip_prefix(" TYPE ") {
                    is_counter = kind.ends_with(" counter") || kind.ends_with(" histogram");
                }
                continue;
            }
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            // What is said of the process itself begins with each.
            let is_counted = is_counter && !series.starts_with("process_");
            if let (true, Ok(value)) = (is_counted, value.parse()) {
                values.insert(series.to_owned(), value);
            }
        }
        Self(values)
    }

    /// Writes the lines of `samples` to `page`, with what was counted before added.
    pub(super) fn add_to(&self, samples: &str, page: &mut String) {
        if self.0.is_empty() {
            return page.push_str(samples);
        }
        for line in samples.lines() {
            let split = line.rsplit_once(' ');
            let sum = split.and_then(|(series, value)| {
                let before = self.0.get(series)?;
                let value: f64 = value.parse().ok()?;
                Some((series, before + value))
            });
            match sum {
                // Below 2^53 a sum of whole numbers is exact, and written without a point.
                Some((series, sum)) => {
                    writeln!(page, "{series} {sum}").expect("a String takes every write");
                }
                None => {
                    page.push_str(line);
                    page.push('\n');
                }
            }
        }
    }
}

impl CountedBefore {
    /// Takes the page that was told last in place of what was before.
    pub fn set(&self, page: Vec<u8>) {
        *self.lock() = Told::Page(page);
    }

    pub(crate) fn get(&self) -> Arc<Base> {
        let mut told = self.lock();
        let base = match &*told {
            Told::Read(base) => return Arc::clone(base),
            Told::Page(page) => Arc::new(Base::of_page(&String::from_utf8_lossy(page))),
        };
        *told = Told::Read(Arc::clone(&base));
        base
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Exposition, Format, Histogram, Metric};

    fn page(count: u64, base: Option<Arc<Base>>) -> String {
        let mut page = Exposition::new();
        if let Some(base) = base {
            page.add_base(base);
        }
        page.counter(Metric::PanicsTotal, &[], count);
        page.gauge(Metric::ReloadLastOk, &[], 1.0);
        let histogram = Histogram {
            buckets: &[(0.5, count)],
            above: 1,
            sum: 0.25,
        };
        let labels = [("frontend", "a b".into())];
        page.histogram(Metric::FrontendDurationSeconds, &labels, histogram);
        page.finish(Format::Prometheus)
    }

    #[test]
    fn the_page_told_last_counts_and_is_read_once() {
        let counted = CountedBefore::default();
        assert_eq!(*counted.get(), Base::default());
        counted.set(page(3, None).into_bytes());
        counted.set(page(5, None).into_bytes());
        let read = counted.get();
        assert_eq!(*read, Base::of_page(&page(5, None)));
        assert!(Arc::ptr_eq(&read, &counted.get()));
    }

    #[test]
    fn counters_go_on_and_gauges_do_not() {
        let base = Arc::new(Base::of_page(&page(3, None)));
        let second = page(4, Some(base));
        for line in [
            "catamaran_panics_total 7",
            "catamaran_reload_last_ok 1",
            "catamaran_frontend_duration_seconds_bucket{frontend=\"a b\",le=\"0.5\"} 7",
            "catamaran_frontend_duration_seconds_bucket{frontend=\"a b\",le=\"+Inf\"} 9",
            "catamaran_frontend_duration_seconds_sum{frontend=\"a b\"} 0.5",
        ] {
            assert!(second.lines().any(|l| l == line), "{line}: {second}");
        }
        // The third process goes on from both.
        let third = page(1, Some(Arc::new(Base::of_page(&second))));
        assert!(third.contains("catamaran_panics_total 8\n"), "{third}");
    }
}
