//! The API over HTTP, on the embedded store.

use catamaran_testkit::Signal;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use crate::replica::{PATIENCE, Replica};

fn start(more: &[&str]) -> Replica {
    let args = [
        "--listen",
        "127.0.0.1:0",
        "--name",
        "one",
        "--store",
        "file:s.redb",
    ];
    Replica::start(&[&args, more].concat())
}

fn alert() -> Value {
    json!({
        "movie_id": "tt0133093", "email": "ada@example.org", "title": "The Matrix is on",
        "category": "science fiction", "notification_date": "2040-05-04T18:00:00Z",
    })
}

async fn post(replica: &Replica, key: Option<&str>, body: &Value) -> Response {
    let request = Client::new().post(replica.url("/alerts")).json(body);
    let request = match key {
        Some(key) => request.header("idempotency-key", key),
        None => request,
    };
    request.send().await.unwrap()
}

/// The status, and the problem document it must come with.
async fn problem(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    assert_eq!(response.headers()["x-replica"], "one");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["status"], status);
    (status, problem)
}

#[tokio::test]
async fn an_alert_is_created_read_listed_and_deleted() {
    let replica = start(&[]);
    let created = post(&replica, None, &alert()).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    assert_eq!(created.headers()["x-replica"], "one");
    let location = created.headers()["location"].to_str().unwrap().to_owned();
    let created: Value = created.json().await.unwrap();
    assert_eq!(created["status"], "waiting");
    let read = reqwest::get(replica.url(&location)).await.unwrap();
    assert_eq!(read.json::<Value>().await.unwrap(), created);
    let page = reqwest::get(replica.url("/alerts?limit=1")).await.unwrap();
    assert_eq!(
        page.json::<Value>().await.unwrap(),
        json!({ "items": [created] })
    );
    for _ in 0..2 {
        let deleted = Client::new()
            .delete(replica.url(&location))
            .send()
            .await
            .unwrap();
        assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    }
    let gone = reqwest::get(replica.url(&location)).await.unwrap();
    assert_eq!(problem(gone).await.0, 404);
}

#[tokio::test]
async fn a_retried_create_makes_one_alert_and_has_the_same_answer() {
    let replica = start(&[]);
    let mut answers = Vec::new();
    for _ in 0..3 {
        let created = post(&replica, Some("k-1"), &alert()).await;
        assert_eq!(created.status(), StatusCode::CREATED);
        let location = created.headers()["location"].to_str().unwrap().to_owned();
        answers.push((location, created.text().await.unwrap()));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let mut other = alert();
    other["title"] = json!("another");
    let (status, problem) = problem(post(&replica, Some("k-1"), &other).await).await;
    assert_eq!(
        (status, &problem["type"]),
        (422, &json!("urn:alerts:key-reused"))
    );
    let page = reqwest::get(replica.url("/alerts")).await.unwrap();
    let page: Value = page.json().await.unwrap();
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn pages_follow_each_other_until_the_last_one_has_no_next() {
    let replica = start(&[]);
    for _ in 0..5 {
        post(&replica, None, &alert()).await;
    }
    let (mut path, mut sizes) = ("/alerts?limit=2".to_owned(), Vec::new());
    loop {
        let page: Value = reqwest::get(replica.url(&path))
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        sizes.push(page["items"].as_array().unwrap().len());
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/alerts?limit=2&cursor={next}");
    }
    assert_eq!(sizes, [2, 2, 1]);
}

#[tokio::test]
async fn what_is_refused_is_refused_with_a_problem_that_names_the_field() {
    let replica = start(&[]);
    let mut wrong = alert();
    wrong["email"] = json!("nobody");
    wrong["title"] = json!("");
    let (status, found) = problem(post(&replica, None, &wrong).await).await;
    assert_eq!(status, 422);
    let fields: Vec<_> = found["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["field"])
        .collect();
    assert_eq!(fields, ["email", "title"]);
    let (status, found) = problem(post(&replica, Some("no spaces"), &alert()).await).await;
    assert_eq!(
        (status, &found["errors"][0]["field"]),
        (422, &json!("Idempotency-Key"))
    );
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("cursor=1", "cursor"),
    ] {
        let page = reqwest::get(replica.url(&format!("/alerts?{query}")))
            .await
            .unwrap();
        let (status, found) = problem(page).await;
        assert_eq!((status, &found["errors"][0]["field"]), (422, &json!(field)));
    }
}

#[tokio::test]
async fn a_body_that_is_no_alert_at_all_is_told_apart() {
    let replica = start(&[]);
    let send = async |kind: &str, body: String| {
        let request = Client::new().post(replica.url("/alerts"));
        let request = request.header("content-type", kind).body(body);
        problem(request.send().await.unwrap()).await.0
    };
    let json = "application/json";
    assert_eq!(send(json, "{".to_owned()).await, 400);
    assert_eq!(send(json, "[]".to_owned()).await, 400);
    assert_eq!(send("text/plain", alert().to_string()).await, 415);
    assert_eq!(send(json, " ".repeat(17_000)).await, 413);
    let nowhere = reqwest::get(replica.url("/nowhere")).await.unwrap();
    assert_eq!(problem(nowhere).await.0, 404);
    let put = Client::new()
        .put(replica.url("/alerts"))
        .send()
        .await
        .unwrap();
    assert!(put.headers().contains_key("allow"));
    assert_eq!(problem(put).await.0, 405);
}

#[tokio::test]
async fn browsers_of_other_origins_may_call() {
    let replica = start(&[]);
    let request = Client::new().request(reqwest::Method::OPTIONS, replica.url("/alerts"));
    let request = request
        .header("origin", "https://films.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "idempotency-key");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    let allowed = answer.headers()["access-control-allow-headers"]
        .to_str()
        .unwrap();
    assert!(allowed.contains("idempotency-key"));
}

#[tokio::test]
async fn the_documentation_needs_nothing_from_elsewhere() {
    let replica = start(&[]);
    let page = reqwest::get(replica.url("/docs/")).await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    let page = page.text().await.unwrap();
    assert!(page.contains("swagger-ui-bundle.js"));
    for address in page
        .split(['"', '\''])
        .filter(|part| part.ends_with(".js") || part.ends_with(".css"))
    {
        assert!(!address.contains("//"), "{address} is elsewhere");
        let path = format!("/docs/{}", address.trim_start_matches("./"));
        let part = reqwest::get(replica.url(&path)).await.unwrap();
        assert_eq!(part.status(), StatusCode::OK, "{path}");
        assert!(!part.text().await.unwrap().is_empty());
    }
    let description = reqwest::get(replica.url("/openapi.json")).await.unwrap();
    let description: Value = description.json().await.unwrap();
    assert!(description["paths"]["/alerts"]["post"].is_object());
}

#[tokio::test]
async fn a_stop_turns_ready_false_first_and_breaks_nothing_off() {
    let mut replica = start(&["--stop-delay", "3s"]);
    let ready = async || reqwest::get(replica.url("/ready")).await.unwrap();
    assert_eq!(ready().await.status(), StatusCode::OK);
    replica.process.terminate().unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let answer = ready().await;
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            assert_eq!(problem(answer).await.0, 503);
            break;
        }
        assert!(std::time::Instant::now() < deadline, "it stays ready");
    }
    let created = post(&replica, None, &alert()).await;
    assert_eq!(
        created.status(),
        StatusCode::CREATED,
        "while it is not ready it still serves"
    );
    assert!(replica.process.wait(PATIENCE).unwrap().success());
}

#[test]
fn it_ends_with_its_parent_when_told_to() {
    // The test program gives it no input: its parent is gone from the beginning.
    let mut replica = start(&["--exit-with-parent"]);
    assert!(replica.process.wait(PATIENCE).unwrap().success());
    let mut sink = Replica::start(&["sink", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    sink.process.signal(Signal::TERM).unwrap();
    assert!(sink.process.wait(PATIENCE).unwrap().success());
}
