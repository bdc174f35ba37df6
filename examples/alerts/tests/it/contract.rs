//! What every store must do, tried on each of them.

use std::sync::Arc;
use std::time::Duration;

use alerts::alert::{Alert, Moment, NewAlert, Status};
use alerts::store::{
    Create, Created, Embedded, Etcd, Outcome, Remote, Settled, Store, TERM, router,
};
use catamaran_testkit::TempDir;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::cluster::Cluster;

const PATIENCE: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_store_keeps_the_contract() {
    let dir = TempDir::create().unwrap();
    let store = Embedded::open(&dir.path().join("s.redb"), HOUR).unwrap();
    contract(Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_remote_store_keeps_the_contract() {
    let dir = TempDir::create().unwrap();
    let embedded = Embedded::open(&dir.path().join("s.redb"), HOUR).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = router(Arc::new(embedded));
    tokio::spawn(alerts::server::serve(
        listener,
        router,
        std::future::pending(),
    ));
    contract(Arc::new(Remote::new(&url, PATIENCE).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_etcd_store_keeps_the_contract() {
    let Some(cluster) = Cluster::start(1).unwrap() else {
        return;
    };
    contract(Arc::new(etcd(&cluster))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_etcd_store_keeps_the_contract_with_a_node_down() {
    let Some(mut cluster) = Cluster::start(3).unwrap() else {
        return;
    };
    cluster.kill(0).unwrap();
    contract(Arc::new(etcd(&cluster))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_etcd_is_unavailable_and_comes_back_by_itself() {
    let Some(mut cluster) = Cluster::start(3).unwrap() else {
        return;
    };
    let store = Etcd::new(&cluster.endpoints(), "t/", Duration::from_secs(3), HOUR).unwrap();
    let alert = Alert::new(content("kept"));
    create(&store, &alert, None).await;
    cluster.kill(0).unwrap();
    cluster.kill(1).unwrap();
    let new = Create {
        alert: Alert::new(content("lost")),
        key: None,
    };
    store.create(new.clone()).await.unwrap_err();
    store.get(alert.id).await.unwrap_err();
    cluster.restart(0).unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    while store.create(new.clone()).await.is_err() {
        assert!(
            std::time::Instant::now() < deadline,
            "it does not come back"
        );
    }
    assert_eq!(store.get(alert.id).await.unwrap(), Some(alert));
}

fn etcd(cluster: &Cluster) -> Etcd {
    Etcd::new(&cluster.endpoints(), "t/", PATIENCE, HOUR).unwrap()
}

/// Everything, on one store that was empty before.
async fn contract(store: Arc<dyn Store>) {
    a_created_alert_is_there_until_it_is_deleted(&*store).await;
    a_create_that_is_repeated_makes_one_alert(&*store).await;
    a_key_stands_for_one_alert(&*store).await;
    creates_at_once_with_one_key_make_one_alert(&store).await;
    pages_go_through_all_alerts_by_age(&*store).await;
    due_alerts_come_by_date_and_only_when_due(&*store).await;
    one_candidate_has_the_job_until_it_gives_it_back(&*store).await;
    only_the_holder_of_the_job_settles(&*store).await;
    a_postponed_mail_is_due_later(&*store).await;
}

async fn a_created_alert_is_there_until_it_is_deleted(store: &dyn Store) {
    let alert = Alert::new(content("one"));
    assert_eq!(store.get(alert.id).await.unwrap(), None);
    create(store, &alert, None).await;
    assert_eq!(store.get(alert.id).await.unwrap().as_ref(), Some(&alert));
    store.delete(alert.id).await.unwrap();
    assert_eq!(store.get(alert.id).await.unwrap(), None);
    store.delete(alert.id).await.unwrap();
    assert!(
        store.due(far(), 100).await.unwrap().is_empty(),
        "nor is it due"
    );
}

async fn a_create_that_is_repeated_makes_one_alert(store: &dyn Store) {
    let alert = Alert::new(content("twice"));
    create(store, &alert, None).await;
    create(store, &alert, None).await;
    assert_eq!(
        store.list(None, 100).await.unwrap(),
        std::slice::from_ref(&alert)
    );
    store.delete(alert.id).await.unwrap();
}

async fn a_key_stands_for_one_alert(store: &dyn Store) {
    let alert = Alert::new(content("keyed"));
    create(store, &alert, Some("k1")).await;
    // A new try of the client has a new name, and gets the alert of the first.
    let again = Alert::new(content("keyed"));
    let new = Create {
        alert: again,
        key: Some("k1".to_owned()),
    };
    assert_eq!(
        store.create(new).await.unwrap(),
        Created::Alert(alert.clone())
    );
    let other = Create {
        alert: Alert::new(content("other")),
        key: Some("k1".to_owned()),
    };
    assert_eq!(store.create(other).await.unwrap(), Created::KeyReused);
    store.delete(alert.id).await.unwrap();
    let new = Create {
        alert: Alert::new(content("keyed")),
        key: Some("k1".to_owned()),
    };
    let answer = store.create(new).await.unwrap();
    assert_eq!(answer, Created::Alert(alert), "also after it was deleted");
    assert!(store.list(None, 100).await.unwrap().is_empty());
}

async fn creates_at_once_with_one_key_make_one_alert(store: &Arc<dyn Store>) {
    let tries = (0..16).map(|_| {
        let store = Arc::clone(store);
        let new = Create {
            alert: Alert::new(content("race")),
            key: Some("k2".to_owned()),
        };
        tokio::spawn(async move { store.create(new).await.unwrap() })
    });
    let tries: Vec<_> = tries.collect();
    let mut answers = Vec::new();
    for one in tries {
        answers.push(one.await.unwrap());
    }
    let kept = store.list(None, 100).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert!(
        answers
            .iter()
            .all(|answer| *answer == Created::Alert(kept[0].clone()))
    );
    store.delete(kept[0].id).await.unwrap();
}

async fn pages_go_through_all_alerts_by_age(store: &dyn Store) {
    let mut alerts = Vec::new();
    for number in 0..7 {
        let alert = Alert::new(content(&number.to_string()));
        create(store, &alert, None).await;
        alerts.push(alert);
    }
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.list(cursor, 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        cursor = Some(last.id);
        seen.extend(page);
    }
    assert_eq!(seen, alerts);
    assert!(store.list(Some(Uuid::max()), 3).await.unwrap().is_empty());
    for alert in alerts {
        store.delete(alert.id).await.unwrap();
    }
}

async fn due_alerts_come_by_date_and_only_when_due(store: &dyn Store) {
    let mut ids = Vec::new();
    for date in [
        "2020-01-03T00:00:00Z",
        "2020-01-01T00:00:00Z",
        "1950-01-01T00:00:00Z",
    ] {
        let mut alert = Alert::new(content("due"));
        alert.content.notification_date = Moment::parse(date).unwrap();
        create(store, &alert, None).await;
        ids.push(alert.id);
    }
    let due = |date: &str, limit| store.due(Moment::parse(date).unwrap(), limit);
    let found = due("2020-01-02T00:00:00Z", 100).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|alert| alert.id).collect();
    assert_eq!(found, [ids[2], ids[1]]);
    assert_eq!(due("2020-01-03T00:00:00Z", 100).await.unwrap().len(), 3);
    assert_eq!(due("2020-01-03T00:00:00Z", 1).await.unwrap().len(), 1);
    for id in ids {
        store.delete(id).await.unwrap();
    }
}

async fn one_candidate_has_the_job_until_it_gives_it_back(store: &dyn Store) {
    let first = store.lead("a").await.unwrap().unwrap();
    assert_eq!(store.lead("a").await.unwrap(), Some(first), "it keeps it");
    store.resign(first).await.unwrap();
    let second = store.lead("a").await.unwrap().unwrap();
    assert!(second > first);
    store.resign(second).await.unwrap();
}

async fn only_the_holder_of_the_job_settles(store: &dyn Store) {
    let alert = Alert::new(content("mail"));
    create(store, &alert, None).await;
    let old = store.lead("a").await.unwrap().unwrap();
    store.resign(old).await.unwrap();
    let fenced = store.settle(old, alert.id, Outcome::Mailed).await.unwrap();
    assert_eq!(fenced, Settled::Fenced, "nobody has it");
    let term = store.lead("a").await.unwrap().unwrap();
    let fenced = store.settle(old, alert.id, Outcome::Mailed).await.unwrap();
    assert_eq!(fenced, Settled::Fenced, "another term");
    assert_eq!(
        store.due(far(), 100).await.unwrap(),
        std::slice::from_ref(&alert)
    );
    for _ in 0..2 {
        let done = store.settle(term, alert.id, Outcome::Mailed).await.unwrap();
        assert_eq!(done, Settled::Done);
    }
    assert!(store.due(far(), 100).await.unwrap().is_empty());
    let after = store.get(alert.id).await.unwrap().unwrap();
    assert_eq!(after.status, Status::Mailed);
    store.delete(alert.id).await.unwrap();
    let gone = store.settle(term, alert.id, Outcome::Mailed).await.unwrap();
    assert_eq!(gone, Settled::Done, "a deleted alert has no mail to settle");
    store.resign(term).await.unwrap();
}

async fn a_postponed_mail_is_due_later(store: &dyn Store) {
    let alert = Alert::new(content("later"));
    create(store, &alert, None).await;
    let term = store.lead("a").await.unwrap().unwrap();
    let (until, before) = ("2031-01-01T00:00:00Z", "2030-12-31T23:59:59Z");
    let [until, before] = [until, before].map(|date| Moment::parse(date).unwrap());
    let later = Outcome::Postponed(until);
    for _ in 0..2 {
        store.settle(term, alert.id, later).await.unwrap();
    }
    assert!(store.due(before, 100).await.unwrap().is_empty());
    assert_eq!(
        store.due(until, 100).await.unwrap(),
        std::slice::from_ref(&alert)
    );
    store.delete(alert.id).await.unwrap();
    assert!(store.due(far(), 100).await.unwrap().is_empty());
    store.resign(term).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_on_etcd_never_have_the_job_at_once() {
    let Some(cluster) = Cluster::start(1).unwrap() else {
        return;
    };
    let (one, other) = (etcd(&cluster), etcd(&cluster));
    let first = one.lead("one").await.unwrap().unwrap();
    assert_eq!(other.lead("other").await.unwrap(), None);
    // The holder says nothing more: the other one has it when the term is over.
    let alert = Alert::new(content("fence"));
    create(&one, &alert, None).await;
    let deadline = std::time::Instant::now() + TERM + PATIENCE;
    let second = loop {
        if let Some(term) = other.lead("other").await.unwrap() {
            break term;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "the job stays orphaned"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(second > first);
    let late = one.settle(first, alert.id, Outcome::Mailed).await.unwrap();
    assert_eq!(late, Settled::Fenced);
    assert_eq!(one.lead("one").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_embedded_store_has_answered_is_there_after_a_restart() {
    let dir = TempDir::create().unwrap();
    let path = dir.path().join("s.redb");
    let alert = Alert::new(content("durable"));
    let term = {
        let store = Embedded::open(&path, HOUR).unwrap();
        create(&store, &alert, Some("k")).await;
        store.lead("a").await.unwrap().unwrap()
    };
    // The writer lets go of the file when it has seen that nobody asks any more.
    let deadline = std::time::Instant::now() + PATIENCE;
    let store = loop {
        match Embedded::open(&path, HOUR) {
            Ok(store) => break store,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error:#}"),
        }
    };
    assert_eq!(store.get(alert.id).await.unwrap(), Some(alert));
    assert!(store.lead("b").await.unwrap().unwrap() > term);
}

async fn create(store: &dyn Store, alert: &Alert, key: Option<&str>) {
    let new = Create {
        alert: alert.clone(),
        key: key.map(str::to_owned),
    };
    let created = store.create(new).await.unwrap();
    assert_eq!(created, Created::Alert(alert.clone()));
}

fn content(title: &str) -> NewAlert {
    let fields = serde_json::json!({
        "movie_id": "tt1", "email": "ada@example.org", "title": title, "category": "test",
        "notification_date": "2030-01-01T00:00:00Z",
    });
    NewAlert::from_json(fields.as_object().unwrap()).unwrap()
}

fn far() -> Moment {
    Moment::parse("2100-01-01T00:00:00Z").unwrap()
}
