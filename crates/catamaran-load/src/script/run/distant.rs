//! A script on agents: what they are sent, and what they make of it.

use std::io;
use std::sync::{Arc, Mutex};

use super::prepare::Prepared;
use super::{Failed, ScriptOptions};
use crate::agents::{Fleet, Job};
use crate::engine::{Course, Hired, Places, hire};
use crate::exit_code;
use crate::plain::Console;
use crate::record::Keep;
use crate::script::files::Files;

impl ScriptOptions {
    /// The environment of the process that was asked to run the script.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        match &self.job {
            Some(job) => job.environment.clone(),
            None => std::env::vars().collect(),
        }
    }

    /// The script's path, and where its files are read.
    pub(super) fn sources(&self) -> Result<(String, Files), String> {
        if let Some(job) = &self.job {
            return Ok((job.script.clone(), Files::Sent(Arc::clone(&job.files))));
        }
        let shown = self.path.display();
        let told = |error: io::Error| format!("{shown}: {error}");
        let path = self.path.canonicalize().map_err(told)?;
        let files = match &self.agents {
            Some(_) => Files::Kept(Mutex::default()),
            None => Files::Here,
        };
        Ok((path.to_string_lossy().into_owned(), files))
    }
}

impl Prepared {
    /// Gathers the agents, if there are any.
    pub(super) async fn muster(&self, console: &mut Console<'_>) -> Result<Option<Fleet>, Failed> {
        let Some(agents) = &self.given.agents else {
            return Ok(None);
        };
        let mut files = agents.files.clone();
        files.extend(self.script.library.files.kept());
        let job = Job {
            arguments: agents.arguments.clone(),
            environment: self.given.environment(),
            script: self.script.path.clone(),
            files: Arc::new(files),
        };
        let course = self.course(&[]);
        let scenarios = course.scenarios.iter();
        let most = scenarios.map(|scenario| scenario.executor.max_vus()).min();
        let limits = (self.given.workers, most.unwrap_or(1).max(1));
        let fleet = Fleet::muster(agents, job, &course, limits).await;
        let fleet = fleet.map_err(|why| Failed(exit_code::FAILED, why))?;
        fleet.tell_idle(console.err);
        Ok(Some(fleet))
    }

    /// For an agent, which writes no files.
    pub(crate) fn of_agent(options: ScriptOptions, job: Job) -> Result<Self, String> {
        let options = ScriptOptions {
            outputs: Vec::new(),
            keep: Keep::default(),
            summary_export: None,
            agents: None,
            job: Some(Arc::new(job)),
            ..options
        };
        let mut console = Console {
            out: &mut io::sink(),
            err: &mut io::stderr(),
        };
        Self::new(options, &mut console).map_err(|failed| failed.1)
    }

    /// The run that the coordinator leads.
    pub(crate) fn course_of_agent(&self) -> Course {
        self.course(&[])
    }

    /// Starts those workers that an agent has, with what `setup` returned.
    pub(crate) fn hire(
        &self,
        course: &Course,
        places: Places,
        data: Option<String>,
    ) -> io::Result<Hired> {
        if let Some(pace) = &self.settings.pace {
            let (own, of) = places.shares.counts();
            pace.share(own, of);
        }
        let crew = self.crew(data.map(Arc::from));
        hire(course, &Arc::new(crew), places)
    }
}
