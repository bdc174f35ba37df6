//! Runs a load without a script and prints what came of it.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::find_max;
use super::options::{Model, PlainOptions, UsageError};
use super::target::{Target, prepare};
use super::verdict;
use super::vu::PlainCrew;
use crate::agents::{Fleet, Job, no_outputs};
use crate::engine::{Course, Ending, Hands, Hired, Outcome, Places, hire, lead};
use crate::exit_code;
use crate::live::Live;
use crate::metric::Registry;
use crate::output::{self, Output, TapSource};
use crate::record::{About, Earlier, Keep, Point, Record, Timeline};
use crate::scenario::Scenario;
use crate::sink::Statistic;
use crate::summary::{Summary, text};
use crate::threshold::Guarded;

/// Where a run prints to.
pub struct Console<'a> {
    /// The result.
    pub out: &'a mut dyn Write,
    /// Progress and warnings.
    pub err: &'a mut dyn Write,
}

impl std::fmt::Debug for Console<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

/// Runs to the end. Returns the exit code ([`crate::exit_code`]).
///
/// # Errors
/// When nothing can be printed, or the system gives no threads.
pub async fn run(options: PlainOptions, console: &mut Console<'_>) -> io::Result<u8> {
    let prepared = match Prepared::new(options) {
        Ok(prepared) => prepared,
        Err(error) => {
            writeln!(console.err, "catamaran load: {}", chain(&error))?;
            return Ok(exit_code::INVALID);
        }
    };
    if prepared.options.find_max.is_some() {
        return find_max::run(&prepared, console).await;
    }
    let mut prepared = prepared;
    let fleet = match prepared.muster(console).await {
        Ok(fleet) => fleet,
        Err(why) => {
            writeln!(console.err, "catamaran load: {why}")?;
            return Ok(exit_code::FAILED);
        }
    };
    let options = &prepared.options;
    let scenario = options.scenario(None, options.duration);
    if !options.is_json && !options.is_quiet {
        introduce(&prepared, &scenario, console)?;
    }
    let about = prepared.about(&scenario);
    let outputs = match prepared.open_outputs() {
        Ok(outputs) => outputs,
        Err(why) => {
            writeln!(console.err, "catamaran load: {why}")?;
            return Ok(exit_code::INVALID);
        }
    };
    let taps = outputs.iter().map(Output::source).collect();
    let (outcome, timeline) = prepared.play(scenario, taps, fleet, console).await?;
    output::close_all(&prepared.options.outputs, outputs, console.err)?;
    if let Ending::Failed(why) = &outcome.ending {
        writeln!(console.err, "catamaran load: {why}")?;
        return Ok(exit_code::FAILED);
    }
    let are_written = prepared.print(&about, &outcome, &timeline, console)?;
    Ok(prepared.exit_code(&outcome, are_written))
}

/// A run whose options are found good.
pub(crate) struct Prepared {
    pub(super) options: Arc<PlainOptions>,
    pub(super) targets: Arc<Vec<Target>>,
    pub(super) registry: Arc<Registry>,
    pub(super) thresholds: Vec<Guarded>,
    pub(super) workers: u64,
    /// What it is compared with.
    earlier: Option<Earlier>,
}

impl Prepared {
    fn new(options: PlainOptions) -> Result<Self, UsageError> {
        options.check()?;
        if options.agents.is_some() {
            no_outputs(&options.outputs).map_err(UsageError::Other)?;
        }
        let mut registry = Registry::new();
        let thresholds = options.guarded(&mut registry)?;
        if let Some(condition) = &options.find_max {
            find_max::condition(condition)?;
        }
        let earlier = options.keep.earlier()?;
        let targets = prepare(&options)?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let wanted = options.workers.unwrap_or(processors as u64).max(1);
        let most = options.scenario(None, Duration::ZERO).executor.max_vus();
        Ok(Self {
            workers: wanted.min(most.max(1)),
            targets: Arc::new(targets),
            registry: Arc::new(registry),
            thresholds,
            earlier,
            options: Arc::new(options),
        })
    }

    /// For an agent, which writes no files and prints nothing.
    pub(crate) fn of_agent(options: PlainOptions) -> Result<Self, String> {
        let options = PlainOptions {
            outputs: Vec::new(),
            keep: Keep::default(),
            agents: None,
            ..options
        };
        Self::new(options).map_err(|error| chain(&error))
    }

    /// The run that the coordinator leads.
    pub(crate) fn course_of_agent(&self) -> Course {
        let scenario = self.options.scenario(None, self.options.duration);
        self.course(scenario, Vec::new())
    }

    /// Starts those workers that an agent has.
    pub(crate) fn hire(&self, course: &Course, places: Places) -> io::Result<Hired> {
        hire(course, &Arc::new(self.crew()), places)
    }

    /// Gathers the agents, if there are any; their workers are those of the run from now on.
    async fn muster(&mut self, console: &mut Console<'_>) -> Result<Option<Fleet>, String> {
        let Some(agents) = &self.options.agents else {
            return Ok(None);
        };
        let job = Job {
            arguments: agents.arguments.clone(),
            environment: Vec::new(),
            script: String::new(),
            files: Arc::new(agents.files.clone()),
        };
        let course = self.course_of_agent();
        let scenarios = course.scenarios.iter();
        let most = scenarios.map(|scenario| scenario.executor.max_vus()).min();
        let limits = (self.options.workers, most.unwrap_or(1).max(1));
        let fleet = Fleet::muster(agents, job, &course, limits).await?;
        fleet.tell_idle(console.err);
        self.workers = fleet.workers();
        Ok(Some(fleet))
    }

    fn course(&self, scenario: Scenario, taps: Vec<TapSource>) -> Course {
        Course {
            registry: Arc::clone(&self.registry),
            scenarios: Arc::new(vec![scenario]),
            thresholds: self.thresholds.clone(),
            workers: self.workers,
            taps,
        }
    }

    fn crew(&self) -> PlainCrew {
        PlainCrew {
            options: Arc::clone(&self.options),
            targets: Arc::clone(&self.targets),
        }
    }

    /// What is going to be run.
    fn about(&self, scenario: &Scenario) -> About {
        let targets = self.targets.iter().map(|target| target.name.clone());
        let targets: Vec<String> = targets.collect();
        About {
            title: targets.join(", "),
            script: None,
            targets,
            scenarios: vec![scenario.clone()],
            workers: self.workers,
            agents: self
                .options
                .agents
                .as_ref()
                .map_or_else(Vec::new, |agents| agents.addresses.clone()),
            began: SystemTime::now(),
        }
    }

    fn open_outputs(&self) -> Result<Vec<Output>, String> {
        let environment: Vec<_> = std::env::vars().collect();
        let tags = TAGS.iter().map(|&name| name.to_owned()).collect();
        let targets = &self.options.outputs;
        output::open_all(
            targets,
            &self.registry,
            &self.thresholds,
            &tags,
            &environment,
        )
    }

    /// Plays one scenario.
    pub(super) async fn play(
        &self,
        scenario: Scenario,
        taps: Vec<TapSource>,
        fleet: Option<Fleet>,
        console: &mut Console<'_>,
    ) -> io::Result<(Outcome, Timeline)> {
        let course = self.course(scenario, taps);
        let hands = match fleet {
            Some(fleet) => Hands::Agents(fleet, None),
            None => Hands::Here(Arc::new(self.crew())),
        };
        let mut timeline = Timeline::default();
        let scenarios = Arc::clone(&course.scenarios);
        let mut live = Live::new(
            console.err,
            &self.registry,
            scenarios,
            false,
            self.options.is_quiet,
        );
        let outcome = lead(&course, hands, &mut live, &mut |second| {
            timeline.push(Point::of(&self.registry, &second));
        })
        .await?;
        Ok((outcome, timeline))
    }

    fn print(
        &self,
        about: &About,
        outcome: &Outcome,
        timeline: &Timeline,
        console: &mut Console<'_>,
    ) -> io::Result<bool> {
        let summary = self.summary(outcome);
        let mut warnings = verdict::missing(outcome);
        warnings.extend(verdict::ended_early(outcome));
        warnings.extend(verdict::warnings(&self.registry, outcome));
        warnings.extend(verdict::flattery(&self.registry, outcome));
        let record = Record {
            about,
            summary: &summary,
            timeline,
            ending: &outcome.ending,
            missing: &outcome.missing,
            warnings: &warnings,
        };
        let is_json = self.options.is_json;
        if !is_json {
            write!(console.out, "{}", text::render(&summary))?;
            verdict::mark(outcome, console.out)?;
        }
        let earlier = self.earlier.as_ref();
        let are_written = self
            .options
            .keep
            .write(&record, earlier, is_json, console)?;
        for line in &warnings {
            writeln!(console.err, "warning: {line}")?;
        }
        let crossed = summary.crossed();
        if !crossed.is_empty() {
            let crossed = crossed.join(", ");
            writeln!(
                console.err,
                "error: thresholds on metrics '{crossed}' have been crossed"
            )?;
        }
        Ok(are_written)
    }

    pub(super) fn summary<'a>(&'a self, outcome: &'a Outcome) -> Summary<'a> {
        Summary {
            registry: &self.registry,
            board: &outcome.board,
            run_time: outcome.run_time,
            thresholds: &self.thresholds,
            trend_statistics: TREND_STATISTICS,
            is_full: self.options.is_full,
            time_unit: None,
        }
    }

    fn exit_code(&self, outcome: &Outcome, are_written: bool) -> u8 {
        if outcome.ending == Ending::Signal {
            return exit_code::SIGNAL;
        }
        if outcome.is_incomplete() {
            return exit_code::INCOMPLETE;
        }
        if !self.summary(outcome).crossed().is_empty() {
            return exit_code::THRESHOLDS;
        }
        // Whoever waits for a file would take an old one for this run's.
        if are_written {
            exit_code::OK
        } else {
            exit_code::FAILED
        }
    }
}

/// Says what is going to happen.
fn introduce(
    prepared: &Prepared,
    scenario: &Scenario,
    console: &mut Console<'_>,
) -> io::Result<()> {
    let options = &prepared.options;
    let names: Vec<_> = prepared
        .targets
        .iter()
        .map(|target| target.name.as_str())
        .collect();
    writeln!(console.out, "\n     targets: {}", names.join(", "))?;
    let model = match options.model {
        Model::Open { .. } => "open (overload queues)",
        Model::Closed { .. } => "closed (latencies flatter a target that stalls; --rate does not)",
    };
    writeln!(console.out, "       model: {model}")?;
    writeln!(
        console.out,
        "    scenario: {}, {} workers, {} connections at most\n",
        scenario.describe(),
        prepared.workers,
        scenario.executor.max_vus()
    )
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// The tags of samples: the columns of CSV.
const TAGS: &[&str] = &["name", "scenario", "status"];

/// The columns of trends: those of k6, and the tail that matters here.
const TREND_STATISTICS: &[Statistic] = &[
    Statistic::Average,
    Statistic::Min,
    Statistic::Median,
    Statistic::Percentile(90.0),
    Statistic::Percentile(99.0),
    Statistic::Percentile(99.9),
    Statistic::Max,
];
