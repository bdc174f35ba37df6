//! How fast it is, which only an optimised build on a quiet machine can say:
//! `cargo test --release -p catamaran-peers -- --ignored --nocapture --test-threads 1 faster`

use super::{Member, Places, eventually, secrets, server};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const ENTRIES: u32 = 1_000_000;
/// Of 1,000 updates each, a hundred in a second.
const ROUNDS: u32 = 500;

/// CPU time of this process, in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .map(|ticks| ticks.parse::<f64>().unwrap())
        .sum::<f64>()
        / 100.0
}

/// Changes 100,000 entries a second. Returns how long that took, how many waited at most, and how
/// long.
async fn update(a: &Member) -> (Duration, usize, Duration) {
    let began = Instant::now();
    let (mut most_waiting, mut most_lag) = (0, Duration::ZERO);
    for round in 0..ROUNDS {
        for step in 0..1000 {
            let number = (round * 1000 + step) * 7919 % ENTRIES;
            a.tables.learn(number, 2 + round);
        }
        let due = began + Duration::from_millis(10) * (round + 1);
        tokio::time::sleep_until(due.into()).await;
        let peer = a.peer();
        most_waiting = most_waiting.max(peer.waiting);
        most_lag = most_lag.max(peer.lag);
    }
    (began.elapsed(), most_waiting, most_lag)
}

/// The entry that changes last, and what to.
const fn last() -> (u32, u32) {
    let number = ((ROUNDS - 1) * 1000 + 999) * 7919 % ENTRIES;
    (number, 2 + ROUNDS - 1)
}

#[tokio::test]
#[ignore = "tells how fast it is, which only a release build on a quiet machine can say"]
async fn faster_than_a_million_entries_and_100_000_updates_a_second_in_one_process() {
    let mut places = Places::of(&["a", "b"]).await;
    let a = places.start("a", &secrets(&[1]));
    (0..ENTRIES).for_each(|number| a.tables.learn(number, 1));
    let (began, used) = (Instant::now(), cpu());
    let b = places.start("b", &secrets(&[1]));
    eventually("b knows all", async || b.tables.len() == ENTRIES as usize).await;
    eventually("b is current", async || b.is_current()).await;
    println!(
        "1,000,000 entries taught in {:?}, with {:.2} s of CPU for both nodes",
        began.elapsed(),
        cpu() - used
    );
    let (began, used) = (Instant::now(), cpu());
    let (wrote, most_waiting, most_lag) = update(&a).await;
    eventually("b heard all", async || a.peer().waiting == 0).await;
    let updates = f64::from(ROUNDS * 1000) / wrote.as_secs_f64();
    println!(
        "{updates:.0} updates/s for {wrote:?}; all had arrived {:?} later; at most {most_waiting} \
         waited, for {most_lag:?}; {:.2} s of CPU for both nodes and the updates",
        began.elapsed() - wrote,
        cpu() - used
    );
    let (number, to) = last();
    assert_eq!(b.tables.server_of(number), Some(server(to)));
}

/// The process of the node `b`, and the lines that it said.
struct Other {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Other {
    fn start(addresses: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--ignored", "--exact", "--nocapture", THE_OTHER])
            .env(ADDRESSES, addresses)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        Self { child, lines }
    }

    /// Has it wait until it knows so many entries, and the last one as given. Returns its CPU time.
    async fn wait_for(&mut self, entries: u32, (number, to): (u32, u32)) -> f64 {
        let asked = self.lines.lock().unwrap().len();
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{entries} {number} {to}").unwrap();
        let found = Mutex::new(0.0);
        eventually("the other process knows it", async || {
            let lines = self.lines.lock().unwrap();
            let said = lines[asked..].iter();
            // The harness may have begun the line.
            let mut said = said.filter_map(|line| line.split_once(SAID)?.1.parse().ok());
            let said = said.next_back();
            *found.lock().unwrap() = said.unwrap_or_default();
            said.is_some()
        })
        .await;
        found.into_inner().unwrap()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
#[ignore = "tells how fast it is, which only a release build on a quiet machine can say"]
async fn faster_than_100_000_updates_a_second_between_two_processes() {
    let mut places = Places::of(&["a", "b"]).await;
    let (at_a, at_b) = (places.0[0].2.clone(), places.0[1].2.clone());
    // The other process listens there.
    drop(std::mem::replace(
        &mut places.0[1].1,
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    ));
    let a = places.start("a", &secrets(&[1]));
    (0..ENTRIES).for_each(|number| a.tables.learn(number, 1));
    let (began, used) = (Instant::now(), cpu());
    let mut other = Other::start(&format!("{at_a} {at_b}"));
    let taught = other.wait_for(ENTRIES, (ENTRIES - 1, 1)).await;
    println!(
        "1,000,000 entries taught to another process {:?} after its start, with {:.2} + {taught:.2} s \
         of CPU",
        began.elapsed(),
        cpu() - used
    );
    let (began, used) = (Instant::now(), cpu());
    let (wrote, most_waiting, most_lag) = update(&a).await;
    let all = other.wait_for(ENTRIES, last()).await;
    let updates = f64::from(ROUNDS * 1000) / wrote.as_secs_f64();
    println!(
        "{updates:.0} updates/s between two processes for {wrote:?}; the last was known {:?} later; \
         at most {most_waiting} waited, for {most_lag:?}; CPU {:.2} s here, updates and all, and \
         {:.2} s there",
        began.elapsed() - wrote,
        cpu() - used,
        all - taught
    );
}

/// Not a test: the process of the node `b` of the one above.
#[tokio::test]
#[ignore = "is a part of another test"]
async fn the_other_process() {
    let Ok(addresses) = std::env::var(ADDRESSES) else {
        return;
    };
    let (at_a, at_b) = addresses.split_once(' ').unwrap();
    let listener = TcpListener::bind(at_b).await.unwrap();
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut places = Places(vec![
        ("a".to_owned(), unused, at_a.to_owned()),
        ("b".to_owned(), listener, at_b.to_owned()),
    ]);
    let b = places.start("b", &secrets(&[1]));
    let tables = Arc::clone(&b.tables);
    let asked = tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let words: Vec<u32> = line.split(' ').map(|word| word.parse().unwrap()).collect();
            let is_known = || {
                tables.len() == words[0] as usize
                    && tables.server_of(words[1]) == Some(server(words[2]))
            };
            while !is_known() {
                std::thread::sleep(Duration::from_millis(5));
            }
            println!("{SAID}{}", cpu());
        }
    });
    asked.await.unwrap();
}

const THE_OTHER: &str = "tests::speed::the_other_process";
/// Where both nodes listen.
const ADDRESSES: &str = "CATAMARAN_SPEED_ADDRESSES";
const SAID: &str = "CPU seconds: ";
