//! Variables of the environment that stand for what `k6 run` has on its command line beside the options of
//! scripts.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::ScriptOptions;
use crate::options::Options;
use crate::output::Target;

/// What they say.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Variables {
    /// A file of options.
    pub(super) config: Option<PathBuf>,
    outputs: Vec<Target>,
    summary_export: Option<PathBuf>,
    /// Those that k6 would heed and we do not.
    pub(super) unread: Vec<String>,
}

impl Variables {
    pub(super) fn read(variables: &[(String, String)]) -> Result<Self, String> {
        let mut read = Self::default();
        for (name, text) in variables.iter().filter(|(_, text)| !text.is_empty()) {
            match name.as_str() {
                "K6_CONFIG" => read.config = Some(text.into()),
                "K6_SUMMARY_EXPORT" => read.summary_export = Some(text.into()),
                "K6_OUT" => {
                    let targets = text.split(',').map(|one| Target::read(one.trim()));
                    let targets = targets.collect::<Result<_, _>>();
                    read.outputs = targets.map_err(|why| format!("K6_OUT: {why}"))?;
                }
                _ if UNREAD.contains(&name.as_str()) && !Options::has_variable(name) => {
                    read.unread.push(name.clone());
                }
                _ => {}
            }
        }
        Ok(read)
    }

    /// Adds what the command line does not say.
    pub(super) fn give_to(&mut self, given: &mut ScriptOptions) {
        if given.outputs.is_empty() {
            given.outputs = std::mem::take(&mut self.outputs);
        }
        given.summary_export = given
            .summary_export
            .take()
            .or_else(|| self.summary_export.take());
        given.config = given.config.take().or_else(|| self.config.take());
    }
}

/// The options in a file, which those of the script outdo.
pub(super) fn options_in(path: &Path) -> Result<Options, String> {
    let shown = path.display();
    let told = |why: String| format!("{shown}: {why}");
    let text = std::fs::read_to_string(path).map_err(|error| told(error.to_string()))?;
    let value: Value = serde_json::from_str(&text).map_err(|error| told(error.to_string()))?;
    Options::from_script(&value).map_err(|error| told(error.to_string()))
}

/// What k6 2.2 reads and would change a run by.
const UNREAD: &[&str] = &[
    "K6_COMPATIBILITY_MODE",
    "K6_CONSOLE_OUTPUT",
    "K6_EXECUTION_SEGMENT",
    "K6_EXECUTION_SEGMENT_SEQUENCE",
    "K6_HANDLE_SUMMARY_TIMEOUT",
    "K6_HOSTS",
    "K6_INCLUDE_SYSTEM_ENV_VARS",
    "K6_LINGER",
    "K6_LOG_FORMAT",
    "K6_LOG_OUTPUT",
    "K6_NO_SUMMARY",
    "K6_PAUSED",
    "K6_SECRET_SOURCE",
    "K6_SUMMARY_MODE",
    "K6_THRESHOLDS",
    "K6_TRACES_OUTPUT",
    "K6_WEB_DASHBOARD",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Variables, String> {
        let owned = |&(name, text): &(&str, &str)| (name.to_owned(), text.to_owned());
        Variables::read(&pairs.iter().map(owned).collect::<Vec<_>>())
    }

    #[test]
    fn variables_say_what_the_command_line_of_k6_does() {
        let found = read(&[
            ("K6_OUT", "json=a.json,csv=b.csv"),
            ("K6_SUMMARY_EXPORT", "c.json"),
            ("K6_CONFIG", "d.json"),
            ("K6_VUS", "3"),
            ("K6_LINGER", "true"),
            ("K6_PAUSED", ""),
            ("K6_MINE", "x"),
        ])
        .unwrap();
        assert_eq!(found.outputs.len(), 2);
        assert_eq!(found.summary_export, Some(PathBuf::from("c.json")));
        assert_eq!(found.config, Some(PathBuf::from("d.json")));
        assert_eq!(found.unread, ["K6_LINGER"]);
        let wrong = read(&[("K6_OUT", "kafka=x")]).unwrap_err();
        assert!(wrong.starts_with("K6_OUT: "), "{wrong}");
    }

    #[test]
    fn a_file_of_options_is_read_and_mistakes_in_it_name_it() {
        let dir = catamaran_testkit::TempDir::create().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(
            &path,
            r#"{"vus": 2, "thresholds": {"iterations": ["count>100"]}}"#,
        )
        .unwrap();
        let options = options_in(&path).unwrap();
        assert_eq!(options.vus, Some(2));
        assert_eq!(options.thresholds.unwrap().len(), 1);
        std::fs::write(&path, r#"{"vus": "many"}"#).unwrap();
        let why = options_in(&path).unwrap_err();
        assert!(why.contains("config.json: option `vus`"), "{why}");
        assert!(options_in(&dir.path().join("none.json")).is_err());
    }
}
