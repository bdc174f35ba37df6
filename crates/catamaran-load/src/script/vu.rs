//! A virtual user that runs a script.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use catamaran_sys::clock::now_nanos;
use corosensei::stack::DefaultStack;

use super::host::{Host, Settings};
use super::realm::{Called, Realm, STACK_BYTES, Script, call_on_fiber};
use crate::engine::{Crew, Ended, Iteration, Local, Stop, Vu};
use crate::metric::builtin;
use crate::sink::as_f64;

/// Makes virtual users that run a script.
#[derive(Debug)]
pub(super) struct ScriptCrew {
    pub(super) script: Arc<Script>,
    pub(super) settings: Arc<Settings>,
    /// What `setup` returned, as JSON.
    pub(super) data: Option<Arc<str>>,
    pub(super) min_iteration: Duration,
}

/// One virtual user.
pub(super) struct ScriptVu {
    realm: Rc<Realm>,
    exec: String,
    data: Option<Arc<str>>,
    min_iteration: Duration,
}

impl Crew for ScriptCrew {
    type Vu = ScriptVu;

    fn make(&self, local: &Rc<Local>, scenario: usize, number: u64) -> Result<ScriptVu, String> {
        let own = &local.scenarios[scenario];
        let mut script = Script {
            path: self.script.path.clone(),
            source: self.script.source.clone(),
            env: self.script.env.clone(),
        };
        let env = own.env.iter();
        script
            .env
            .extend(env.map(|(name, value)| (name.clone(), value.clone())));
        let host = Host::new(
            Rc::clone(local),
            Arc::clone(&self.settings),
            &script,
            number,
            Some(scenario),
            None,
        );
        Ok(ScriptVu {
            realm: Realm::new(&Arc::new(script), Rc::new(host))?,
            exec: own.exec.clone(),
            data: self.data.clone(),
            min_iteration: self.min_iteration,
        })
    }
}

impl Vu for ScriptVu {
    const MAY_BE_DROPPED: bool = false;

    async fn iterate(&mut self, iteration: Iteration, stop: &Rc<Stop>) -> Ended {
        let host = Rc::clone(&self.realm.host);
        host.begin(stop, "");
        host.intended.set(iteration.intended);
        let begin = now_nanos();
        let Ok(stack) = DefaultStack::new(STACK_BYTES) else {
            host.local
                .warn("no memory for the stack of an iteration".to_owned());
            return Ended::Cut;
        };
        let called = call_on_fiber(&self.realm, stack, &self.exec, self.data.clone()).await;
        host.iteration.set(host.iteration.get() + 1);
        if called == Called::Cut {
            return Ended::Cut;
        }
        if let Called::Threw(why) = called {
            host.local.warn(why);
        }
        let took = now_nanos() - begin;
        let tags = host.tags(&[]);
        host.local
            .record(builtin::ITERATION_DURATION, tags, as_f64(took) / 1e6);
        host.local.record(builtin::ITERATIONS, tags, 1.0);
        if let Some(intended) = iteration.intended {
            let late = begin.saturating_sub(intended);
            host.local
                .record(builtin::ITERATION_LATENESS, tags, as_f64(late) / 1e6);
        }
        let rest = self
            .min_iteration
            .saturating_sub(Duration::from_nanos(took));
        if !rest.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = stop.drained() => {}
            }
        }
        Ended::Whole
    }
}
