//! Open-loop load on the API, and what became of everything that it acknowledged.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Load being made.
#[derive(Debug)]
pub(crate) struct Load {
    runtime: Runtime,
    shared: Arc<Shared>,
    pacer: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    url: String,
    /// Names this run, so that it finds its own alerts.
    run: String,
    stopping: AtomicBool,
    in_flight: AtomicUsize,
    results: Mutex<Results>,
}

#[derive(Debug, Default)]
struct Results {
    /// In the order in which they began.
    phases: Vec<Phase>,
    /// Alerts that were acknowledged: id and title.
    created: Vec<(String, String)>,
    failures: BTreeMap<String, u64>,
}

/// What happened while something was done to the system.
#[derive(Clone, Debug, Default)]
pub(crate) struct Phase {
    name: String,
    failed: u64,
    /// From when the request was due to its answer.
    latencies: Vec<Duration>,
}

/// What the load proved.
#[derive(Debug)]
pub(crate) struct Verdict {
    phases: Vec<Phase>,
    failures: BTreeMap<String, u64>,
    created: usize,
    missing: usize,
    duplicates: usize,
}

impl Load {
    /// Starts requests at this rate per second, until stopped.
    pub(crate) fn start(url: &str, rate: u32) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let client = Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let shared = Arc::new(Shared {
            client,
            url: url.trim_end_matches('/').to_owned(),
            run: uuid::Uuid::now_v7().simple().to_string(),
            stopping: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            results: Mutex::default(),
        });
        let pacer = runtime.spawn(Arc::clone(&shared).pace(rate));
        Ok(Self {
            runtime,
            shared,
            pacer,
        })
    }

    /// Begins a phase: what begins from now on is counted there.
    pub(crate) fn phase(&self, name: &str) {
        let name = name.to_owned();
        self.shared.results().phases.push(Phase {
            name,
            ..Phase::default()
        });
    }

    /// Stops, waits for what is in flight, and looks for everything that was acknowledged.
    pub(crate) fn stop(self) -> anyhow::Result<Verdict> {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.runtime.block_on(async {
            self.pacer.await?;
            while self.shared.in_flight.load(Ordering::Relaxed) > 0 {
                sleep(Duration::from_millis(20)).await;
            }
            self.shared.verify().await
        })
    }
}

impl Shared {
    fn results(&self) -> MutexGuard<'_, Results> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pace(self: Arc<Self>, rate: u32) {
        let start = Instant::now();
        let mut ticks = interval(Duration::from_millis(2));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut begun = 0;
        while !self.stopping.load(Ordering::Relaxed) {
            ticks.tick().await;
            loop {
                // Due by its number, not by when the one before began or ended.
                let due = start + Duration::from_secs(1) * begun / rate;
                if due > Instant::now() {
                    break;
                }
                let phase = self.results().phases.len().saturating_sub(1);
                self.in_flight.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(Arc::clone(&self).exchange(begun, due, phase));
                begun += 1;
            }
        }
    }

    /// One request, from its due time to its place in the results.
    async fn exchange(self: Arc<Self>, number: u32, due: Instant, phase: usize) {
        let done = if number.is_multiple_of(CREATE_EVERY) {
            self.create(number).await
        } else {
            self.read().await
        };
        let latency = due.elapsed();
        let mut results = self.results();
        let Results {
            phases, failures, ..
        } = &mut *results;
        if let Some(phase) = phases.get_mut(phase) {
            phase.latencies.push(latency);
            phase.failed += u64::from(done.is_err());
        }
        if let Err(error) = done {
            *failures.entry(format!("{error:#}")).or_default() += 1;
        }
        drop(results);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    async fn create(&self, number: u32) -> anyhow::Result<()> {
        let title = format!("{} {number}", self.run);
        let alert = json!({
            "movie_id": "tt0133093", "email": "ada@example.org", "title": title,
            "category": "proof", "notification_date": "2040-01-01T00:00:00Z",
        });
        let request = self
            .client
            .post(format!("{}/alerts", self.url))
            .json(&alert);
        let key = format!("{}-{number}", self.run);
        let answer = request.header("idempotency-key", key).send().await;
        let answer = answer.map_err(without_url).context("create")?;
        if answer.status() != StatusCode::CREATED {
            let status = answer.status();
            let text = answer.text().await.unwrap_or_default();
            bail!("create: {status}: {text}");
        }
        let alert: Value = answer.json().await.map_err(without_url).context("create")?;
        let id = alert["id"].as_str().context("create: no id")?.to_owned();
        self.results().created.push((id, title));
        Ok(())
    }

    /// Reads an alert that was acknowledged; any one.
    async fn read(&self) -> anyhow::Result<()> {
        let some = fastrand::choice(&self.results().created).cloned();
        let Some((id, title)) = some else {
            return Ok(());
        };
        let answer = self
            .client
            .get(format!("{}/alerts/{id}", self.url))
            .send()
            .await;
        let answer = answer.map_err(without_url).context("read")?;
        if answer.status() != StatusCode::OK {
            let status = answer.status();
            let text = answer.text().await.unwrap_or_default();
            bail!("read: {status}: {text}");
        }
        let alert: Value = answer.json().await.map_err(without_url).context("read")?;
        if alert["title"] != title {
            bail!("read: another alert than asked for");
        }
        Ok(())
    }

    /// Goes through all alerts and compares with what was acknowledged.
    async fn verify(&self) -> anyhow::Result<Verdict> {
        let mut kept: HashMap<String, Vec<String>> = HashMap::new();
        let mut path = "/alerts?limit=100".to_owned();
        loop {
            let page = self.page(&path).await?;
            for alert in page["items"].as_array().context("no page of alerts")? {
                let (Some(id), Some(title)) = (alert["id"].as_str(), alert["title"].as_str())
                else {
                    bail!("an alert without id or title");
                };
                if title.starts_with(&self.run) {
                    kept.entry(title.to_owned())
                        .or_default()
                        .push(id.to_owned());
                }
            }
            let Some(next) = page["next"].as_str() else {
                break;
            };
            path = format!("/alerts?limit=100&cursor={next}");
        }
        let mut results = self.results();
        let is_missing =
            |(id, title): &&(String, String)| kept.get(title).is_none_or(|ids| !ids.contains(id));
        Ok(Verdict {
            missing: results.created.iter().filter(is_missing).count(),
            duplicates: kept.values().filter(|ids| ids.len() > 1).count(),
            created: results.created.len(),
            phases: std::mem::take(&mut results.phases),
            failures: std::mem::take(&mut results.failures),
        })
    }

    async fn page(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self
            .client
            .get(format!("{}{path}", self.url))
            .send()
            .await?;
        Ok(answer.error_for_status()?.json().await?)
    }
}

/// One text for one kind of failure; the address would make many.
fn without_url(error: reqwest::Error) -> reqwest::Error {
    error.without_url()
}

impl Verdict {
    /// Whether nothing failed, nothing is missing and nothing is there twice.
    pub(crate) fn is_clean(&self) -> bool {
        let has_load = self.created > 0;
        has_load && self.failures.is_empty() && self.missing == 0 && self.duplicates == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, columns: [String; 6]| {
            let [name, count, failed, middle, p99, max] = columns;
            writeln!(
                f,
                "{name:<28} {count:>9} {failed:>7} {middle:>9} {p99:>9} {max:>9}"
            )
        };
        let heads = ["phase", "requests", "failed", "p50 ms", "p99 ms", "max ms"];
        line(f, heads.map(str::to_owned))?;
        let (mut requests, mut failed) = (0, 0);
        for phase in &self.phases {
            let mut sorted = phase.latencies.clone();
            sorted.sort_unstable();
            let at = |share: usize| {
                let index = (sorted.len() * share / 1000).min(sorted.len().saturating_sub(1));
                let time = sorted.get(index).copied().unwrap_or_default();
                format!("{:.1}", time.as_secs_f64() * 1000.0)
            };
            requests += sorted.len();
            failed += phase.failed;
            let (count, lost) = (sorted.len().to_string(), phase.failed.to_string());
            line(
                f,
                [phase.name.clone(), count, lost, at(500), at(990), at(1000)],
            )?;
        }
        for (failure, count) in &self.failures {
            writeln!(f, "{count} × {failure}")?;
        }
        write!(
            f,
            "{requests} requests, {failed} failed; {} alerts acknowledged, {} missing, {} duplicates",
            self.created, self.missing, self.duplicates
        )
    }
}

/// One in this many requests is a create.
const CREATE_EVERY: u32 = 5;
/// Longest time for a request.
const PATIENCE: Duration = Duration::from_secs(30);
