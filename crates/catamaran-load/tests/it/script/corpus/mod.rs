//! The corpus: scripts, and what k6 does with each, recorded.
//!
//! `tests/corpus/NAME.js` is played against a server that records what it is asked, and what came of it is
//! written down ([`transcript`]) and compared with `NAME.golden`, which a real k6 made. The first lines of
//! a script may say more:
//!
//! ```text
//! // env K6_VUS=2        a variable of the environment
//! // cli {"vus": 2}      options of the command line
//! // unordered           requests of several virtual users come in any order
//! // loose               how often is a matter of time: only which requests, metrics and tags there are
//! // without SECTION     a part of the transcript is left out
//! // differs TEXT        lines with this text differ, for the reason that the script tells
//! ```
//! `CORPUS=NAME` plays only scripts whose name has this in it. With `K6=PROGRAM` each script is played by
//! k6, too, and the recordings must be what that does; `UPDATE_GOLDENS=1` makes them.

mod k6;
mod server;
mod transcript;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use catamaran_load::options::Options;
use catamaran_load::output::Target;
use catamaran_load::script::ScriptOptions;
use catamaran_testkit::TempDir;
use serde_json::Value;

use super::play_options;
use server::{Asked, Server};

/// A script, and what its first lines say.
struct Case {
    name: String,
    path: PathBuf,
    env: Vec<(String, String)>,
    cli: Value,
    is_ordered: bool,
    is_loose: bool,
    without: Vec<String>,
    differs: Vec<String>,
}

/// What a script came to, whoever played it.
struct Played {
    code: u8,
    asked: Vec<Asked>,
    summary: Value,
    samples: Vec<Value>,
    stdout: String,
    stderr: String,
}

impl Case {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let mut case = Self {
            name,
            path,
            env: Vec::new(),
            cli: Value::Object(serde_json::Map::new()),
            is_ordered: true,
            is_loose: false,
            without: Vec::new(),
            differs: Vec::new(),
        };
        for line in text.lines().map_while(|line| line.strip_prefix("// ")) {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "env" => {
                    let (name, value) = rest.split_once('=').unwrap();
                    case.env.push((name.to_owned(), value.to_owned()));
                }
                "cli" => case.cli = serde_json::from_str(rest).unwrap(),
                "unordered" => case.is_ordered = false,
                "loose" => (case.is_ordered, case.is_loose) = (false, true),
                "without" => case.without.push(rest.to_owned()),
                "differs" => case.differs.push(rest.to_owned()),
                // What the script is for.
                _ => {}
            }
        }
        case
    }

    fn golden(&self) -> PathBuf {
        self.path.with_extension("golden")
    }

    fn play(&self) -> Played {
        let dir = TempDir::create().unwrap();
        let server = Server::start();
        let exported = dir.path().join("summary.json");
        let samples = dir.path().join("samples.json");
        let environment = Options::from_environment(self.env.iter().cloned()).unwrap();
        let command_line = Options::from_script(&self.cli).unwrap();
        let mut env = self.env.clone();
        env.push(("URL".to_owned(), server.url()));
        let target = Target::read(&format!("json={}", samples.display())).unwrap();
        let options = ScriptOptions {
            path: self.path.clone(),
            options: environment.with(command_line),
            env,
            workers: Some(2),
            summary_export: Some(exported.clone()),
            outputs: vec![target],
            is_quiet: true,
            is_full: self
                .env
                .iter()
                .any(|(name, value)| name == "K6_SUMMARY_MODE" && value == "full"),
            ..ScriptOptions::default()
        };
        let ran = play_options(options, &exported);
        Played {
            code: ran.code,
            asked: server.asked(),
            summary: ran.summary,
            samples: read_lines(&samples, &server),
            stdout: server.unnamed(&ran.out),
            stderr: ran.err,
        }
    }

    /// Lines of the transcripts that are in one only.
    fn compare(&self, golden: &str, ours: &str) -> Option<String> {
        let is_told = |line: &str| !self.differs.iter().any(|text| line.contains(text.as_str()));
        let golden: Vec<&str> = golden.lines().filter(|line| is_told(line)).collect();
        let ours: Vec<&str> = ours.lines().filter(|line| is_told(line)).collect();
        if golden == ours {
            return None;
        }
        let mut counts: BTreeMap<&str, i32> = BTreeMap::new();
        golden
            .iter()
            .for_each(|line| *counts.entry(line).or_default() += 1);
        ours.iter()
            .for_each(|line| *counts.entry(line).or_default() -= 1);
        let mut text = String::new();
        for (sign, lines, wanted) in [("k6  ", &golden, 1), ("ours", &ours, -1)] {
            for line in lines {
                let count = counts.get_mut(line).unwrap();
                if *count * wanted > 0 {
                    *count -= wanted;
                    text.push_str(&format!("  {sign} {line}\n"));
                }
            }
        }
        if text.is_empty() {
            text.push_str("  the same lines in another order\n");
        }
        Some(text)
    }
}

fn read_lines(path: &Path, server: &Server) -> Vec<Value> {
    let text = server.unnamed(&fs::read_to_string(path).unwrap_or_default());
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Plays a script, and says what is not as recorded.
fn judge(case: &Case) -> Option<String> {
    let k6 = std::env::var_os("K6").map(PathBuf::from);
    let mut told = String::new();
    if let Some(k6) = &k6 {
        let played = k6::play(k6, case);
        let text = transcript::of(case, &played);
        if std::env::var_os("UPDATE_GOLDENS").is_some() {
            fs::write(case.golden(), text).unwrap();
        } else {
            let golden = fs::read_to_string(case.golden()).unwrap_or_default();
            if let Some(lines) = case.compare(&text, &golden) {
                told.push_str("  the recording is not what this k6 does:\n");
                told.push_str(&lines.replace("ours", "file"));
            }
        }
    }
    let golden = fs::read_to_string(case.golden()).unwrap_or_default();
    let played = case.play();
    let text = transcript::of(case, &played);
    if let Some(lines) = case.compare(&golden, &text) {
        told.push_str(&lines);
        for line in played.stderr.lines().take(5) {
            told.push_str(&format!("  stderr: {line}\n"));
        }
    }
    (!told.is_empty()).then(|| format!("{}:\n{told}", case.name))
}

#[test]
fn every_script_of_the_corpus_does_what_it_does_in_k6() {
    let wanted = std::env::var("CORPUS").unwrap_or_default();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let entries = fs::read_dir(directory).unwrap();
    let mut cases: Vec<Case> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|ending| ending == "js" || ending == "ts")
        })
        .map(Case::read)
        .filter(|case| case.name.contains(&wanted))
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..PLAYERS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // A machine that is too busy may make a script late; twice it does not.
                    if let Some(told) = judge(case).and_then(|_| judge(case)) {
                        failed.lock().unwrap().push(told);
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    let count = failed.len();
    assert!(
        failed.is_empty(),
        "{count} of {} scripts:\n{}",
        cases.len(),
        failed.join("\n")
    );
}

/// Scripts that are played at once: most of them wait most of the time.
const PLAYERS: usize = 6;
