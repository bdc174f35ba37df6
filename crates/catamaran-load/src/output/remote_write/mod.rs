//! Series for a Prometheus, as k6's `-o experimental-prometheus-rw` sends them.
//!
//! A worker adds samples up by metric and tags and gives them away each second; a thread adds those of all
//! workers up for the whole run, and sends the series that changed every few seconds. What a request
//! did not bring there the next one does: values are of the whole run.

mod encode;
mod settings;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::client::{RequestText, send_once};
use crate::metric::{Contains, MetricId, Registry};
use crate::sink::{Sink, Statistic};
use crate::tags::{TagSet, TagsId};
use encode::Series;
pub use settings::Settings;

/// A Prometheus that is sent to.
#[derive(Debug)]
pub struct RemoteWrite {
    source: TapSource,
    thread: JoinHandle<Sent>,
}

/// Makes taps.
#[derive(Clone, Debug)]
pub struct TapSource {
    registry: Arc<Registry>,
    /// Nothing is the end.
    batches: SyncSender<Option<Batch>>,
    /// Samples that had no room.
    lost: Arc<AtomicU64>,
}

/// What a worker counted, by metric and tags.
type Batch = Vec<(MetricId, Arc<TagSet>, Sink)>;

/// What one worker gathers.
#[derive(Debug)]
pub struct Tap {
    source: TapSource,
    sinks: HashMap<(MetricId, TagsId), Sink>,
    sets: HashMap<TagsId, Arc<TagSet>>,
}

/// What became of the requests.
#[derive(Debug, Default)]
struct Sent {
    failures: u64,
    /// Why the last one failed that did.
    why: String,
    /// Whether the last one did.
    is_behind: bool,
    /// Whether there were more series than are sent.
    is_full: bool,
}

impl RemoteWrite {
    /// Begins to send.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(settings: Settings, registry: &Arc<Registry>) -> io::Result<Self> {
        let (batches, incoming) = sync_channel(MAX_BATCHES);
        let source = TapSource {
            registry: Arc::clone(registry),
            batches,
            lost: Arc::default(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut store = Store {
            registry: Arc::clone(registry),
            settings,
            began: Instant::now(),
            totals: HashMap::new(),
            changed: HashSet::new(),
            sent: Sent::default(),
        };
        let thread = std::thread::Builder::new()
            .name("load-prometheus".to_owned())
            .spawn(move || {
                runtime.block_on(async { store.follow(&incoming).await });
                store.sent
            })?;
        Ok(Self { source, thread })
    }

    /// What makes taps.
    #[must_use]
    pub fn source(&self) -> TapSource {
        self.source.clone()
    }

    /// Sends what is left. Returns what is missing there.
    ///
    /// # Errors
    /// When the last request failed: figures there are not those of the end.
    pub fn close(self) -> io::Result<Option<String>> {
        let Self { source, thread } = self;
        // A thread that has gone says so when it is joined.
        let _ = source.batches.send(None);
        let sent = thread.join();
        let sent = sent.map_err(|_| io::Error::other("the thread that sends panicked"))?;
        if sent.is_behind {
            return Err(io::Error::other(sent.why));
        }
        let lost = source.lost.load(Ordering::Relaxed);
        Ok(if lost > 0 {
            Some(format!(
                "{lost} samples left out: Prometheus did not follow"
            ))
        } else if sent.is_full {
            Some(format!(
                "more than {MAX_SERIES} series; the others were left out. Give requests to URLs that differ a \
                 `name` tag"
            ))
        } else if sent.failures > 0 {
            Some(format!(
                "{} requests failed, the last one: {}",
                sent.failures, sent.why
            ))
        } else {
            None
        })
    }
}

impl TapSource {
    /// Makes a tap.
    #[must_use]
    pub fn tap(&self) -> Tap {
        Tap {
            source: self.clone(),
            sinks: HashMap::new(),
            sets: HashMap::new(),
        }
    }
}

impl Tap {
    /// Takes a sample `times` times; `set` gives the tags of `tags`.
    pub fn sample<'a>(
        &mut self,
        metric: MetricId,
        tags: TagsId,
        set: impl Fn() -> &'a [(String, String)],
        value: f64,
        times: u64,
        at_nanos: u64,
    ) {
        self.sets
            .entry(tags)
            .or_insert_with(|| Arc::new(set().to_vec()));
        let kind = self.source.registry.metric(metric).kind;
        let sink = self.sinks.entry((metric, tags));
        let sink = sink.or_insert_with(|| Sink::new(kind));
        sink.record_times(value, times, at_nanos);
    }

    /// Gives away what was gathered; what there is no room for stays until the next time.
    pub fn flush(&mut self) {
        if self.sinks.is_empty() {
            return;
        }
        let sinks = self.sinks.iter();
        let batch: Batch = sinks
            .filter_map(|((metric, tags), sink)| {
                let set = self.sets.get(tags)?;
                Some((*metric, Arc::clone(set), sink.clone()))
            })
            .collect();
        match self.source.batches.try_send(Some(batch)) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => self.sinks.clear(),
            Err(TrySendError::Full(_)) => {}
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // At the end there is time to wait.
        let sinks = std::mem::take(&mut self.sinks).into_iter();
        let batch = sinks.filter_map(|((metric, tags), sink)| {
            Some((metric, Arc::clone(self.sets.get(&tags)?), sink))
        });
        let _ = self.source.batches.send(Some(batch.collect()));
    }
}

/// All series of the run.
struct Store {
    registry: Arc<Registry>,
    settings: Settings,
    began: Instant,
    totals: HashMap<Key, Sink>,
    /// Since the last request that arrived.
    changed: HashSet<Key>,
    sent: Sent,
}

type Key = (MetricId, Arc<TagSet>);

impl Store {
    /// Adds up what comes, and sends it in time.
    async fn follow(&mut self, batches: &Receiver<Option<Batch>>) {
        let mut due = Instant::now() + self.settings.interval;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            match batches.recv_timeout(left) {
                Ok(Some(batch)) => self.add(batch),
                Ok(None) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    self.send().await;
                    due = Instant::now() + self.settings.interval;
                }
            }
            // Batches that come without a pause must not put it off.
            if Instant::now() >= due {
                self.send().await;
                due = Instant::now() + self.settings.interval;
            }
        }
        self.send().await;
    }

    fn add(&mut self, batch: Batch) {
        for (metric, set, sink) in batch {
            let key = (metric, set);
            if let Some(total) = self.totals.get_mut(&key) {
                total.merge(&sink);
            } else if self.totals.len() < MAX_SERIES {
                self.totals.insert(key.clone(), sink);
            } else {
                self.sent.is_full = true;
                continue;
            }
            self.changed.insert(key);
        }
    }

    /// Sends the series that changed.
    async fn send(&mut self) {
        let now = SystemTime::now();
        let at = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
        let mut all: Vec<Series> = Vec::new();
        for key in &self.changed {
            if let Some(sink) = self.totals.get(key) {
                self.series(key, sink, at, &mut all);
            }
        }
        let mut failed = None;
        for part in all.chunks(MAX_SERIES_IN_REQUEST) {
            if let Err(why) = self.post(&encode::request(part)).await {
                failed = Some(why);
                break;
            }
        }
        self.sent.is_behind = failed.is_some();
        match failed {
            None => self.changed.clear(),
            Some(why) => {
                self.sent.failures += 1;
                self.sent.why = why;
            }
        }
    }

    /// The series of one sink: one for each statistic of a trend.
    fn series(&self, (metric, tags): &Key, sink: &Sink, at: i64, out: &mut Vec<Series>) {
        let metric = self.registry.metric(*metric);
        let mut add = |suffix: &str, value: f64| {
            out.push(Series {
                labels: labels(&metric.name, suffix, tags),
                value,
                at,
            });
        };
        match sink {
            Sink::Counter(sum) => add("_total", *sum),
            Sink::Gauge(gauge) => add("", gauge.value),
            Sink::Rate { passes, total } => add("_rate", crate::sink::share(*passes, *total)),
            Sink::Trend(values) => {
                // Prometheus counts in seconds.
                let unit = if metric.contains == Contains::Time {
                    1e-3
                } else {
                    1.0
                };
                for (suffix, statistic) in &self.settings.statistics {
                    let value = match statistic {
                        settings::Of::Sum => Some(values.sum() * unit),
                        settings::Of::Statistic(Statistic::Count) => {
                            Some(crate::sink::as_f64(values.count()))
                        }
                        settings::Of::Statistic(statistic) => sink
                            .statistic(*statistic, self.began.elapsed())
                            .map(|value| value * unit),
                    };
                    if let Some(value) = value {
                        add(suffix, value);
                    }
                }
            }
        }
    }

    async fn post(&self, body: &[u8]) -> Result<(), String> {
        let settings = &self.settings;
        let request = RequestText::new(
            "POST",
            &settings.url,
            &settings.fields,
            Some(body.len()),
            USER_AGENT,
        );
        let request = request.map_err(|error| error.to_string())?;
        let sent = send_once(&settings.url, &request, body, settings.verifies, TIMEOUT);
        let (status, kept) = sent
            .await
            .map_err(|why| format!("{}: {why}", settings.place))?;
        if (200..300).contains(&status) {
            return Ok(());
        }
        let told = String::from_utf8_lossy(&kept.body);
        let told: String = told.trim().chars().take(200).collect();
        Err(format!("{}: status {status}: {told}", settings.place))
    }
}

/// The labels of a series: its name and its tags, sorted, without empty ones.
fn labels(name: &str, suffix: &str, tags: &TagSet) -> Vec<(String, String)> {
    let tags = tags.iter().filter(|(_, value)| !value.is_empty());
    let mut labels: Vec<(String, String)> = tags
        .map(|(name, value)| (label_name(name), value.clone()))
        .collect();
    labels.push(("__name__".to_owned(), format!("k6_{name}{suffix}")));
    labels.sort();
    labels.dedup_by(|one, other| one.0 == other.0);
    labels
}

/// A name that Prometheus allows: letters, digits and `_`, and no digit first.
fn label_name(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut label: String = name
        .chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .collect();
    if label.starts_with(|c: char| c.is_ascii_digit()) {
        label.insert(0, '_');
    }
    label
}

const USER_AGENT: &str = concat!("catamaran-load/", env!("CARGO_PKG_VERSION"));
/// For one request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Seconds of workers that wait to be added up.
const MAX_BATCHES: usize = 256;
/// Series that are kept: beyond it a Prometheus is in trouble, too.
const MAX_SERIES: usize = 20_000;
/// As many as a Prometheus takes at once with ease.
const MAX_SERIES_IN_REQUEST: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_have_names_that_prometheus_allows() {
        let tags = vec![
            ("0 a-b".to_owned(), "x".to_owned()),
            ("empty".to_owned(), String::new()),
            ("status".to_owned(), "200".to_owned()),
        ];
        let labels = labels("http_reqs", "_total", &tags);
        let text: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            text,
            ["_0_a_b=x", "__name__=k6_http_reqs_total", "status=200"]
        );
    }
}
