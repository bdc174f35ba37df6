//! A virtual user that runs a script.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use catamaran_sys::clock::now_nanos;
use corosensei::stack::DefaultStack;

use super::host::{Host, Place, Settings};
use super::realm::{Called, Realm, STACK_BYTES, Script, Wanted, call_on_fiber, load_on_fiber};
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
    /// Whether the virtual users of a worker share an engine.
    pub(super) shares_engine: bool,
    /// By scenario: virtual users of those before it.
    pub(super) before: Vec<u64>,
}

/// One virtual user.
pub(super) struct ScriptVu {
    realm: Rc<Realm>,
    exec: String,
    data: Option<Arc<str>>,
    min_iteration: Duration,
    /// The stack of its last iteration, for the next.
    stack: Option<DefaultStack>,
}

impl Crew for ScriptCrew {
    type Vu = ScriptVu;

    fn make(&self, local: &Rc<Local>, scenario: usize, number: u64) -> Result<ScriptVu, String> {
        let realm = self.realm(local, scenario, number)?;
        realm.load(&self.script, &local.scenarios[scenario].env)?;
        Ok(self.vu(realm, local, scenario))
    }

    async fn make_meanwhile(
        &self,
        local: &Rc<Local>,
        scenario: usize,
        number: u64,
        stop: &Rc<Stop>,
    ) -> Result<ScriptVu, String> {
        let realm = self.realm(local, scenario, number)?;
        realm.host.begin(stop, "");
        let stack = DefaultStack::new(STACK_BYTES).map_err(|_| NO_STACK.to_owned())?;
        let env = local.scenarios[scenario].env.clone();
        load_on_fiber(&realm, stack, Arc::clone(&self.script), env).await?;
        Ok(self.vu(realm, local, scenario))
    }

    fn not_begun(&self, local: &Local, scenario: usize, waited: u64, times: u64) {
        let tags = local.scenario_tags(scenario);
        let (millis, now) = (as_f64(waited) / 1e6, now_nanos());
        let mut recorder = local.recorder.borrow_mut();
        recorder.record_times(builtin::ITERATION_LATENESS, tags, millis, times, now);
        // Their first requests have waited so long already.
        if local.asks_http.get() {
            let metric = builtin::HTTP_REQ_CORRECTED_DURATION;
            recorder.record_times(metric, tags, millis, times, now);
        }
    }
}

impl ScriptCrew {
    /// The realm of a virtual user, whose script has not run yet.
    fn realm(&self, local: &Rc<Local>, scenario: usize, number: u64) -> Result<Rc<Realm>, String> {
        let shares = &local.shared.shares;
        let before = local.scenarios[..scenario].iter();
        let before = before.map(|other| shares.share_of(other.executor.max_vus()));
        let place = Place {
            vu: self.before[scenario] + number,
            here: before.sum::<u64>() + shares.position(number - 1) + 1,
            scenario: Some(scenario),
        };
        let settings = Arc::clone(&self.settings);
        let host = Host::new(Rc::clone(local), settings, &self.script, place, None);
        match self.shares_engine {
            true => Realm::shared(&self.script, Rc::new(host)),
            false => Realm::new(&self.script, Rc::new(host)),
        }
    }

    fn vu(&self, realm: Rc<Realm>, local: &Local, scenario: usize) -> ScriptVu {
        ScriptVu {
            realm,
            exec: local.scenarios[scenario].exec.clone(),
            data: self.data.clone(),
            min_iteration: self.min_iteration,
            stack: None,
        }
    }
}

impl Vu for ScriptVu {
    const MAY_BE_DROPPED: bool = false;

    async fn iterate(&mut self, iteration: Iteration, stop: &Rc<Stop>) -> Ended {
        let host = Rc::clone(&self.realm.host);
        host.begin(stop, "");
        let stack = self.stack.take();
        let Ok(stack) = stack.map_or_else(|| DefaultStack::new(STACK_BYTES), Ok) else {
            host.local.fail(NO_STACK.to_owned());
            return Ended::Cut;
        };
        let begin = now_nanos();
        let late = iteration.intended.map(|due| begin.saturating_sub(due));
        host.late.set(late);
        let data = self.data.clone();
        let mut fiber = call_on_fiber(&self.realm, stack, &self.exec, data, Wanted::Nothing);
        let called = (&mut fiber).await;
        self.stack = fiber.into_stack();
        host.iteration.set(host.iteration.get() + 1);
        // The iteration that ends the run is over by its own will.
        if called == Called::Cut && !host.aborts.get() {
            return Ended::Cut;
        }
        if let Called::Threw(mut why) = called {
            if self.realm.is_shared() && why.contains("out of memory") {
                let vu = host.place.vu;
                why.push_str(&format!(
                    "\nvirtual user {vu} asked for it: {SHARED_MEMORY}"
                ));
            }
            host.local.error(why);
            let tags = host.iteration_tags();
            host.local.record(builtin::THROWN_ITERATIONS, tags, 1.0);
        }
        let took = now_nanos() - begin;
        self.record(iteration, begin, took);
        if host.aborts.get() {
            return Ended::Cut;
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

impl ScriptVu {
    fn record(&self, iteration: Iteration, begin: u64, took: u64) {
        let host = &self.realm.host;
        let tags = host.iteration_tags();
        let mut recorder = host.local.recorder.borrow_mut();
        let mut add = |metric, value| recorder.record(metric, tags, value, begin + took);
        let millis = |nanos: u64| as_f64(nanos) / 1e6;
        add(builtin::ITERATION_DURATION, millis(took));
        add(builtin::ITERATIONS, 1.0);
        if let Some(intended) = iteration.intended {
            let late = millis(begin.saturating_sub(intended));
            add(builtin::ITERATION_LATENESS, late);
        }
    }
}

const SHARED_MEMORY: &str = "those of a worker hold 2 GB together at most, and others may have taken more; with \
    --vu-isolation strict each has a limit of its own";
const NO_STACK: &str = "the system gives no memory for the stack of an iteration; run fewer virtual \
    users, or raise vm.max_map_count";
