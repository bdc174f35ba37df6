//! One configuration, made ready to be served.

use super::shared::Process;
use super::{Backend, Frontend, Tables};
use crate::access_log::Writer;
use crate::trace::Tracing;
use catamaran_core::Timestamp;
use catamaran_core::model::{BackendId, Config, FrontendId, LogTarget, Name};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

/// One configuration, made ready to be served. Swapped whole; what its parts count and know goes on
/// in the parts of the same name of the next one.
#[derive(Debug)]
pub struct Snapshot {
    /// As it was read.
    pub config: Config,
    /// Indexed by [`FrontendId`].
    pub frontends: Vec<Arc<Frontend>>,
    /// Indexed by [`BackendId`].
    pub backends: Arc<[Arc<Backend>]>,
    /// Its lists and maps.
    pub tables: Tables,
    /// One for each target of access logs.
    pub log_writers: HashMap<LogTarget, Arc<Writer>>,
    /// By what requests are traced, if they are.
    pub tracing: Option<Arc<Tracing>>,
    by_name: HashMap<Name, BackendId>,
}

/// An access log that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the access log of frontend `{frontend}`")]
pub struct LogError {
    /// The frontend.
    pub frontend: Name,
    /// What is in the way.
    pub source: io::Error,
}

impl Snapshot {
    /// Makes `config` ready, for the first time in this process.
    pub(crate) fn first(
        config: Config,
        process: &Process,
        now: Timestamp,
    ) -> Result<Self, LogError> {
        let backends = config.backends.iter().zip((0..).map(BackendId));
        let backends: Arc<[_]> = backends
            .map(|(model, id)| Arc::new(Backend::new(id, model, now, &process.layout)))
            .collect();
        Self::assemble(config, backends, process, None)
    }

    /// Makes `config` ready to take this one's place. Nothing changes before [`Self::take_over`].
    pub(crate) fn successor(
        &self,
        config: Config,
        process: &Process,
        now: Timestamp,
    ) -> Result<Self, LogError> {
        let backends = config.backends.iter().zip((0..).map(BackendId));
        let backends: Arc<[_]> = backends
            .map(|(model, id)| match self.backend(&model.name) {
                Some(before)
                    if self.config.backends[before.id.index()] == *model && before.id == id =>
                {
                    Arc::clone(before)
                }
                Some(before) => Arc::new(before.successor(id, model)),
                None => Arc::new(Backend::new(id, model, now, &process.layout)),
            })
            .collect();
        Self::assemble(config, backends, process, Some(self))
    }

    fn assemble(
        config: Config,
        backends: Arc<[Arc<Backend>]>,
        process: &Process,
        before: Option<&Self>,
    ) -> Result<Self, LogError> {
        let mut log_writers = HashMap::new();
        let known = before.map(|before| &before.log_writers);
        let tables = Tables::new(&config, before.map(|b| (&b.tables, &b.config)));
        let frontends_before: HashMap<&Name, &Arc<Frontend>> = before
            .iter()
            .flat_map(|before| &before.frontends)
            .map(|frontend| (&frontend.model.name, frontend))
            .collect();
        let mut frontends = Vec::with_capacity(config.frontends.len());
        let workers = process.layout.workers;
        let tracing = tracing(&config, before, process);
        for (model, id) in config.frontends.iter().zip((0..).map(FrontendId)) {
            let log = match &model.access_log {
                Some(log) => Some(writer(&mut log_writers, known, &log.target, &model.name)?),
                None => None,
            };
            let (model, backends) = (model.clone(), Arc::clone(&backends));
            let frontend = match frontends_before.get(&model.name) {
                Some(before) => before.successor(id, model, backends, &tables, log, workers),
                None => Frontend::new(id, model, backends, &tables, log, process),
            };
            frontends.push(Arc::new(frontend.traced_by(tracing.as_ref())));
        }
        let names = backends.iter().map(|b| (b.model.name.clone(), b.id));
        Ok(Self {
            by_name: names.collect(),
            frontends,
            backends,
            tables,
            log_writers,
            tracing,
            config,
        })
    }

    /// Has what is shared with `before` follow this configuration. Returns the ids of servers that
    /// are gone.
    pub(crate) fn take_over(&self, before: &Self, now: Timestamp) -> Vec<u64> {
        for frontend in &self.frontends {
            frontend.take_over();
        }
        let mut gone = Vec::new();
        for (backend, model) in self.backends.iter().zip(&self.config.backends) {
            let known = before.backend(&model.name);
            if known.is_some_and(|known| !Arc::ptr_eq(known, backend)) {
                gone.extend(backend.take_over(&model.servers, now));
            }
        }
        for backend in &*before.backends {
            if self.backend(&backend.model.name).is_none() {
                let set = backend.set();
                gone.extend(set.servers.iter().map(|server| server.id()));
            }
        }
        gone
    }

    /// The backend of this name.
    #[must_use]
    pub fn backend(&self, name: &Name) -> Option<&Arc<Backend>> {
        let id = self.by_name.get(name)?;
        Some(&self.backends[id.index()])
    }

    /// The frontend of this name.
    #[must_use]
    pub fn frontend(&self, name: &Name) -> Option<&Arc<Frontend>> {
        self.frontends.iter().find(|f| f.model.name == *name)
    }
}

/// By what `config` traces: the same as before where it says the same.
fn tracing(config: &Config, before: Option<&Snapshot>, process: &Process) -> Option<Arc<Tracing>> {
    let model = config.tracing.as_ref()?;
    let known = before.and_then(|before| before.tracing.as_ref());
    let known = known.filter(|known| known.model == *model);
    Some(known.map_or_else(|| Tracing::new(model, &process.spans), Arc::clone))
}

/// The writer of `target`: one that there is already, else a new one.
fn writer(
    writers: &mut HashMap<LogTarget, Arc<Writer>>,
    known: Option<&HashMap<LogTarget, Arc<Writer>>>,
    target: &LogTarget,
    frontend: &Name,
) -> Result<Arc<Writer>, LogError> {
    let found = writers.get(target);
    if let Some(writer) = found.or_else(|| known?.get(target)) {
        let writer = Arc::clone(writer);
        writers.insert(target.clone(), Arc::clone(&writer));
        return Ok(writer);
    }
    let writer = Writer::start(target).map_err(|source| LogError {
        frontend: frontend.clone(),
        source,
    })?;
    let writer = Arc::new(writer);
    writers.insert(target.clone(), Arc::clone(&writer));
    Ok(writer)
}
