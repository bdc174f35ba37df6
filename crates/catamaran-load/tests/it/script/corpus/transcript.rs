//! What a script came to, as lines that can be compared: no times, no ports, nothing that is by chance.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::{Case, Played};

/// The transcript of a run.
pub(super) fn of(case: &Case, played: &Played) -> String {
    let mut text = format!("exit {}\n", played.code);
    let parts: [(&str, Vec<String>); 4] = [
        ("requests", requests(case, played)),
        ("summary", summary(case, &played.summary)),
        ("samples", samples(case, &played.samples)),
        ("text", shape(&played.stdout)),
    ];
    for (name, lines) in parts {
        if !lines.is_empty() && !case.without.iter().any(|left_out| left_out == name) {
            let _ = write!(text, "== {name}\n{}\n", lines.join("\n"));
        }
    }
    text
}

fn requests(case: &Case, played: &Played) -> Vec<String> {
    let asked = played.asked.iter();
    let mut lines: Vec<String> = asked
        .map(|asked| {
            let mut line = format!("{} {}", asked.method, asked.target);
            for (name, value) in &asked.fields {
                let _ = write!(line, " | {name}: {value}");
            }
            if !asked.body.is_empty() {
                let _ = write!(line, " | {}", asked.body);
            }
            line
        })
        .collect();
    if !case.is_ordered {
        lines.sort();
    }
    if case.is_loose {
        lines.dedup();
    }
    lines
}

/// The document of `--summary-export`.
fn summary(case: &Case, summary: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, metric) in summary["metrics"].as_object().into_iter().flatten() {
        if is_left_out(name) {
            continue;
        }
        let mut figures = Vec::new();
        for (figure, value) in metric.as_object().into_iter().flatten() {
            // A rate is one over the run's time, and bytes are those of another name of the client.
            let is_by_chance = case.is_loose
                || is_time(name)
                || name.starts_with("data_")
                || (figure == "rate" && metric["count"].is_number());
            figures.push(match value.as_f64() {
                Some(value) if !is_by_chance => format!("{figure}={value}"),
                Some(_) => figure.clone(),
                None => format!("{figure}={value}"),
            });
        }
        lines.push(format!("{name}: {}", figures.join(" ")));
    }
    groups(case, &summary["root_group"], &mut lines);
    if !summary["setup_data"].is_null() {
        lines.push(format!("setup_data {}", summary["setup_data"]));
    }
    lines
}

fn groups(case: &Case, group: &Value, lines: &mut Vec<String>) {
    for (_, check) in group["checks"].as_object().into_iter().flatten() {
        let (path, id) = (&check["path"], &check["id"]);
        lines.push(match case.is_loose {
            true => format!("check {path} {id}"),
            false => format!(
                "check {path} {id} ✓ {} ✗ {}",
                check["passes"], check["fails"]
            ),
        });
    }
    for (name, inner) in group["groups"].as_object().into_iter().flatten() {
        lines.push(format!("group {name} {} {}", inner["path"], inner["id"]));
        groups(case, inner, lines);
    }
}

/// The lines of `-o json`: metrics as they are declared, and for each set of tags how often each metric
/// was given which value.
fn samples(case: &Case, samples: &[Value]) -> Vec<String> {
    let mut declared = Vec::new();
    let mut sets: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for sample in samples {
        let name = sample["metric"].as_str().unwrap();
        let data = &sample["data"];
        if is_left_out(name) {
            continue;
        }
        if name.starts_with("data_") {
            continue;
        }
        if sample["type"] == "Metric" {
            let (kind, contains) = (&data["type"], &data["contains"]);
            let thresholds = &data["thresholds"];
            let parts = data["submetrics"].as_array().into_iter().flatten();
            let mut parts: Vec<_> = parts.map(|part| part["name"].to_string()).collect();
            // k6 keeps them in no order.
            parts.sort();
            declared.push(format!(
                "metric {name} {kind} {contains} {thresholds} {}",
                parts.join(" ")
            ));
        } else {
            let tags = data["tags"].as_object().into_iter().flatten();
            let mut tags: Vec<_> = tags
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            if let Some(metadata) = data.get("metadata") {
                tags.push(format!("metadata={metadata}"));
            }
            let value = match &data["value"] {
                _ if is_time(name) => "~".to_owned(),
                _ if case.is_loose => "#".to_owned(),
                value => value.as_f64().unwrap().to_string(),
            };
            *sets
                .entry(tags.join(" "))
                .or_default()
                .entry(format!("{name}={value}"))
                .or_default() += 1;
        }
    }
    declared.sort();
    let sets = sets.into_iter().map(|(tags, counts)| {
        let counts = counts.into_iter().map(|(sample, count)| match count {
            1 => sample,
            _ if case.is_loose => sample,
            _ => format!("{count}x{sample}"),
        });
        let counts: Vec<_> = counts.collect();
        format!("{tags} >> {}", counts.join(" "))
    });
    declared.extend(sets);
    declared
}

/// What is printed at the end, without its numbers.
fn shape(stdout: &str) -> Vec<String> {
    let mut is_own = false;
    let lines = stdout.lines().map(str::trim_end);
    let lines = lines.filter(|line| {
        let word = line.trim_start();
        // A part that only we have: how requests were answered.
        is_own = word == "ANSWERS" || (is_own && word.contains("...:"));
        !word.is_empty() && !is_own && !is_left_out(word)
    });
    lines
        .map(|line| {
            let indent = line.len() - line.trim_start().len();
            let words: Vec<String> = line.split_whitespace().map(without_numbers).collect();
            format!("{}{}", " ".repeat(indent), words.join(" "))
                .replace("# B", "#")
                .replace("# kB", "#")
                .replace("# MB", "#")
        })
        .collect()
}

/// `avg=1.25ms` becomes `avg=#`, `p(95)=3` stays what it is but for the 3.
fn without_numbers(word: &str) -> String {
    if word.starts_with('\'') || word.starts_with('"') {
        return word.to_owned();
    }
    let (name, value) = word
        .rsplit_once('=')
        .map_or(("", word), |(name, value)| (name, value));
    let digits = value.trim_start_matches(['-', '+', '↓', '↑', '<']);
    let number = digits.trim_end_matches(|c: char| c.is_alphabetic() || "%/,;)µ".contains(c));
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit())
        && number
            .chars()
            .all(|c| c.is_ascii_digit() || ".msh:-e+".contains(c));
    match (is_number, name) {
        (false, _) => word.to_owned(),
        (true, "") => format!("#{}", if value.ends_with('%') { "%" } else { "" }),
        (true, _) => format!("{name}=#"),
    }
}

/// Metrics that are by chance, because they are looked at every second, and those that k6 has not.
fn is_left_out(name: &str) -> bool {
    let name = name.split(['.', ':']).next().unwrap_or(name);
    let ours = [
        "http_req_corrected_duration",
        "iteration_lateness",
        "schedule_lateness",
        "thrown_iterations",
    ];
    ["vus", "vus_max"].contains(&name) || ours.contains(&name)
}

fn is_time(name: &str) -> bool {
    let name = name.split('{').next().unwrap_or(name);
    let times = ["iteration_duration", "group_duration"];
    times.contains(&name) || (name.starts_with("http_req_") && name != "http_req_failed")
}
