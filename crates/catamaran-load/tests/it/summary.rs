//! Samples that k6 wrote, and the figures that it made of them.

use std::time::Duration;

use catamaran_load::board::Board;
use catamaran_load::metric::{Contains, Registry};
use catamaran_load::sink::{Kind, Statistic};
use catamaran_load::summary::{Summary, export};
use serde_json::Value;

/// `kinds` and `samples` of `-o json`, and `summary` of `--summary-export`, of one run of k6 2.2.
const RECORDED: &str = include_str!("../corpus/k6-samples.json");

#[test]
fn samples_of_k6_come_to_the_figures_of_k6() {
    let recorded: Value = serde_json::from_str(RECORDED).unwrap();
    let mut registry = Registry::new();
    for (name, kind) in recorded["kinds"].as_object().unwrap() {
        let contains = if kind[1] == "time" {
            Contains::Time
        } else {
            Contains::Default
        };
        let kind = match kind[0].as_str().unwrap() {
            "counter" => Kind::Counter,
            "gauge" => Kind::Gauge,
            "rate" => Kind::Rate,
            _ => Kind::Trend,
        };
        if registry.named(name).is_err() {
            registry.declare(name, kind, contains).unwrap();
        }
    }
    let samples = recorded["samples"].as_object().unwrap();
    let sinks = samples
        .keys()
        .map(|name| (name, registry.select(name).unwrap()));
    let sinks: Vec<_> = sinks.collect();
    let mut board = Board::new(&registry);
    for (name, sink) in sinks {
        for (at, value) in (1..).zip(samples[name].as_array().unwrap()) {
            board.record(sink, value.as_f64().unwrap(), at);
        }
    }
    let theirs = &recorded["summary"];
    let requests = &theirs["http_reqs"];
    let took = requests["count"].as_f64().unwrap() / requests["rate"].as_f64().unwrap();
    let ours = export::metrics(&Summary {
        registry: &registry,
        board: &board,
        run_time: Duration::from_secs_f64(took),
        thresholds: &[],
        trend_statistics: &[
            Statistic::Average,
            Statistic::Min,
            Statistic::Median,
            Statistic::Max,
            Statistic::Percentile(90.0),
            Statistic::Percentile(95.0),
        ],
        is_full: true,
        time_unit: None,
    });
    let mut compared = 0;
    for (name, figures) in theirs.as_object().unwrap() {
        for (figure, value) in figures.as_object().unwrap() {
            let Some(value) = value.as_f64() else {
                continue;
            };
            let own = ours[name][figure].as_f64();
            let own = own.unwrap_or_else(|| panic!("{name} has no {figure}"));
            let is_same = (own - value).abs() <= value.abs() * 1e-6;
            assert!(is_same, "{name} {figure}: {own} is not {value}");
            compared += 1;
        }
    }
    assert!(compared > 80, "{compared}");
}
