//! The loop against a scripted DNS, in paused time.

use super::*;
use crate::metrics::Format;
use catamaran_core::Timestamp;
use catamaran_core::fleet::Registration;
use catamaran_core::model::{Config, ServerAddr, Weight};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Answers from a list, then that nothing is known.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<usize>,
    under_way: Mutex<(usize, usize)>,
    delay: Duration,
}

impl Lookup for Script {
    async fn lookup(&self, question: Question) -> Answer {
        *self.asked.lock().unwrap() += 1;
        {
            let mut under_way = self.under_way.lock().unwrap();
            under_way.0 += 1;
            under_way.1 = under_way.1.max(under_way.0);
        }
        tokio::time::sleep(self.delay).await;
        self.under_way.lock().unwrap().0 -= 1;
        let answer = self.answers.lock().unwrap().pop_front();
        answer.unwrap_or_else(|| Answer::failed(&question, &LookupFailure::NoSuchName))
    }
}

fn found(address: &str, ttl_secs: u64) -> Answer {
    Answer::Host(HostAnswer {
        v4: Records::Found {
            records: vec![address.parse().unwrap()],
            ttl: Duration::from_secs(ttl_secs),
        },
        v6: Records::Nothing,
    })
}

fn named(host: &str) -> Server {
    Server::new(ServerAddr::Dns {
        host: host.to_owned(),
        port: 80,
    })
}

fn config(servers: Vec<Server>) -> Config {
    let fixed = Server::new(ServerAddr::Ip(([10, 9, 9, 9], 80).into()));
    Config {
        backends: vec![
            Backend::new("fixed".into(), vec![fixed]),
            Backend::new("api".into(), servers),
        ],
        ..Config::default()
    }
}

fn discovery(config: &Config) -> Discovery {
    let clock = Clock::starting_at(Timestamp::from_nanos(1));
    let rng = fastrand::Rng::with_seed(1);
    Discovery::new(Discovery::names_in(&config.backends), clock, rng)
}

/// What discovery tells.
struct Told {
    found: mpsc::Receiver<Found>,
    orders: mpsc::Sender<Order>,
}

impl Told {
    /// The backend's name and its servers'.
    async fn next(&mut self) -> (String, Vec<String>) {
        let found = self.found.recv().await.unwrap();
        let servers = found.servers.iter().map(|s| s.name.to_string());
        (found.backend.to_string(), servers.collect())
    }
}

fn start(config: &Config, lookup: &Arc<impl Lookup>) -> Told {
    let (tx, rx) = mpsc::channel(1);
    let (orders, orders_rx) = mpsc::channel(1);
    tokio::spawn(discovery(config).run(Arc::clone(lookup), tx, orders_rx));
    Told { found: rx, orders }
}

#[tokio::test(start_paused = true)]
async fn a_configuration_without_names_asks_nothing() {
    let fixed = Server::new(ServerAddr::Ip(([10, 0, 0, 1], 80).into()));
    let script = Arc::new(Script::default());
    let mut told = start(&config(vec![fixed]), &script);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(told.found.try_recv().is_err());
    assert_eq!(*script.asked.lock().unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn names_are_asked_for_before_their_time_while_servers_are_down() {
    let script = Arc::new(Script::default());
    let answers = ["10.0.0.1", "10.0.0.1", "10.0.0.9"].map(|ip| found(ip, 600));
    script.answers.lock().unwrap().extend(answers);
    let config = config(vec![named("a.test")]);
    let backend = config.backends[1].name.clone();
    let mut told = start(&config, &script);
    assert_eq!(told.next().await.1, ["a.test:80#10.0.0.1"]);
    let began = Instant::now();
    // At once in vain, then after a second; what is down elsewhere is no reason.
    let elsewhere = Order::Down(vec!["other".into()]);
    told.orders.send(elsewhere).await.unwrap();
    for _ in 0..3 {
        let down = Order::Down(vec![backend.clone()]);
        told.orders.send(down).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(told.next().await.1, ["a.test:80#10.0.0.9"]);
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(*script.asked.lock().unwrap(), 3);
    told.orders.send(Order::Down(Vec::new())).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(*script.asked.lock().unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_was_found_for_a_name_outlives_another_configuration() {
    let script = Arc::new(Script::default());
    let answers = [found("10.0.0.1", 600), found("10.0.0.2", 600)];
    script.answers.lock().unwrap().extend(answers);
    let mut told = start(&config(vec![named("a.test")]), &script);
    assert_eq!(told.next().await.1, ["a.test:80#10.0.0.1"]);

    // Another weight, and another name: the first is not asked for again.
    let mut heavier = named("a.test");
    heavier.weight = Weight::MAX;
    let changed = config(vec![heavier, named("b.test")]);
    let names = Discovery::names_in(&changed.backends);
    told.orders.send(Order::Names(names)).await.unwrap();
    let found = told.found.recv().await.unwrap();
    assert_eq!(found.generation, 1);
    assert_eq!(found.servers[0].name.as_str(), "a.test:80#10.0.0.1");
    assert_eq!(found.servers[0].weight, Weight::MAX);
    assert_eq!(found.servers[1].name.as_str(), "b.test:80#10.0.0.2");
    assert_eq!(*script.asked.lock().unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_backend_is_told_whole_in_the_configured_order_and_then_at_each_change() {
    let fixed = Server::new(ServerAddr::Ip(([10, 0, 0, 9], 80).into()));
    let script = Arc::new(Script::default());
    script.answers.lock().unwrap().extend([
        found("10.0.0.1", 30),
        found("10.0.0.1", 30),
        found("10.0.0.2", 30),
    ]);
    let began = Instant::now();
    let mut told = start(&config(vec![named("a.test"), fixed]), &script);
    let first = told.next().await;
    let list = vec!["a.test:80#10.0.0.1".to_owned(), "10.0.0.9:80".to_owned()];
    assert_eq!(first, ("api".to_owned(), list));
    // The second answer is the same; the third comes two TTLs and some jitter after the first.
    let (_, second) = told.next().await;
    assert_eq!(second, ["a.test:80#10.0.0.2", "10.0.0.9:80"]);
    let elapsed = began.elapsed().as_secs();
    assert!((60..=66).contains(&elapsed), "{elapsed} s");
}

#[tokio::test(start_paused = true)]
async fn a_backend_whose_names_all_fail_is_told_once() {
    let script = Arc::new(Script::default());
    let mut told = start(&config(vec![named("a.test"), named("b.test")]), &script);
    assert_eq!(told.next().await, ("api".to_owned(), Vec::new()));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(told.found.try_recv().is_err());
    let asked = *script.asked.lock().unwrap();
    assert!(
        (30..=60).contains(&asked),
        "back-off ends at 30 s: {asked} lookups"
    );
}

#[tokio::test(start_paused = true)]
async fn only_so_many_lookups_run_at_once() {
    let script = Arc::new(Script {
        delay: Duration::from_secs(1),
        ..Script::default()
    });
    let answers = (0..100).map(|_| found("10.0.0.1", 600));
    script.answers.lock().unwrap().extend(answers);
    let names = (0..100).map(|n| named(&format!("n{n}.test"))).collect();
    let mut told = start(&config(names), &script);
    assert_eq!(told.next().await.1.len(), 100);
    assert_eq!(script.under_way.lock().unwrap().1, MAX_LOOKUPS);
}

#[tokio::test(start_paused = true)]
async fn without_a_resolver_fixed_servers_are_told_all_the_same() {
    let fixed = Server::new(ServerAddr::Ip(([10, 0, 0, 9], 80).into()));
    let lookup = Arc::new(Err::<Script, _>(DnsSetupError::NotBuilt));
    let service = Server::new(ServerAddr::Srv {
        service: "_api._tcp.test".to_owned(),
    });
    let mut told = start(&config(vec![named("a.test"), service, fixed]), &lookup);
    assert_eq!(told.next().await.1, ["10.0.0.9:80"]);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_panics_is_one_that_failed() {
    struct Panics;
    impl Lookup for Panics {
        async fn lookup(&self, _question: Question) -> Answer {
            panic!("a bug")
        }
    }
    let mut told = start(&config(vec![named("a.test")]), &Arc::new(Panics));
    assert_eq!(told.next().await.1, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn lookups_are_counted_by_result() {
    let script = Arc::new(Script::default());
    script
        .answers
        .lock()
        .unwrap()
        .push_back(found("10.0.0.1", 30));
    let config = config(vec![named("a.test"), named("b.test")]);
    let discovery = discovery(&config);
    let counts = discovery.counts();
    let (tx, _rx) = mpsc::channel(8);
    let (_orders, orders_rx) = mpsc::channel(1);
    let running = discovery.run(script, tx, orders_rx);
    let _ended = tokio::time::timeout(Duration::from_millis(10), running).await;
    let mut page = Exposition::new();
    counts.collect(&mut page);
    let page = page.finish(Format::Prometheus);
    assert!(page.contains("{result=\"ok\"} 1\n"), "{page}");
    assert!(page.contains("{result=\"failed\"} 1\n"), "{page}");
}

#[tokio::test(start_paused = true)]
async fn registered_servers_take_the_place_of_their_entry_and_change_with_it() {
    let registered = |names: &[&str]| {
        let of = |name: &&str| {
            let registration = Registration {
                address: ([10, 0, 0, 1], 80).into(),
                weight: Weight::new(7),
                is_leaving: false,
            };
            ((*name).to_owned(), registration)
        };
        let servers = names.iter().map(of).collect();
        Order::Registered(Registrations::from([("api".to_owned(), servers)]))
    };
    let service = "api".to_owned();
    let from_etcd = Server::new(ServerAddr::Etcd { service });
    let names = Discovery::names_in(&config(vec![from_etcd]).backends);
    let discovery = Discovery::new(
        names.clone(),
        Clock::starting_at(Timestamp::ZERO),
        fastrand::Rng::with_seed(1),
    );
    let (changes, mut told) = mpsc::channel(4);
    let (orders, orders_rx) = mpsc::channel(4);
    let running = discovery.run(Arc::new(Script::default()), changes, orders_rx);
    let scene = async {
        orders.send(registered(&["a"])).await.unwrap();
        let found = told.recv().await.unwrap();
        assert_eq!(found.servers.len(), 1);
        assert_eq!(found.servers[0].name.as_str(), "etcd:api#a");
        assert_eq!(found.servers[0].weight.as_u16(), 7);
        // The same again is no news; another configuration is told anew.
        orders.send(registered(&["a"])).await.unwrap();
        orders.send(Order::Names(names)).await.unwrap();
        let found = told.recv().await.unwrap();
        assert_eq!((found.servers.len(), found.generation), (1, 1));
        orders.send(registered(&["a", "b"])).await.unwrap();
        assert_eq!(told.recv().await.unwrap().servers.len(), 2);
    };
    tokio::select! {
        () = running => panic!("discovery never ends"),
        () = scene => {}
    }
}
