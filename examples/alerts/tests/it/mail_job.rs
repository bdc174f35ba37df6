//! The mail job while the replica that runs it is killed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use alerts::job::AT_ONCE;
use catamaran_testkit::TempDir;
use reqwest::Client;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::replica::{PATIENCE, Replica};

#[tokio::test(flavor = "multi_thread")]
async fn on_a_store_server_every_alert_is_mailed_however_often_the_mailer_is_killed() {
    let dir = TempDir::create().unwrap();
    let data = dir.path().join("s.redb");
    let args = [
        "store",
        "--listen",
        "127.0.0.1:0",
        "--data",
        data.to_str().unwrap(),
    ];
    let store = Replica::start(&args);
    trial(&store.url("")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_etcd_every_alert_is_mailed_however_often_the_mailer_is_killed() {
    let Some(cluster) = Cluster::start(3).unwrap() else {
        return;
    };
    trial(&cluster.address()).await;
}

/// Creates alerts that are due, kills the replica that mails three times, and counts the mails.
async fn trial(store: &str) {
    let alerts = if std::env::var("CATAMARAN_ROUNDS").is_ok_and(|rounds| rounds == "full") {
        1000
    } else {
        100
    };
    let sink = Replica::start(&["sink", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    let relay = sink.address.to_string();
    // Without a relay it mails nothing: it is there to create, and is not killed.
    let front = replica(store, &[]);
    let mut mailers: Vec<_> = (0..3)
        .map(|_| replica(store, &["--smtp", &relay]))
        .collect();
    let client = Client::new();
    let mut created = Vec::new();
    for _ in 0..alerts {
        created.push(create(&client, &front).await);
    }
    for death in 1..=3 {
        // Each death falls in the middle of mailing: there is always more to mail.
        wait_for_mails(&sink, alerts * death / 5).await;
        let victim = wait_for_mailer(&mailers);
        mailers.remove(victim).process.kill().unwrap();
        mailers.push(replica(store, &["--smtp", &relay]));
        for _ in 0..alerts / 5 {
            created.push(create(&client, &front).await);
        }
    }
    let counts = wait_for_all(&sink, &created).await;
    let received: u64 = counts.values().sum();
    let twice = received - counts.len() as u64;
    say(&format!(
        "{} alerts, 3 deaths of the mailer: {received} mails, {twice} twice",
        created.len()
    ));
    assert!(twice <= 3 * AT_ONCE as u64, "{twice} mails came twice");
    assert_eq!(
        counts.len(),
        created.len(),
        "a mail of an alert that nobody created"
    );
    wait_until_settled(&client, &front, created.len()).await;
}

fn replica(store: &str, more: &[&str]) -> Replica {
    let args = [
        "--listen",
        "127.0.0.1:0",
        "--store",
        store,
        "--store-timeout",
        "20s",
    ];
    Replica::start(&[&args, more].concat())
}

async fn create(client: &Client, front: &Replica) -> String {
    let alert = json!({
        "movie_id": "tt1", "email": "ada@example.org", "title": "due", "category": "test",
        "notification_date": "2020-01-01T00:00:00Z",
    });
    let request = client.post(front.url("/alerts")).json(&alert);
    let created = request.send().await.unwrap().error_for_status().unwrap();
    let created: Value = created.json().await.unwrap();
    created["id"].as_str().unwrap().to_owned()
}

/// The index of the replica that took the job last and lives.
fn wait_for_mailer(mailers: &[Replica]) -> usize {
    let term = |replica: &Replica| {
        let log = replica.process.stderr();
        let last = log
            .lines()
            .rev()
            .find(|line| line.contains("this replica mails now"))?;
        last.rsplit("term=").next()?.trim().parse::<i64>().ok()
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let terms = mailers.iter().enumerate();
        let holder = terms.filter_map(|(at, one)| Some((term(one)?, at))).max();
        if let Some((_, at)) = holder {
            return at;
        }
        assert!(Instant::now() < deadline, "nobody mails");
        std::thread::sleep(Duration::from_millis(20));
    }
}

async fn counts(sink: &Replica) -> HashMap<String, u64> {
    let url = format!("{}/counts", sink.mails_url());
    let counts: HashMap<String, u64> = reqwest::get(url).await.unwrap().json().await.unwrap();
    let ids = counts.into_iter();
    ids.map(|(id, count)| (id.split('@').next().unwrap().to_owned(), count))
        .collect()
}

async fn wait_for_mails(sink: &Replica, distinct: usize) {
    let deadline = Instant::now() + PATIENCE;
    while counts(sink).await.len() < distinct {
        assert!(Instant::now() < deadline, "no more mails come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn wait_for_all(sink: &Replica, created: &[String]) -> HashMap<String, u64> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let counts = counts(sink).await;
        let missing = created
            .iter()
            .filter(|id| !counts.contains_key(*id))
            .count();
        if missing == 0 {
            return counts;
        }
        assert!(Instant::now() < deadline, "{missing} mails are missing");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn wait_until_settled(client: &Client, front: &Replica, expected: usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (mut mailed, mut path) = (0, "/alerts?limit=100".to_owned());
        loop {
            let page = client.get(front.url(&path)).send().await.unwrap();
            let page: Value = page.json().await.unwrap();
            let items = page["items"].as_array().unwrap();
            mailed += items
                .iter()
                .filter(|alert| alert["status"] == "mailed")
                .count();
            let Some(next) = page["next"].as_str() else {
                break;
            };
            path = format!("/alerts?limit=100&cursor={next}");
        }
        if mailed == expected {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{mailed} of {expected} are marked as mailed"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[expect(clippy::print_stdout, reason = "the figure is a result of the test")]
fn say(text: &str) {
    println!("{text}");
}
