//! The page of metrics, and what is made of the same counters, over the real program.

mod page;

use crate::balancer::Balancer;
use crate::cluster::Cluster;
use crate::fleet::Fleet;
use crate::operator::ask;
use crate::{PATIENCE, eventually};
use catamaran_testkit::{Client, Origin, TempDir, free_addr, http_get};
use page::Page;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A balancer that has everything that is counted, but virtual addresses.
struct Busy {
    balancer: Balancer,
    origin: Origin,
    metrics: SocketAddr,
    _files: TempDir,
    _cluster: Cluster,
    _fleet: Fleet,
}

impl Busy {
    fn start() -> Self {
        let origin = Origin::fixed(200, "hello").start().unwrap();
        let metrics = free_addr().unwrap();
        let admin = free_addr().unwrap();
        let server = origin.addr();
        let files = TempDir::create().unwrap();
        let list = files.write("blocked.txt", "192.0.2.0/24\n").unwrap();
        let map = files.write("sites.map", "shop.example app\n").unwrap();
        let (list, map) = (list.display(), map.display());
        let cluster = Cluster::of(&["a", "b"]);
        let section = cluster.section("a", &["first"]);
        let fleet = Fleet::start();
        let etcd = fleet.section();
        let config = format!(
            "{section}[list.blocked]\nfile = \"{list}\"\n[map.sites]\nfile = \"{map}\"\nmatch = \"domain\"\n\
             {etcd}\
             [tracing]\nendpoint = \"http://127.0.0.1:9\"\n\
             [process]\nworkers = 2\nmetrics = \"{metrics}\"\nmax-connections = 100\n\
             [admin]\nsocket = \"admin.sock\"\nlisten = \"{admin}\"\n\
             [frontend.web]\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\nmax-connections = 50\n\
             deny = [\"list:blocked\"]\nbandwidth = {{ out = \"10MiB/s\" }}\n\
             max-connections-per-source = 40\nrate-limit = {{ requests = 10000 }}\n\
             [[frontend.web.route]]\nname = \"images\"\npath = \"/images\"\n\
             backend = \"app\"\nrate-limit = {{ requests = 10000 }}\n\
             [[frontend.web.route]]\nname = \"shops\"\nhosts = [\"shop.example\"]\nmap = \"sites\"\n\
             [frontend.raw]\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:0\"\nbackend = \"tcp\"\n\
             [backend.app]\nstick = {{ on = \"source-ip\", for = \"1m\" }}\n\
             servers = [{{ name = \"a\", address = \"{server}\", max-requests = 10 }}]\n\
             health = {{ http = \"/\", interval = \"50ms\" }}\n\
             [backend.tcp]\nservers = [\"{server}\"]\n"
        );
        let balancer = Balancer::start(&config);
        let busy = Self {
            balancer,
            origin,
            metrics,
            _files: files,
            _cluster: cluster,
            _fleet: fleet,
        };
        busy.use_all();
        busy
    }

    fn use_all(&self) {
        for path in ["/", "/images/a", "/"] {
            assert_eq!(http_get(self.balancer.addr(), path).unwrap().status, 200);
        }
        let raw = self.balancer.addr_of("raw");
        assert_eq!(http_get(raw, "/raw").unwrap().status, 200);
    }

    fn get(&self, accept: &str) -> String {
        let mut stream = TcpStream::connect(self.metrics).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// The page once the exchanges of [`Self::use_all`] are counted and a check has passed.
    fn page(&self) -> Page {
        eventually("all to be counted", || {
            let page = Page::prometheus(&self.get("text/plain"));
            let raw = [("frontend", "raw"), ("outcome", "done")];
            let checks = [("backend", "app"), ("server", "a"), ("result", "pass")];
            // An exchange is counted at frontend, route, backend and server by turns.
            let in_flight: Vec<f64> = ["frontend", "route", "backend", "server"]
                .iter()
                .flat_map(|kind| &page.0[&format!("catamaran_{kind}_in_flight")].samples)
                .map(|sample| sample.value)
                .collect();
            let web = [("frontend", "web"), ("outcome", "done")];
            let is_counted = page.value("catamaran_frontend_outcomes_total", &raw) > 0.0
                && page.value("catamaran_frontend_outcomes_total", &web) >= 3.0
                && in_flight.iter().all(|count| *count == 0.0)
                && page.value("catamaran_server_checks_total", &checks) > 0.0
                && page.0.contains_key("catamaran_worker_lag_seconds")
                && page.0.contains_key("catamaran_peer_connected")
                && (!cfg!(feature = "etcd")
                    || page.0.contains_key("catamaran_etcd_last_contact_seconds"));
            is_counted.then_some(page)
        })
    }
}

/// The rows of the list in docs/metrics.md: name, kind, labels.
fn documented() -> Vec<(String, String, BTreeSet<String>)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, list) = text.split_once("| metric | kind |").unwrap();
    let rows = list.lines().skip(2);
    let rows = rows.take_while(|line| line.starts_with("| `"));
    rows.map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let labels = cells[3].split(", ").filter(|label| !label.is_empty());
        (
            cells[1].trim_matches('`').to_owned(),
            cells[2].to_owned(),
            labels.map(str::to_owned).collect(),
        )
    })
    .collect()
}

#[test]
fn the_page_holds_what_the_documentation_lists_with_those_labels_and_nothing_else() {
    let busy = Busy::start();
    let page = busy.page();
    let documented = documented();
    for (name, kind, labels) in &documented {
        // These need root, and those a program that knows of etcd.
        if name.starts_with("catamaran_virtual_ip_")
            || !cfg!(feature = "etcd") && name.starts_with("catamaran_etcd_")
        {
            continue;
        }
        let family = page.0.get(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(family.kind, *kind, "{name}");
        for sample in &family.samples {
            let found: BTreeSet<String> = sample.labels.keys().cloned().collect();
            let found: BTreeSet<String> = found.into_iter().filter(|name| name != "le").collect();
            assert_eq!(found, *labels, "{name}");
        }
    }
    for name in page.0.keys() {
        let is_known = documented.iter().any(|(known, ..)| known == name);
        assert!(is_known, "{name} is not documented");
    }
}

#[test]
fn what_passed_is_counted_alike_at_frontend_route_backend_and_server() {
    let busy = Busy::start();
    let page = busy.page();
    let value = |name: &str, labels: &[(&str, &str)]| page.value(name, labels);
    let web = [("frontend", "web")];
    let app = [("backend", "app")];
    let a = [("backend", "app"), ("server", "a")];
    let images = [("frontend", "web"), ("route", "images")];
    for (kind, labels, requests) in [
        ("frontend", &web[..], 3.0),
        ("backend", &app, 3.0),
        ("server", &a, 3.0),
        ("route", &images, 1.0),
    ] {
        let name = |what: &str| format!("catamaran_{kind}_{what}");
        assert_eq!(value(&name("requests_total"), labels), requests, "{kind}");
        assert_eq!(value(&name("in_flight"), labels), 0.0, "{kind}");
        let mut more = labels.to_vec();
        more.push(("class", "2xx"));
        assert_eq!(value(&name("responses_total"), &more), requests, "{kind}");
        more.pop();
        more.push(("outcome", "done"));
        assert_eq!(value(&name("outcomes_total"), &more), requests, "{kind}");
        let duration = &page.0[&name("duration_seconds")];
        let count = duration.samples.iter().find(|sample| {
            let is_it = |(name, value): &(&str, &str)| sample.labels[*name] == *value;
            sample.name.ends_with("_count") && labels.iter().all(is_it)
        });
        assert_eq!(count.unwrap().value, requests, "{kind}");
        assert!(value(&name("sent_bytes_total"), labels) >= requests * 5.0);
        assert!(value(&name("received_bytes_total"), labels) >= requests * 20.0);
    }
}

#[test]
fn openmetrics_says_the_same_as_the_text_format() {
    let busy = Busy::start();
    let plain = busy.page();
    let open = Page::open_metrics(&busy.get("application/openmetrics-text;version=1.0.0"));
    for (name, family) in &plain.0 {
        let family_name = name.strip_suffix("_total").unwrap_or(name);
        let other = &open.0[family_name];
        assert_eq!(family.kind, other.kind, "{name}");
        let series = |family: &page::Family| -> BTreeSet<_> {
            let samples = family.samples.iter();
            samples
                .map(|s| (s.name.clone(), s.labels.clone()))
                .collect()
        };
        assert!(series(family).is_subset(&series(other)), "{name}");
        if family_name.ends_with("_seconds") {
            assert_eq!(other.unit.as_deref(), Some("seconds"), "{name}");
        }
    }
}

/// The metrics that a text of Prometheus' query language names.
fn named_in(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c| !is_name(c));
    let words = words.filter(|w| w.starts_with("catamaran_") || w.starts_with("process_"));
    words.map(str::to_owned).collect()
}

#[test]
fn rules_and_dashboard_name_only_metrics_that_there_are() {
    let documented = documented();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging");
    let read = |file: &str| std::fs::read_to_string(format!("{root}/{file}")).unwrap();
    let rules = read("prometheus/catamaran.rules.yml");
    let dashboard = read("grafana/catamaran.json");
    let is_known = |name: &str| {
        documented.iter().any(|(known, kind, _)| {
            let rest = name.strip_prefix(known.as_str());
            match rest {
                Some("") => kind != "histogram",
                Some("_bucket" | "_count" | "_sum") => kind == "histogram",
                _ => false,
            }
        })
    };
    for text in [&rules, &dashboard] {
        let names = named_in(text);
        assert!(names.len() > 20, "{names:?}");
        for name in names {
            assert!(is_known(&name), "`{name}` is no metric");
        }
    }
    // Recording rules that the dashboard uses are recorded.
    let words = dashboard.split(|c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c)));
    for name in words.filter(|word| word.starts_with("catamaran:")) {
        assert!(rules.contains(&format!("record: {name}\n")), "{name}");
    }
    let _: Value = serde_json::from_str(&dashboard).expect("the dashboard is JSON");
}

#[test]
fn every_alert_is_explained() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let read = |file: &str| std::fs::read_to_string(format!("{root}/{file}")).unwrap();
    let rules = read("packaging/prometheus/catamaran.rules.yml");
    let docs = read("docs/metrics.md");
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let alerts: Vec<&str> = alerts.collect();
    assert!(alerts.len() > 20, "{alerts:?}");
    for alert in alerts {
        assert!(docs.contains(alert), "{alert} is not in docs/metrics.md");
    }
}

#[test]
fn points_for_charts_come_every_few_seconds_and_go_on_where_the_last_ones_ended() {
    let busy = Busy::start();
    let stats = eventually("a point with the requests", || {
        let (status, stats) = ask(&busy.balancer, "GET", "/v1/stats", "");
        assert_eq!(status, 200, "{stats}");
        let times = stats["times"].as_array().unwrap().len();
        busy.use_all();
        let server = &stats["backends"][0]["servers"][0];
        let rates = server["points"]["rate"].as_array().unwrap();
        assert_eq!(rates.len(), times);
        let is_there = rates.iter().any(|rate| rate.as_f64() > Some(0.0));
        std::thread::sleep(Duration::from_millis(200));
        is_there.then_some(stats)
    });
    let frontends = stats["frontends"].as_array().unwrap();
    let web = frontends.iter().find(|one| one["name"] == "web").unwrap();
    assert_eq!(web["name"], "web", "{stats}");
    assert!(web["last_10s"]["p99_ms"].as_f64() > Some(0.0), "{web}");
    assert!(web["points"]["errors"]["server"].is_array(), "{web}");
    let last = stats["times"].as_array().unwrap().last().unwrap();
    let path = format!("/v1/stats?servers=false&backend=app&since={last}");
    let (_, newer) = ask(&busy.balancer, "GET", &path, "");
    let mut times = newer["times"].as_array().unwrap().iter();
    assert!(times.all(|time| time.as_f64() > last.as_f64()), "{newer}");
    assert_eq!(newer["backends"].as_array().unwrap().len(), 1);
    assert_eq!(newer["backends"][0]["servers"], Value::Array(Vec::new()));
    let (status, _) = ask(&busy.balancer, "GET", "/v1/stats?backend=none", "");
    assert_eq!(status, 404);
}

#[test]
fn show_stat_has_a_row_for_each_frontend_server_and_backend() {
    let busy = Busy::start();
    busy.page();
    let output = crate::catamaran(&["ctl", "--socket"])
        .args([crate::operator::socket_of(&busy.balancer.process)])
        .args(["stat", "--csv"])
        .start()
        .unwrap();
    let mut output = output;
    output.wait(PATIENCE).unwrap();
    // What it wrote is read by a thread of its own.
    output.wait_for_stdout("\n", PATIENCE).unwrap();
    let text = output.stdout();
    let mut lines = text.lines();
    let names = lines.next().unwrap().strip_prefix("# ").unwrap();
    let names: Vec<&str> = names.split(',').collect();
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    for row in &rows {
        assert_eq!(row.len(), names.len(), "{row:?}");
    }
    let cell = |service: &str, proxy: &str, column: &str| {
        let row = rows.iter().find(|row| row[0] == proxy && row[1] == service);
        let row = row.unwrap_or_else(|| panic!("no row {proxy} {service}: {text}"));
        row[names.iter().position(|name| *name == column).unwrap()].to_owned()
    };
    assert_eq!(rows.len(), 6, "{text}");
    assert_eq!(cell("FRONTEND", "web", "req_tot"), "3");
    assert_eq!(cell("FRONTEND", "web", "status"), "OPEN");
    assert_eq!(cell("FRONTEND", "raw", "mode"), "tcp");
    assert_eq!(cell("a", "app", "hrsp_2xx"), "3");
    assert_eq!(cell("a", "app", "status"), "UP");
    assert_eq!(cell("a", "app", "check_status"), "L7OK");
    assert_eq!(cell("a", "app", "slim"), "10");
    assert_eq!(cell("a", "app", "addr"), busy.origin.addr().to_string());
    assert_eq!(cell("BACKEND", "app", "stot"), "3");
    assert_eq!(cell("BACKEND", "app", "act"), "1");
    let tcp = busy.origin.addr().to_string();
    assert_eq!(cell(&tcp, "tcp", "status"), "no check");
    let mut client = Client::connect(busy.metrics).unwrap();
    for page in ["/health", "/healthz", "/livez", "/ready", "/readyz"] {
        assert_eq!(client.get(page).unwrap().status, 200, "{page}");
    }
}
