//! Requests to the API at a fixed rate: one in five creates an alert, the others read one that was
//! created.
//!
//! Request `n` begins at `start + n / rate` whatever becomes of the earlier ones, as long as a
//! thread is free. A client here never sends anything twice: what fails, failed.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use catamaran_testkit::Client;
use serde_json::{Value, json};

/// Traffic being made.
#[derive(Debug)]
pub(super) struct Traffic {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    /// Requests answered well.
    pub(super) answered: u64,
    /// The ids of alerts whose creation was acknowledged.
    pub(super) created: Vec<String>,
    /// What went wrong, and when after the start.
    pub(super) failures: Vec<(Duration, String)>,
    slowest: Duration,
}

#[derive(Debug)]
struct Shared {
    api: SocketAddr,
    rate: u32,
    start: Instant,
    next: AtomicU64,
    is_stopping: AtomicBool,
    totals: Mutex<Totals>,
}

impl Traffic {
    /// Starts `rate` requests per second.
    pub(super) fn start(api: SocketAddr, rate: u32) -> Self {
        let shared = Arc::new(Shared {
            api,
            rate,
            start: Instant::now(),
            next: AtomicU64::new(0),
            is_stopping: AtomicBool::new(false),
            totals: Mutex::default(),
        });
        let threads = (0..THREADS)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.work())
            })
            .collect();
        Self { shared, threads }
    }

    /// Waits until this many more requests were answered.
    pub(super) fn wait_for(&self, more: u32) -> Result<()> {
        let wanted = self.shared.totals().answered + u64::from(more);
        let deadline = Instant::now() + PATIENCE * 3;
        while self.shared.totals().answered < wanted {
            let totals = self.shared.totals().clone();
            ensure!(Instant::now() < deadline, totals.explain());
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Begins no more requests, waits for those in flight, and returns what became of all.
    pub(super) fn stop(self) -> Totals {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread
                .join()
                .expect("a thread of the traffic does not panic");
        }
        self.shared.totals().clone()
    }
}

impl Totals {
    /// One line for the report.
    pub(super) fn line(&self) -> String {
        format!(
            "{} requests answered ({} creates), {} failed, slowest {:.1} s",
            self.answered,
            self.created.len(),
            self.failures.len(),
            self.slowest.as_secs_f64()
        )
    }

    /// The first failures.
    pub(super) fn explain(&self) -> String {
        let lines = self.failures.iter().take(10).map(|(time, reason)| {
            let seconds = time.as_secs_f64();
            format!("\n  after {seconds:.3} s: {reason}")
        });
        format!("{}{}", self.line(), lines.collect::<String>())
    }
}

impl Shared {
    fn totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut client = None;
        while !self.is_stopping.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let due = Duration::from_secs(number) / self.rate;
            thread::sleep(due.saturating_sub(self.start.elapsed()));
            let result = self.request(number, &mut client);
            let mut totals = self.totals();
            match result {
                Ok(created) => {
                    totals.answered += 1;
                    totals.created.extend(created);
                    let time = self.start.elapsed().saturating_sub(due);
                    totals.slowest = totals.slowest.max(time);
                }
                Err(error) => {
                    client = None;
                    totals.failures.push((due, format!("{error:#}")));
                }
            }
        }
    }

    /// Sends one request; the id of the alert if it created one.
    fn request(&self, number: u64, client: &mut Option<Client>) -> Result<Option<String>> {
        let mut connection = match client.take() {
            Some(connection) => connection,
            None => connect(self.api)?,
        };
        let created = if number.is_multiple_of(CREATE_EVERY) {
            let key = format!("traffic-{number}");
            let alert = alert(&key, "2099-01-01T00:00:00Z");
            Some(post(&mut connection, &key, &alert)?)
        } else {
            let target = self.target(number);
            let response = connection.get(&target)?;
            ensure!(response.status == 200, "GET {target}: {}", response.status);
            None
        };
        *client = Some(connection);
        Ok(created)
    }

    /// One of the alerts that were created, or the list before there is any.
    fn target(&self, number: u64) -> String {
        let totals = self.totals();
        let count = totals.created.len() as u64;
        let index = number
            .checked_rem(count)
            .and_then(|at| usize::try_from(at).ok());
        match index.and_then(|at| totals.created.get(at)) {
            Some(id) => format!("/alerts/{id}"),
            None => "/alerts".to_owned(),
        }
    }
}

/// An alert as a client writes it.
pub(super) fn alert(title: &str, date: &str) -> Value {
    json!({
        "movie_id": "tt0133093",
        "email": "ada@example.org",
        "notification_date": date,
        "title": title,
        "category": "science fiction",
    })
}

/// Creates an alert on a connection of its own and returns its id.
pub(super) fn create(api: SocketAddr, key: &str, alert: &Value) -> Result<String> {
    post(&mut connect(api)?, key, alert)
}

fn connect(api: SocketAddr) -> Result<Client> {
    let client = Client::connect(api).context("cannot connect")?;
    client.set_patience(PATIENCE)?;
    Ok(client)
}

fn post(connection: &mut Client, key: &str, alert: &Value) -> Result<String> {
    let key_field = format!("Idempotency-Key: {key}");
    let fields = ["Content-Type: application/json", key_field.as_str()];
    let response = connection.request("POST", "/alerts", &fields, alert.to_string().as_bytes())?;
    if response.status != 201 {
        bail!("POST {key}: {}: {}", response.status, response.text());
    }
    let answer: Value = serde_json::from_slice(&response.body)?;
    Ok(answer["id"]
        .as_str()
        .context("an alert has an id")?
        .to_owned())
}

/// One request in so many creates an alert.
const CREATE_EVERY: u64 = 5;

/// Requests in flight at most.
const THREADS: u32 = 64;

/// How long one request may take. Whatever the system does, it has answered by then.
const PATIENCE: Duration = Duration::from_secs(30);
