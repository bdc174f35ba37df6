//! Runs a script from its options to the exit code.

mod distant;
mod prepare;
mod print;
mod screen;
mod stages;
mod variables;
mod watchdog;

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use catamaran_sys::clock::now_nanos;
use tokio::task::LocalSet;

use super::vu::ScriptCrew;
use crate::agents::{Agents, Fleet, Job};
use crate::engine::{Course, Ending, Hands, Local, Outcome, lead};
use crate::exit_code;
use crate::live::Live;
use crate::options::Options;
use crate::output::{self, Output, Target};
use crate::plain::Console;
use crate::record::{About, Keep, Point, Timeline};
use crate::scenario::Overload;
pub(crate) use prepare::Prepared;
use print::Over;

/// A run of a script.
#[derive(Clone, Debug, Default)]
pub struct ScriptOptions {
    /// The script.
    pub path: PathBuf,
    /// Options of the command line.
    pub options: Options,
    /// A file of options that those of the script outdo.
    pub config: Option<PathBuf>,
    /// Variables of `__ENV` beside those of the environment.
    pub env: Vec<(String, String)>,
    /// What becomes of an iteration of an open model that finds no free virtual user; as k6 does, it is
    /// dropped, unless this says otherwise.
    pub overload: Option<Overload>,
    /// Whether virtual users may share an engine.
    pub isolation: Isolation,
    /// Worker threads; as many as processors without.
    pub workers: Option<u64>,
    /// Where modules that are imported by URL are kept; without, the environment or the system says.
    pub import_cache: Option<PathBuf>,
    /// Where the summary is written as JSON.
    pub summary_export: Option<PathBuf>,
    /// Where every sample is written.
    pub outputs: Vec<Target>,
    /// Whether the result is printed as JSON.
    pub is_json: bool,
    /// What of it is written to files.
    pub keep: Keep,
    /// Whether all metrics are printed.
    pub is_full: bool,
    /// Whether nothing is printed while it runs.
    pub is_quiet: bool,
    /// Who does the work, if it is not this process.
    pub agents: Option<Agents>,
    /// What came with it, on an agent: environment, path and files.
    pub job: Option<Arc<Job>>,
}

/// How far virtual users of a script are kept apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Each has an engine of its own.
    Strict,
    /// Those of a worker share one; a script that does not allow it is refused.
    Shared,
    /// They share one if the script allows it.
    #[default]
    Auto,
}

/// Why a run ends before its time: the exit code and what is said.
pub(crate) struct Failed(u8, String);

impl Failed {
    fn invalid(why: impl std::fmt::Display) -> Self {
        Self(exit_code::INVALID, why.to_string())
    }
}

/// Runs to the end. Returns the exit code ([`crate::exit_code`]).
///
/// # Errors
/// When nothing can be printed, or the system gives no threads.
pub async fn run(options: ScriptOptions, console: &mut Console<'_>) -> io::Result<u8> {
    let prepared = match Prepared::new(options, console) {
        Ok(prepared) => prepared,
        Err(failed) => return tell(console, &failed),
    };
    LocalSet::new().run_until(prepared.run(console)).await
}

impl Prepared {
    async fn run(self, console: &mut Console<'_>) -> io::Result<u8> {
        let fleet = match self.muster(console).await {
            Ok(fleet) => fleet,
            Err(failed) => return tell(console, &failed),
        };
        if !self.given.is_quiet && !self.given.is_json {
            screen::introduce(&self, console)?;
        }
        let samples = match self.open_outputs() {
            Ok(samples) => samples,
            Err(failed) => return tell(console, &failed),
        };
        let code = self.play(&samples, fleet, console).await?;
        output::close_all(&self.given.outputs, samples, console.err)?;
        Ok(code)
    }

    fn open_outputs(&self) -> Result<Vec<Output>, Failed> {
        let tags = &self.settings.system_tags.names;
        let (targets, env) = (&self.given.outputs, &self.script.env);
        output::open_all(targets, &self.registry, &self.derived.thresholds, tags, env)
            .map_err(Failed::invalid)
    }

    async fn play(
        &self,
        samples: &[Output],
        fleet: Option<Fleet>,
        console: &mut Console<'_>,
    ) -> io::Result<u8> {
        let mut course = self.course(samples);
        if let Some(fleet) = &fleet {
            course.workers = fleet.workers();
        }
        let local = Rc::new(Local::detached(
            Arc::clone(&self.registry),
            Arc::clone(&course.scenarios),
            &course.taps,
        ));
        let began = now_nanos();
        let data = match self.set_up(&local).await {
            Ok(data) => data,
            Err(failed) => {
                self.print_before_run(&course, &local, console).await?;
                return tell(console, &failed);
            }
        };
        let mut outside = now_nanos() - began;
        let mut is_marked_failed = self.hear(&local, console)?;
        let hands = match fleet {
            Some(fleet) => Hands::Agents(fleet, data.clone()),
            None => Hands::Here(Arc::new(self.crew(data.clone()))),
        };
        let scenarios = Arc::clone(&course.scenarios);
        let is_quiet = self.given.is_quiet;
        let mut live = Live::new(console.err, &self.registry, scenarios, true, is_quiet);
        let about = self.about(&course);
        let mut timeline = Timeline::default();
        let mut outcome = lead(&course, hands, &mut live, &mut |second| {
            timeline.push(Point::of(&self.registry, &second));
        })
        .await?;
        drop(live);
        if let Ending::Failed(why) = &outcome.ending {
            return tell(console, &Failed(exit_code::FAILED, why.clone()));
        }
        let began = now_nanos();
        let torn = self.tear_down(&local, data.clone()).await;
        outside += now_nanos() - began;
        is_marked_failed |= self.hear(&local, console)?;
        outcome.is_marked_failed |= is_marked_failed;
        outcome.board.merge(&local.recorder.borrow_mut().take());
        // What `setup` and `teardown` counted is in the figures, so that their time is in the rates.
        outcome.run_time += Duration::from_nanos(outside);
        let over = Over {
            about: &about,
            outcome: &outcome,
            timeline: &timeline,
        };
        let are_written = self.print(&over, &local, data.as_deref(), console).await?;
        let code = self.exit_code(&outcome, are_written, console)?;
        match torn {
            Ok(()) => Ok(code),
            Err(failed) => {
                let torn = tell(console, &failed)?;
                Ok(if code == exit_code::OK { torn } else { code })
            }
        }
    }

    /// The summary of a run whose `setup` failed, with the samples until then; k6 prints it as well.
    async fn print_before_run(
        &self,
        course: &Course,
        local: &Rc<Local>,
        console: &mut Console<'_>,
    ) -> io::Result<()> {
        self.hear(local, console)?;
        let over = Over {
            about: &self.about(course),
            outcome: &Outcome::before_the_run(local.recorder.borrow_mut().take()),
            timeline: &Timeline::default(),
        };
        self.print(&over, local, None, console).await.map(drop)
    }

    fn course(&self, samples: &[Output]) -> Course {
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
            taps: samples.iter().map(Output::source).collect(),
        }
    }

    fn about(&self, course: &Course) -> About {
        let script = self.given.path.display().to_string();
        About {
            title: script.clone(),
            script: Some(script),
            targets: Vec::new(),
            scenarios: self.derived.scenarios.clone(),
            workers: course.workers,
            agents: self
                .given
                .agents
                .as_ref()
                .map_or_else(Vec::new, |agents| agents.addresses.clone()),
            began: SystemTime::now(),
        }
    }

    fn crew(&self, data: Option<Arc<str>>) -> ScriptCrew {
        let scenarios = self.derived.scenarios.iter();
        let before = scenarios.scan(0, |sum, scenario| {
            let before = *sum;
            *sum += scenario.executor.max_vus();
            Some(before)
        });
        ScriptCrew {
            script: Arc::clone(&self.script),
            settings: Arc::clone(&self.settings),
            data,
            min_iteration: self.options.min_iteration_duration.unwrap_or_default(),
            shares_engine: self.kept_apart.is_none(),
            before: before.collect(),
        }
    }

    fn exit_code(
        &self,
        outcome: &Outcome,
        are_written: bool,
        console: &mut Console<'_>,
    ) -> io::Result<u8> {
        if let Ending::Aborted(why) = &outcome.ending {
            let text = format!("the script aborted the run: {why}");
            return tell(console, &Failed(exit_code::ABORTED, text));
        }
        if outcome.ending == Ending::Signal {
            return Ok(exit_code::SIGNAL);
        }
        if outcome.is_incomplete() {
            return Ok(exit_code::INCOMPLETE);
        }
        if !self.summary(outcome, &[]).crossed().is_empty() {
            return Ok(exit_code::THRESHOLDS);
        }
        if outcome.is_marked_failed {
            let text = "the script called the run failed".to_owned();
            return tell(console, &Failed(exit_code::MARKED_FAILED, text));
        }
        // Whoever waits for a file would take an old one for this run's.
        Ok(if are_written {
            exit_code::OK
        } else {
            exit_code::FAILED
        })
    }
}

/// Says why the run ends. Returns the exit code.
fn tell(console: &mut Console<'_>, failed: &Failed) -> io::Result<u8> {
    writeln!(console.err, "catamaran load: {}", failed.1)?;
    Ok(failed.0)
}
