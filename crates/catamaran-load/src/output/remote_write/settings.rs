//! What `K6_PROMETHEUS_RW_*` says.

use std::collections::HashMap;
use std::time::Duration;

use crate::client::Url;
use crate::sink::Statistic;
use crate::time_text::parse_duration;

/// Where series are sent, and which.
#[derive(Clone)]
pub struct Settings {
    pub(super) url: Url,
    /// The URL without name and password, to be told.
    pub(super) place: String,
    /// Header fields, credentials among them.
    pub(super) fields: Vec<(String, String)>,
    pub(super) verifies: bool,
    pub(super) interval: Duration,
    /// The statistics of trends with their suffixes.
    pub(super) statistics: Vec<(String, Of)>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Settings");
        shown.field("place", &self.place).finish_non_exhaustive()
    }
}

/// What of a trend is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Of {
    /// The sum of its values.
    Sum,
    /// Anything else.
    Statistic(Statistic),
}

impl Settings {
    /// Reads the variables.
    ///
    /// # Errors
    /// What one of them cannot mean.
    pub fn from_environment(
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, String> {
        let own: HashMap<String, String> = variables
            .filter_map(|(name, value)| {
                let name = name.strip_prefix(PREFIX)?.to_owned();
                (!value.is_empty()).then_some((name, value))
            })
            .collect();
        let get = |name: &str| own.get(name).map(String::as_str);
        let told = |name: &str, why: &dyn std::fmt::Display| format!("{PREFIX}{name}: {why}");
        if is_true(get("TREND_AS_NATIVE_HISTOGRAM")) {
            let why =
                "native histograms are not sent; name statistics in K6_PROMETHEUS_RW_TREND_STATS";
            return Err(told("TREND_AS_NATIVE_HISTOGRAM", &why));
        }
        let mut url = Url::parse(get("SERVER_URL").unwrap_or(DEFAULT_URL))
            .map_err(|error| told("SERVER_URL", &error))?;
        if let Some(name) = get("USERNAME") {
            let password = get("PASSWORD").unwrap_or_default();
            url.user = Some((name.to_owned(), password.to_owned()));
        }
        let interval = get("PUSH_INTERVAL").unwrap_or("5s");
        let interval = parse_duration(interval).map_err(|error| told("PUSH_INTERVAL", &error))?;
        let texts = get("TREND_STATS").unwrap_or("p(99)").split(',');
        let statistics = texts.map(|text| statistic(text.trim()));
        let statistics = statistics.collect::<Result<_, String>>();
        Ok(Self {
            place: url.to_string(),
            url,
            fields: fields(&own).map_err(|why| told("HTTP_HEADERS", &why))?,
            verifies: !is_true(get("INSECURE_SKIP_TLS_VERIFY")),
            interval: interval.max(LEAST_INTERVAL),
            statistics: statistics.map_err(|why| told("TREND_STATS", &why))?,
        })
    }
}

/// The header fields of every request.
fn fields(own: &HashMap<String, String>) -> Result<Vec<(String, String)>, String> {
    let fixed = [
        ("Content-Encoding", "snappy"),
        ("Content-Type", "application/x-protobuf"),
        ("X-Prometheus-Remote-Write-Version", "0.1.0"),
    ];
    let mut fields: Vec<(String, String)> = fixed
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    if let Some(token) = own.get("BEARER_TOKEN") {
        fields.push(("Authorization".to_owned(), format!("Bearer {token}")));
    }
    if let Some(text) = own.get("HTTP_HEADERS") {
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (name, value) = pair.split_once(':').ok_or("write name:value,name:value")?;
            fields.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    for (name, value) in own {
        if let Some(name) = name.strip_prefix("HEADERS_") {
            fields.push((name.to_owned(), value.clone()));
        }
    }
    Ok(fields)
}

fn statistic(text: &str) -> Result<(String, Of), String> {
    if text == "sum" {
        return Ok(("_sum".to_owned(), Of::Sum));
    }
    let found =
        Statistic::read(text).filter(|own| *own != Statistic::Rate && *own != Statistic::Value);
    let found = found.ok_or_else(|| {
        format!("`{text}` is none of count, sum, min, max, avg, med and p(N) with N from 0 to 100")
    })?;
    // `p(99.9)` is called p999.
    let suffix: String = text.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    Ok((format!("_{suffix}"), Of::Statistic(found)))
}

fn is_true(value: Option<&str>) -> bool {
    matches!(value, Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
}

const PREFIX: &str = "K6_PROMETHEUS_RW_";
const DEFAULT_URL: &str = "http://localhost:9090/api/v1/write";
/// Faster than samples are gathered.
const LEAST_INTERVAL: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        let pairs = pairs.iter();
        let own = pairs.map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned()));
        Settings::from_environment(own.chain([("OTHER".to_owned(), "x".to_owned())]))
    }

    #[test]
    fn without_variables_it_is_as_in_k6() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.place, DEFAULT_URL);
        assert_eq!(settings.interval, Duration::from_secs(5));
        assert_eq!(
            settings.statistics,
            [(
                "_p99".to_owned(),
                Of::Statistic(Statistic::Percentile(99.0))
            )]
        );
    }

    #[test]
    fn variables_are_read_and_credentials_not_shown() {
        let settings = read(&[
            ("SERVER_URL", "https://p.example/w"),
            ("USERNAME", "me"),
            ("PASSWORD", "secret"),
            ("TREND_STATS", "avg, p(99.9),sum"),
            ("PUSH_INTERVAL", "500ms"),
            ("HTTP_HEADERS", "X-A: 1,X-B:2"),
            ("HEADERS_X-SCOPE", "t"),
        ])
        .unwrap();
        let suffixes: Vec<_> = settings
            .statistics
            .iter()
            .map(|(suffix, _)| suffix.as_str())
            .collect();
        assert_eq!(suffixes, ["_avg", "_p999", "_sum"]);
        let has = |name: &str, value: &str| {
            settings
                .fields
                .contains(&(name.to_owned(), value.to_owned()))
        };
        assert!(has("X-A", "1") && has("X-B", "2") && has("X-SCOPE", "t"));
        assert!(!format!("{settings:?}").contains("secret"));
    }

    #[test]
    fn what_makes_no_sense_is_told_with_its_name() {
        for (name, value) in [
            ("SERVER_URL", "nonsense"),
            ("TREND_STATS", "p(101)"),
            ("TREND_STATS", "rate"),
            ("PUSH_INTERVAL", "soon"),
            ("HTTP_HEADERS", "abc"),
            ("TREND_AS_NATIVE_HISTOGRAM", "true"),
        ] {
            let told = read(&[(name, value)]).unwrap_err();
            assert!(told.starts_with(&format!("{PREFIX}{name}: ")), "{told}");
        }
    }
}
