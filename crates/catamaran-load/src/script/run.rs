//! Runs a script from its options to the exit code.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use corosensei::stack::DefaultStack;
use serde_json::{Map, Value};
use tokio::task::LocalSet;

use super::host::{Host, Settings};
use super::realm::{Called, Realm, STACK_BYTES, Script, call_on_fiber};
use super::vu::ScriptCrew;
use crate::engine::{Course, Ending, Local, Observer, Outcome, Progress, Stop, lead};
use crate::exit_code;
use crate::metric::Registry;
use crate::options::{Derived, Options};
use crate::plain::Console;
use crate::sink::Statistic;
use crate::summary::{Summary, export, text};
use crate::time_text::exact;

/// A run of a script.
#[derive(Clone, Debug, Default)]
pub struct ScriptOptions {
    /// The script.
    pub path: PathBuf,
    /// Options of the command line.
    pub options: Options,
    /// Variables of `__ENV` beside those of the environment.
    pub env: Vec<(String, String)>,
    /// Worker threads; as many as processors without.
    pub workers: Option<u64>,
    /// Where the summary is written as JSON.
    pub summary_export: Option<PathBuf>,
    /// Whether all metrics are printed.
    pub is_full: bool,
    /// Whether nothing is printed while it runs.
    pub is_quiet: bool,
}

/// Why a run ends before its time: the exit code and what is said.
struct Failed(u8, String);

/// Runs to the end. Returns the exit code ([`crate::exit_code`]).
///
/// # Errors
/// When nothing can be printed, or the system gives no threads.
pub async fn run(options: ScriptOptions, console: &mut Console<'_>) -> io::Result<u8> {
    let prepared = match Prepared::new(options) {
        Ok(prepared) => prepared,
        Err(Failed(code, why)) => {
            writeln!(console.err, "catamaran load: {why}")?;
            return Ok(code);
        }
    };
    LocalSet::new().run_until(prepared.run(console)).await
}

/// A script whose options are known.
struct Prepared {
    given: ScriptOptions,
    options: Options,
    derived: Derived,
    registry: Arc<Registry>,
    script: Arc<Script>,
    settings: Arc<Settings>,
    has_setup: bool,
    has_teardown: bool,
    has_summary: bool,
}

impl Prepared {
    fn new(given: ScriptOptions) -> Result<Self, Failed> {
        let invalid = |why: String| Failed(exit_code::INVALID, why);
        let script = Arc::new(read(&given).map_err(|why| Failed(exit_code::FAILED, why))?);
        let local = Rc::new(Local::detached(Arc::new(Registry::new()), Arc::default()));
        let settings = Arc::new(settings(&Options::default()));
        let host = Host::new(local, settings, &script, 0, None, Some(Registry::new()));
        let host = Rc::new(host);
        let realm =
            Realm::new(&script, Rc::clone(&host)).map_err(|why| Failed(exit_code::FAILED, why))?;
        let from_script = match realm.export("options") {
            Some(text) => {
                let value: Value = serde_json::from_str(&text).unwrap_or_default();
                Options::from_script(&value).map_err(|error| invalid(error.to_string()))?
            }
            None => Options::default(),
        };
        let environment = Options::from_environment(std::env::vars())
            .map_err(|error| invalid(error.to_string()))?;
        let options = from_script.with(environment).with(given.options.clone());
        let declared = host
            .declaring
            .as_ref()
            .map(|registry| registry.borrow().clone());
        let mut registry = declared.unwrap_or_default();
        // k6 always has this one.
        let part = "http_req_duration{expected_response:true}";
        registry
            .select(part)
            .map_err(|error| invalid(error.to_string()))?;
        let derived = options
            .derive(&mut registry)
            .map_err(|error| invalid(error.to_string()))?;
        for scenario in &derived.scenarios {
            if !realm.has(&scenario.exec) {
                let (name, exec) = (&scenario.name, &scenario.exec);
                let text = format!("scenario `{name}`: the script exports no function `{exec}`");
                return Err(invalid(text));
            }
        }
        Ok(Self {
            settings: Arc::new(self::settings(&options)),
            has_setup: realm.has("setup") && options.no_setup != Some(true),
            has_teardown: realm.has("teardown") && options.no_teardown != Some(true),
            has_summary: realm.has("handleSummary"),
            given,
            options,
            derived,
            registry: Arc::new(registry),
            script,
        })
    }

    async fn run(self, console: &mut Console<'_>) -> io::Result<u8> {
        if !self.given.is_quiet {
            self.introduce(console)?;
        }
        let course = self.course();
        let local = Rc::new(Local::detached(
            Arc::clone(&self.registry),
            Arc::clone(&course.scenarios),
        ));
        let setup_timeout = self.options.setup_timeout.unwrap_or(MINUTE);
        let data = if self.has_setup {
            match self.stage(&local, "setup", None, setup_timeout).await {
                Ok(data) => data,
                Err(why) => return fail(console, &why),
            }
        } else {
            None
        };
        let crew = ScriptCrew {
            script: Arc::clone(&self.script),
            settings: Arc::clone(&self.settings),
            data: Some(data.clone().unwrap_or_else(|| "null".into())).filter(|_| self.has_setup),
            min_iteration: self.options.min_iteration_duration.unwrap_or_default(),
        };
        let mut ticker = Ticker {
            err: console.err,
            is_quiet: self.given.is_quiet,
        };
        let mut outcome = lead(&course, Arc::new(crew), &mut ticker, &mut |_| {}).await?;
        if let Ending::Failed(why) = &outcome.ending {
            writeln!(console.err, "catamaran load: {why}")?;
            return Ok(exit_code::FAILED);
        }
        let mut torn = Ok(None);
        if self.has_teardown {
            let timeout = self.options.teardown_timeout.unwrap_or(MINUTE);
            torn = self.stage(&local, "teardown", data.clone(), timeout).await;
        }
        outcome.board.merge(&local.recorder.borrow_mut().take());
        self.print(&outcome, &local, data.as_deref(), console)
            .await?;
        if let Err(why) = torn {
            return fail(console, &why);
        }
        Ok(self.exit_code(&outcome))
    }

    fn course(&self) -> Course {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let wanted = self.given.workers.unwrap_or(processors as u64).max(1);
        let scenarios = self.derived.scenarios.iter();
        // An open model needs a virtual user in each worker, or its share would begin nothing.
        let fewest = scenarios.map(|scenario| scenario.executor.max_vus()).min();
        Course {
            registry: Arc::clone(&self.registry),
            scenarios: Arc::new(self.derived.scenarios.clone()),
            thresholds: self.derived.thresholds.clone(),
            workers: wanted.min(fewest.unwrap_or(1).max(1)),
        }
    }

    /// Runs `setup` or `teardown`.
    async fn stage(
        &self,
        local: &Rc<Local>,
        name: &str,
        argument: Option<Arc<str>>,
        timeout: Duration,
    ) -> Result<Option<Arc<str>>, Failed> {
        let code = if name == "setup" {
            exit_code::SETUP_TIMEOUT
        } else {
            exit_code::TEARDOWN_TIMEOUT
        };
        match self.call(local, name, argument, timeout).await {
            Ok(Called::Returned(value)) => Ok(value.map(Arc::from)),
            Ok(Called::Threw(why)) => Err(Failed(exit_code::FAILED, format!("{name}: {why}"))),
            Ok(Called::Cut) => Err(Failed(
                code,
                format!("{name} took longer than {}", exact(timeout)),
            )),
            Err(why) => Err(Failed(exit_code::FAILED, why)),
        }
    }

    /// Calls one function in a realm of its own; after the timeout it is cut off.
    async fn call(
        &self,
        local: &Rc<Local>,
        name: &str,
        argument: Option<Arc<str>>,
        timeout: Duration,
    ) -> Result<Called, String> {
        let settings = Arc::clone(&self.settings);
        let host = Host::new(Rc::clone(local), settings, &self.script, 0, None, None);
        let realm = Realm::new(&self.script, Rc::new(host))?;
        let stop = Rc::new(Stop::default());
        realm.host.begin(&stop, &format!("::{name}"));
        let stack = DefaultStack::new(STACK_BYTES).map_err(|error| error.to_string())?;
        let watch = tokio::task::spawn_local(async move {
            tokio::time::sleep(timeout).await;
            stop.cut();
        });
        let called = call_on_fiber(&realm, stack, name, argument).await;
        watch.abort();
        Ok(called)
    }

    async fn print(
        &self,
        outcome: &Outcome,
        local: &Rc<Local>,
        data: Option<&str>,
        console: &mut Console<'_>,
    ) -> io::Result<()> {
        let statistics = self.options.summary_trend_stats.clone();
        let statistics = statistics.unwrap_or_else(|| TREND_STATISTICS.to_vec());
        let summary = Summary {
            registry: &self.registry,
            board: &outcome.board,
            run_time: outcome.run_time,
            thresholds: &self.derived.thresholds,
            trend_statistics: &statistics,
            is_full: self.given.is_full,
        };
        let data = data.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let mut is_told = false;
        if self.has_summary {
            let argument = export::handle_summary(&summary, data.as_ref()).to_string();
            let called = self.call(
                local,
                "handleSummary",
                Some(argument.into()),
                SUMMARY_TIMEOUT,
            );
            match called.await {
                Ok(Called::Returned(Some(text))) => {
                    is_told = deliver(&text, console)?;
                }
                Ok(Called::Returned(None)) => is_told = true,
                Ok(Called::Threw(why)) | Err(why) => {
                    writeln!(console.err, "error: handleSummary: {why}")?;
                }
                Ok(Called::Cut) => writeln!(console.err, "error: handleSummary took too long")?,
            }
        }
        if !is_told {
            write!(console.out, "{}", text::render(&summary))?;
        }
        if let Some(path) = &self.given.summary_export {
            let document = export::summary_export(&summary, data.as_ref());
            if let Err(error) = std::fs::write(path, format!("{document:#}")) {
                writeln!(console.err, "error: {}: {error}", path.display())?;
            }
        }
        let crossed = summary.crossed();
        if !crossed.is_empty() {
            let crossed = crossed.join(", ");
            writeln!(
                console.err,
                "error: thresholds on metrics '{crossed}' have been crossed"
            )?;
        }
        Ok(())
    }

    fn exit_code(&self, outcome: &Outcome) -> u8 {
        if outcome.ending == Ending::Signal {
            return exit_code::SIGNAL;
        }
        let summary = Summary {
            registry: &self.registry,
            board: &outcome.board,
            run_time: outcome.run_time,
            thresholds: &self.derived.thresholds,
            trend_statistics: &[],
            is_full: false,
        };
        if summary.crossed().is_empty() {
            exit_code::OK
        } else {
            exit_code::THRESHOLDS
        }
    }

    fn introduce(&self, console: &mut Console<'_>) -> io::Result<()> {
        let scenarios = &self.derived.scenarios;
        let vus: u64 = scenarios
            .iter()
            .map(|scenario| scenario.executor.max_vus())
            .sum();
        let longest = scenarios
            .iter()
            .map(crate::scenario::Scenario::longest)
            .max();
        writeln!(
            console.out,
            "\n     execution: local\n        script: {}\n\n     scenarios: (100.00%) {} scenario{}, {vus} max VUs, \
            {} max duration (incl. graceful stop):",
            self.given.path.display(),
            scenarios.len(),
            if scenarios.len() == 1 { "" } else { "s" },
            exact(longest.unwrap_or_default())
        )?;
        for scenario in scenarios {
            writeln!(console.out, "              * {}", scenario.describe())?;
        }
        writeln!(console.out)
    }
}

/// Reads the script and what it is given.
fn read(given: &ScriptOptions) -> Result<Script, String> {
    let told = |error: io::Error| format!("{}: {error}", given.path.display());
    if given.path.extension().is_some_and(|ending| ending == "ts") {
        return Err(format!(
            "`{}`: TypeScript is not supported yet; strip the types first, as with `esbuild --format=esm`",
            given.path.display()
        ));
    }
    let path = given.path.canonicalize().map_err(told)?;
    let source = std::fs::read_to_string(&path).map_err(told)?;
    let env = std::env::vars().chain(given.env.iter().cloned()).collect();
    Ok(Script {
        path: path.to_string_lossy().into_owned(),
        source,
        env,
    })
}

fn settings(options: &Options) -> Settings {
    let tags = options.tags.iter().flatten();
    Settings {
        user_agent: options
            .user_agent
            .clone()
            .unwrap_or_else(|| USER_AGENT.to_owned()),
        max_redirects: options.max_redirects.unwrap_or(10),
        throws: options.throw == Some(true),
        discards_bodies: options.discard_response_bodies == Some(true),
        keeps_connections: options.no_connection_reuse != Some(true),
        keeps_connections_over_iterations: options.no_vu_connection_reuse != Some(true),
        batch: usize::try_from(options.batch.unwrap_or(20)).unwrap_or(20),
        tags: tags
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    }
}

/// Writes what `handleSummary` returned. Returns whether it returned an object, as it should.
fn deliver(text: &str, console: &mut Console<'_>) -> io::Result<bool> {
    let Ok(Value::Object(files)) = serde_json::from_str::<Value>(text) else {
        writeln!(
            console.err,
            "error: handleSummary must return an object of paths and texts"
        )?;
        return Ok(false);
    };
    let written: Map<String, Value> = files;
    for (path, content) in &written {
        let content = content.as_str().unwrap_or_default();
        match path.as_str() {
            "stdout" => write!(console.out, "{content}")?,
            "stderr" => write!(console.err, "{content}")?,
            _ => {
                if let Err(error) = std::fs::write(Path::new(path), content) {
                    writeln!(console.err, "error: {path}: {error}")?;
                }
            }
        }
    }
    Ok(true)
}

fn fail(console: &mut Console<'_>, failed: &Failed) -> io::Result<u8> {
    writeln!(console.err, "catamaran load: {}", failed.1)?;
    Ok(failed.0)
}

/// Prints how the run goes.
struct Ticker<'a> {
    err: &'a mut dyn io::Write,
    is_quiet: bool,
}

impl Observer for Ticker<'_> {
    fn progress(&mut self, progress: &Progress<'_>) {
        if self.is_quiet {
            return;
        }
        let elapsed = exact(Duration::from_secs(progress.elapsed.as_secs()));
        // A terminal that has gone is no reason to end the run.
        let _ = writeln!(
            self.err,
            "running ({elapsed}), {}/{} VUs, {} complete and {} interrupted iterations",
            progress.active, progress.made, progress.whole, progress.cut
        );
    }

    fn warn(&mut self, text: &str) {
        let _ = writeln!(self.err, "level=warning msg={text:?}");
    }
}

const USER_AGENT: &str = concat!("catamaran-load/", env!("CARGO_PKG_VERSION"));
const MINUTE: Duration = Duration::from_secs(60);
const SUMMARY_TIMEOUT: Duration = Duration::from_secs(120);

/// The columns of trends, as in k6.
const TREND_STATISTICS: &[Statistic] = &[
    Statistic::Average,
    Statistic::Min,
    Statistic::Median,
    Statistic::Max,
    Statistic::Percentile(90.0),
    Statistic::Percentile(95.0),
];
