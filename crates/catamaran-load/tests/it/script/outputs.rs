//! What a run leaves behind: samples, summary.

use catamaran_load::output::Target;
use catamaran_testkit::TempDir;
use serde_json::Value;

use super::{origin, play_in, url_of};

const SCRIPT: &str = r"
    import http from 'k6/http';
    import { check, group } from 'k6';
    import { Counter } from 'k6/metrics';
    const c = new Counter('mine');
    export const options = { iterations: 3, thresholds: { mine: ['count>2'], 'mine{k:v}': ['count>2'] } };
    export function setup() { http.get(__ENV.URL); }
    export default function () {
      group('g', () => { check(http.get(`${__ENV.URL}/a,b`), { ok: (r) => r.status === 200 }); });
      c.add(2, { k: 'v' });
    }
";

#[test]
fn every_sample_is_a_line_of_json() {
    let origin = origin();
    let dir = TempDir::create().unwrap();
    let path = dir.path().join("out.json");
    let ran = play_in(&dir, SCRIPT, &url_of(&origin), |options| {
        options.outputs = vec![Target::read(&format!("json={}", path.display())).unwrap()];
    });
    ran.is_well();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let points = |metric: &str| -> Vec<&Value> {
        let is_point = |line: &&Value| line["type"] == "Point" && line["metric"] == metric;
        lines.iter().filter(is_point).collect()
    };
    assert_eq!(points("http_reqs").len(), 4);
    assert_eq!(points("http_reqs")[0]["data"]["tags"]["group"], "::setup");
    let inner = &points("http_req_duration")[1]["data"];
    assert_eq!(inner["tags"]["group"], "::g");
    assert_eq!(inner["tags"]["status"], "200");
    assert_eq!(inner["tags"]["scenario"], "default");
    assert!(inner["value"].as_f64().unwrap() > 0.0);
    assert!(inner["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(points("mine")[0]["data"]["value"], 2);
    assert_eq!(points("checks")[0]["data"]["tags"]["check"], "ok");
    let is_metric = |line: &&Value| line["type"] == "Metric" && line["metric"] == "mine";
    let metric = lines.iter().find(is_metric).unwrap();
    assert_eq!(metric["data"]["type"], "counter");
    assert_eq!(metric["data"]["thresholds"][0], "count>2");
    assert_eq!(metric["data"]["submetrics"][0]["suffix"], "k:v");
    let first = |kind: &str| {
        let is_it = |line: &Value| line["type"] == kind && line["metric"] == "mine";
        lines.iter().position(is_it).unwrap()
    };
    assert!(first("Metric") < first("Point"));
}

#[test]
fn every_sample_is_a_line_of_csv() {
    let origin = origin();
    let dir = TempDir::create().unwrap();
    let path = dir.path().join("out.csv");
    play_in(&dir, SCRIPT, &url_of(&origin), |options| {
        options.outputs = vec![Target::read(&format!("csv={}", path.display())).unwrap()];
    })
    .is_well();
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines = text.lines();
    assert_eq!(
        lines.next().unwrap(),
        "metric_name,timestamp,metric_value,check,error,error_code,expected_response,group,method,name,\
         proto,scenario,service,status,subproto,tls_version,url,extra_tags,metadata"
    );
    let mine = text.lines().find(|line| line.starts_with("mine,")).unwrap();
    assert!(
        mine.ends_with(",2.000000,,,,,,,,,default,,,,,,k=v,"),
        "{mine}"
    );
    let quoted = format!("\"{}/a,b\"", url_of(&origin));
    assert!(text.contains(&quoted));
    assert_eq!(text.matches("\nhttp_reqs,").count(), 4);
}

#[test]
fn an_output_that_cannot_be_had_is_told_before_the_start() {
    let dir = TempDir::create().unwrap();
    let ran = play_in(&dir, SCRIPT, "", |options| {
        options.outputs = vec![Target::read("json=/no/such/directory/x").unwrap()];
    });
    assert_eq!(ran.code, 104);
    assert!(ran.err.contains("/no/such/directory/x"), "{}", ran.err);
}

/// The names, labels and values of a remote write request.
fn series_of(body: &[u8]) -> Vec<(String, f64)> {
    let plain = snap::raw::Decoder::new().decompress_vec(body).unwrap();
    let mut found = Vec::new();
    for (_, series) in fields(&plain) {
        let (mut labels, mut value) = (Vec::new(), 0.0);
        for (field, content) in fields(series) {
            match field {
                1 => {
                    let texts = fields(content);
                    let text = |index: usize| String::from_utf8(texts[index].1.to_vec()).unwrap();
                    labels.push(format!("{}={}", text(0), text(1)));
                }
                _ => value = f64::from_le_bytes(content[1..9].try_into().unwrap()),
            }
        }
        found.push((labels.join(","), value));
    }
    found
}

/// The fields of a protobuf message that have a length, all of which are shorter than 16 kB here.
fn fields(message: &[u8]) -> Vec<(u8, &[u8])> {
    let mut rest = message;
    let mut found = Vec::new();
    while let [tag, low, ..] = *rest {
        assert_eq!(tag & 7, 2);
        let (len, skip) = if low < 0x80 {
            (usize::from(low), 2)
        } else {
            (usize::from(low & 0x7f) | usize::from(rest[2]) << 7, 3)
        };
        found.push((tag >> 3, &rest[skip..skip + len]));
        rest = &rest[skip + len..];
    }
    found
}

#[test]
fn a_prometheus_gets_series() {
    let origin = origin();
    let prometheus = catamaran_testkit::Origin::fixed(204, "").start().unwrap();
    let dir = TempDir::create().unwrap();
    let server = format!("http://u:p@{}/write", prometheus.addr());
    let ran = play_in(&dir, SCRIPT, &url_of(&origin), |options| {
        options.outputs = vec![Target::read("experimental-prometheus-rw").unwrap()];
        let variable =
            |name: &str, value: &str| (format!("K6_PROMETHEUS_RW_{name}"), value.to_owned());
        options.env.push(variable("SERVER_URL", &server));
        options.env.push(variable("TREND_STATS", "p(99),count"));
    });
    ran.is_well();
    let requests = prometheus.requests();
    let last = requests.last().unwrap();
    assert_eq!(
        (last.method.as_str(), last.target.as_str()),
        ("POST", "/write")
    );
    assert_eq!(last.field("content-encoding").as_deref(), Some("snappy"));
    assert_eq!(last.field("authorization").as_deref(), Some("Basic dTpw"));
    let all: Vec<(String, f64)> = requests
        .iter()
        .flat_map(|request| series_of(&request.body.content))
        .collect();
    let value = |labels: &str| {
        let found = all.iter().rfind(|(own, _)| own.starts_with(labels));
        found.unwrap_or_else(|| panic!("{labels}: {all:?}")).1
    };
    assert_eq!(value("__name__=k6_mine_total,k=v,scenario=default"), 6.0);
    assert_eq!(value("__name__=k6_checks_rate,check=ok,group=::g"), 1.0);
    assert_eq!(value("__name__=k6_iteration_duration_count,scenario"), 3.0);
    let slowest = value("__name__=k6_http_req_duration_p99,");
    assert!(slowest > 0.0 && slowest < 30.0, "{slowest} s");
}

#[test]
fn a_prometheus_that_takes_nothing_is_told_of() {
    let origin = origin();
    let dir = TempDir::create().unwrap();
    let ran = play_in(&dir, SCRIPT, &url_of(&origin), |options| {
        options.outputs = vec![Target::read("experimental-prometheus-rw").unwrap()];
        let name = "K6_PROMETHEUS_RW_SERVER_URL".to_owned();
        options.env.push((name, "http://127.0.0.1:1/".to_owned()));
    });
    assert_eq!(ran.code, 0);
    assert!(
        ran.err
            .contains("error: experimental-prometheus-rw: http://127.0.0.1:1/: "),
        "{}",
        ran.err
    );
}
