//! A strict reader of a page of metrics: what it takes, every scraper takes.

use std::collections::{BTreeMap, BTreeSet};

/// The metrics of a page, by family.
#[derive(Debug, Default)]
pub(super) struct Page(pub(super) BTreeMap<String, Family>);

/// One metric with its samples.
#[derive(Debug, Default)]
pub(super) struct Family {
    pub(super) kind: String,
    pub(super) unit: Option<String>,
    pub(super) samples: Vec<Sample>,
}

/// One line.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

impl Page {
    /// Reads a page in Prometheus' text format.
    pub(super) fn prometheus(text: &str) -> Self {
        Self::read(text, false)
    }

    /// Reads a page in OpenMetrics.
    pub(super) fn open_metrics(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("it ends with # EOF");
        Self::read(body, true)
    }

    fn read(text: &str, is_open: bool) -> Self {
        assert!(text.ends_with('\n'), "the last line ends too");
        let mut page = Self::default();
        let mut current = String::new();
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let (word, rest) = comment.split_once(' ').unwrap();
                let (name, rest) = rest.split_once(' ').unwrap();
                if word == "HELP" {
                    assert!(!page.0.contains_key(name), "{name} stands twice");
                    assert!(!rest.is_empty(), "{name} explains nothing");
                    page.0.insert(name.to_owned(), Family::default());
                    name.clone_into(&mut current);
                }
                assert_eq!(name, current, "the lines of a metric stand together");
                let family = page.0.get_mut(name).unwrap();
                match word {
                    "HELP" => {}
                    "TYPE" => rest.clone_into(&mut family.kind),
                    "UNIT" if is_open => family.unit = Some(rest.to_owned()),
                    _ => panic!("{line}"),
                }
                continue;
            }
            let family = page.0.get_mut(&current).expect("a head comes first");
            let sample = Sample::read(line);
            assert!(
                belongs(&sample.name, &current, &family.kind, is_open),
                "{line}"
            );
            family.samples.push(sample);
        }
        page.check();
        page
    }

    fn check(&self) {
        for (name, family) in &self.0 {
            assert!(!family.samples.is_empty(), "{name}");
            let mut seen = BTreeSet::new();
            for sample in &family.samples {
                let key = (&sample.name, &sample.labels);
                assert!(seen.insert(key), "{key:?} stands twice");
                let is_count = family.kind != "gauge";
                assert!(!is_count || sample.value >= 0.0, "{sample:?}");
            }
            if family.kind == "histogram" {
                family.check_histograms(name);
            }
            if let Some(unit) = &family.unit {
                assert!(name.ends_with(&format!("_{unit}")), "{name} {unit}");
            }
        }
    }

    /// The value of the one sample with these labels.
    pub(super) fn value(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        let family = self.0.get(family).unwrap_or_else(|| panic!("{family}"));
        let is_it = |sample: &&Sample| {
            let has = |(name, value): &(&str, &str)| {
                sample.labels.get(*name).map(String::as_str) == Some(*value)
            };
            labels.len() == sample.labels.len() && labels.iter().all(has)
        };
        let found = family.samples.iter().find(is_it);
        found
            .unwrap_or_else(|| panic!("{labels:?} {family:?}"))
            .value
    }
}

impl Family {
    /// Buckets rise in bound and count, the last one is infinite and equals the count.
    fn check_histograms(&self, name: &str) {
        let mut series: BTreeMap<_, Vec<&Sample>> = BTreeMap::new();
        for sample in &self.samples {
            let mut labels = sample.labels.clone();
            labels.remove("le");
            series.entry(labels).or_default().push(sample);
        }
        for (labels, samples) in series {
            let buckets = samples.iter().filter(|s| s.name.ends_with("_bucket"));
            let buckets: Vec<(f64, f64)> = buckets
                .map(|sample| (number(&sample.labels["le"]), sample.value))
                .collect();
            for pair in buckets.windows(2) {
                assert!(
                    pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1,
                    "{name} {labels:?} {pair:?}"
                );
            }
            let last = buckets.last().expect("a histogram has buckets");
            let count = samples.iter().find(|s| s.name.ends_with("_count"));
            assert!(last.0.is_infinite(), "{name} {labels:?}");
            assert_eq!(last.1, count.unwrap().value, "{name} {labels:?}");
            assert!(samples.iter().any(|s| s.name.ends_with("_sum")), "{name}");
        }
    }
}

impl Sample {
    fn read(line: &str) -> Self {
        let (head, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = match head.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').unwrap()),
            None => (head, ""),
        };
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit();
        assert!(!name.is_empty() && name.chars().all(is_name), "{line}");
        Self {
            name: name.to_owned(),
            labels: read_labels(labels),
            value: number(value),
        }
    }
}

fn read_labels(mut text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").unwrap();
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next().expect("the value ends") {
                (at, '"') => break at,
                (_, '\\') => match chars.next().unwrap().1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "{text}");
        text = &rest[end + 1..];
        text = text.strip_prefix(',').unwrap_or(text);
    }
    labels
}

/// Whether a sample of that name may stand in the family.
fn belongs(sample: &str, family: &str, kind: &str, is_open: bool) -> bool {
    let suffix = sample.strip_prefix(family);
    match (kind, suffix) {
        ("counter", Some("_total")) => is_open,
        ("counter", Some("")) => !is_open && sample.ends_with("_total"),
        ("gauge", Some("")) | ("histogram", Some("_bucket" | "_count" | "_sum")) => true,
        _ => false,
    }
}

fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        _ => text.parse().unwrap_or_else(|_| panic!("`{text}`")),
    }
}
