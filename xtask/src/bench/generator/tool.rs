//! The generators: where they are, how they are called, and what they say of their requests.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A load generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tool {
    Catamaran,
    K6,
    Wrk,
    Wrk2,
    Oha,
}

impl Tool {
    pub(super) const ALL: [Self; 5] = [Self::Catamaran, Self::K6, Self::Wrk, Self::Wrk2, Self::Oha];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Catamaran => "catamaran",
            Self::K6 => "k6",
            Self::Wrk => "wrk",
            Self::Wrk2 => "wrk2",
            Self::Oha => "oha",
        }
    }

    /// Where it is: by the variable that has its name in capitals, or on `PATH`.
    pub(super) fn find(self) -> Option<PathBuf> {
        if self == Self::Catamaran {
            return Path::new("target/release/catamaran").canonicalize().ok();
        }
        if let Some(told) = env::var_os(self.name().to_uppercase()) {
            return Some(PathBuf::from(told)).filter(|path| path.is_file());
        }
        let path = env::var_os("PATH")?;
        let places = env::split_paths(&path).map(|place| place.join(self.name()));
        places.into_iter().find(|path| path.is_file())
    }

    /// What it says of its version, the first number of it.
    pub(super) fn version(self, program: &Path) -> String {
        let flag = match self {
            Self::Wrk | Self::Wrk2 => OsStr::new("-v"),
            Self::K6 => OsStr::new("version"),
            _ => OsStr::new("--version"),
        };
        let output = Command::new(program).arg(flag).output();
        let text = output.map(|output| [output.stdout, output.stderr].concat());
        let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
        version_in(&text).unwrap_or_default()
    }

    /// How many requests were answered, by its output or by the summary that it wrote.
    pub(super) fn requests(self, stdout: &str, summary: &str) -> Result<f64> {
        let count = match self {
            Self::Wrk | Self::Wrk2 => {
                // It counts what failed on its own line, which is missing if nothing did.
                if stdout.contains("Non-2xx") || stdout.contains("Socket errors") {
                    bail!("requests failed: {stdout}");
                }
                let line = stdout.lines().find(|line| line.contains(" requests in "));
                let word = line.and_then(|line| line.split_whitespace().next());
                word.and_then(|word| word.parse().ok())
            }
            Self::Oha => {
                let value: Value = serde_json::from_str(stdout)?;
                value["statusCodeDistribution"]["200"].as_f64()
            }
            Self::K6 | Self::Catamaran => {
                // With a script it stands in the file, without on standard output.
                let text = if summary.is_empty() { stdout } else { summary };
                let value: Value = serde_json::from_str(text)?;
                let failed = value["metrics"]["http_req_failed"]["passes"].as_f64();
                if failed.is_some_and(|failed| failed > 0.0) {
                    bail!("{} requests failed", failed.unwrap_or_default());
                }
                value["metrics"]["http_reqs"]["count"].as_f64()
            }
        };
        count.with_context(|| format!("{} tells no count of requests: {stdout}", self.name()))
    }
}

fn version_in(text: &str) -> Option<String> {
    let words = text.split([' ', '\n', '/', ',']);
    let words = words.map(|word| word.trim_start_matches(['v', '[']));
    let mut numbers = words.filter(|word| word.contains('.') || word.len() > 5);
    let number = numbers.find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    Some(number.trim_end_matches(']').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_from_what_each_tool_says() {
        let wrk = "  4 threads\n  412 requests in 1.00s, 2MB read\nRequests/sec: 412\n";
        assert!((Tool::Wrk.requests(wrk, "").unwrap() - 412.0).abs() < 1e-9);
        let failed = format!("{wrk}  Non-2xx or 3xx responses: 3\n");
        assert!(Tool::Wrk.requests(&failed, "").is_err());
        let oha = r#"{"statusCodeDistribution":{"200":7}}"#;
        assert!((Tool::Oha.requests(oha, "").unwrap() - 7.0).abs() < 1e-9);
        let k6 = r#"{"metrics":{"http_reqs":{"count":9,"rate":1},"http_req_failed":{"passes":0}}}"#;
        assert!((Tool::K6.requests("", k6).unwrap() - 9.0).abs() < 1e-9);
        let failed = k6.replace("\"passes\":0", "\"passes\":2");
        assert!(Tool::Catamaran.requests(&failed, "").is_err());
    }

    #[test]
    fn versions_are_the_first_number() {
        assert_eq!(
            version_in("wrk 4.1.0 [epoll] Copy").as_deref(),
            Some("4.1.0")
        );
        assert_eq!(version_in("k6 v2.2.0 (go1.27)").as_deref(), Some("2.2.0"));
        assert_eq!(version_in("nothing"), None);
    }
}
