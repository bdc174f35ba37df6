//! What must be known before a run begins: the script, its options, its metrics.

use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::variables::{Variables, options_in};
use super::watchdog::Watchdog;
use super::{Failed, Isolation, ScriptOptions};
use crate::agents::no_outputs;
use crate::client::{LazyTls, TlsOptions, TlsSuites, TlsVersions};
use crate::engine::Local;
use crate::exit_code;
use crate::metric::Registry;
use crate::names::{Dns, Names};
use crate::options::{Derived, Options};
use crate::pace::Pace;
use crate::plain::Console;
use crate::record::Earlier;
use crate::script::host::{Host, Place, Settings, SystemTags};
use crate::script::loader::Library;
use crate::script::realm::{Realm, Script};
use crate::script::remote::Imports;

/// A script whose options are known.
pub(crate) struct Prepared {
    pub(super) given: ScriptOptions,
    pub(super) options: Options,
    pub(super) derived: Derived,
    pub(super) registry: Arc<Registry>,
    pub(super) script: Arc<Script>,
    pub(super) settings: Arc<Settings>,
    pub(super) has_setup: bool,
    pub(super) has_teardown: bool,
    pub(super) has_summary: bool,
    /// Why each virtual user has an engine of its own; `None` if they share one.
    pub(super) kept_apart: Option<String>,
    /// What it is compared with.
    pub(super) earlier: Option<Earlier>,
}

impl Prepared {
    /// Runs the top level of the script and reads what it says.
    pub(super) fn new(mut given: ScriptOptions, console: &mut Console<'_>) -> Result<Self, Failed> {
        let broken = |why: String| Failed(exit_code::FAILED, why);
        let lower = take_variables(&mut given, console).map_err(Failed::invalid)?;
        if given.agents.is_some() {
            no_outputs(&given.outputs).map_err(Failed::invalid)?;
        }
        let earlier = given.keep.earlier().map_err(Failed::invalid)?;
        let script = Arc::new(read(&given).map_err(Failed::invalid)?);
        let local = Rc::new(Local::detached(
            Arc::new(Registry::new()),
            Arc::default(),
            &[],
        ));
        let first = Arc::new(settings(&Options::default(), "{}"));
        let (place, declared) = (Place::default(), Some(Registry::new()));
        let host = Host::new(Rc::clone(&local), first, &script, place, declared);
        let host = Rc::new(host);
        let watchdog = Watchdog::start("the script's top level", TOP_LEVEL, exit_code::FAILED);
        let watchdog = watchdog.map_err(|error| broken(error.to_string()))?;
        let realm = Realm::new(&script, Rc::clone(&host));
        let realm = realm.and_then(|realm| realm.loaded(&script));
        let untold = local.untold();
        for text in untold.warnings {
            // A terminal that has gone is no reason to end the run.
            let _ = writeln!(console.err, "warning: {text}");
        }
        if let Some(why) = local.aborted() {
            let text = format!("the script aborted the run: {why}");
            return Err(Failed(exit_code::ABORTED, text));
        }
        let realm = realm.map_err(broken)?;
        let options = options(&given, lower, &realm, console)?;
        let declared = host.declaring.as_ref();
        let declared = declared.map(|registry| registry.borrow().clone());
        let mut registry = declared.unwrap_or_default();
        // k6 has this one wherever its tag is on.
        let tags = options.system_tags.as_ref();
        if tags.is_none_or(|tags| tags.contains("expected_response")) {
            let part = "http_req_duration{expected_response:true}";
            registry.select(part).map_err(Failed::invalid)?;
        }
        let mut derived = options.derive(&mut registry).map_err(Failed::invalid)?;
        for scenario in &mut derived.scenarios {
            scenario.overload = given.overload.unwrap_or(scenario.overload);
        }
        for scenario in &derived.scenarios {
            if !realm.has(&scenario.exec) {
                let (name, exec) = (&scenario.name, &scenario.exec);
                let text = format!("scenario `{name}`: the script exports no function `{exec}`");
                return Err(Failed::invalid(text));
            }
        }
        drop(watchdog);
        let text = options.to_json(&derived.scenarios).to_string();
        let mut settings = settings(&options, &text);
        settings.printed = printed(&options)?;
        Ok(Self {
            settings: Arc::new(settings),
            has_setup: realm.has("setup") && options.no_setup != Some(true),
            has_teardown: realm.has("teardown") && options.no_teardown != Some(true),
            has_summary: realm.has("handleSummary"),
            kept_apart: kept_apart(&given, &script)?,
            earlier,
            given,
            options,
            derived,
            registry: Arc::new(registry),
            script,
        })
    }
}

/// Why virtual users do not share an engine, if they do not.
fn kept_apart(given: &ScriptOptions, script: &Script) -> Result<Option<String>, Failed> {
    let obstacle = script.library.obstacle();
    match (given.isolation, obstacle) {
        (Isolation::Strict, _) => Ok(Some("asked for".to_owned())),
        (Isolation::Auto, obstacle) => Ok(obstacle),
        (Isolation::Shared, None) => Ok(None),
        (Isolation::Shared, Some(why)) => Err(Failed::invalid(format!(
            "virtual users cannot share an engine: {why}; leave --vu-isolation out"
        ))),
    }
}

/// Heeds what the environment says beside options. Returns those of a file, below all others.
fn take_variables(given: &mut ScriptOptions, console: &mut Console<'_>) -> Result<Options, String> {
    // An agent writes nothing, and has been told the rest.
    if given.job.is_some() {
        return Ok(Options::default());
    }
    let mut variables = Variables::read(&given.environment())?;
    variables.give_to(given);
    for name in &variables.unread {
        // A terminal that has gone is no reason to end the run.
        let _ = writeln!(
            console.err,
            "warning: {name} is set, which means nothing here"
        );
    }
    match &given.config {
        None => Ok(Options::default()),
        Some(_) if given.agents.is_some() => Err(
            "a file of options (--config, K6_CONFIG) is not for runs with agents; put the options into the script"
                .to_owned(),
        ),
        Some(path) => options_in(path),
    }
}

/// The options of a file, the script, the environment and the command line, each above those before.
fn options(
    given: &ScriptOptions,
    of_file: Options,
    realm: &Realm,
    console: &mut Console<'_>,
) -> Result<Options, Failed> {
    let broken = |why: String| Failed(exit_code::FAILED, why);
    let from_script = match realm.export("options").map_err(broken)? {
        Some(text) => {
            let value: Value = serde_json::from_str(&text).unwrap_or_default();
            Options::from_script(&value).map_err(Failed::invalid)?
        }
        None => Options::default(),
    };
    let environment =
        Options::from_environment(given.environment().into_iter()).map_err(Failed::invalid)?;
    for name in of_file.unknown.iter().chain(&from_script.unknown) {
        // A terminal that has gone is no reason to end the run.
        let _ = writeln!(
            console.err,
            "warning: option `{name}` means nothing, neither here nor in k6; check its spelling"
        );
    }
    let mut options = of_file.with(from_script);
    for (who, higher) in [
        ("the environment (K6_…)", environment),
        ("the command line", given.options.clone()),
    ] {
        let had_scenarios = options.scenarios.is_some();
        options = options.with(higher);
        if had_scenarios && options.scenarios.is_none() {
            let _ = writeln!(
                console.err,
                "warning: {who} says how much load there is: the scenarios of the script, or of --config, are left out"
            );
        }
    }
    Ok(options)
}

/// Finds the script and what it is given.
fn read(given: &ScriptOptions) -> Result<Script, String> {
    let env = given.environment().into_iter();
    let imports = Imports::new(given.import_cache.as_deref());
    let (path, files) = given.sources()?;
    Ok(Script {
        path,
        library: Arc::new(Library::new(imports, files)),
        env: Arc::new(env.chain(given.env.iter().cloned()).collect()),
    })
}

fn settings(options: &Options, text: &str) -> Settings {
    let user_agent = options.user_agent.clone();
    let tags = options.tags.iter().flatten();
    let count = |given: Option<u32>, usual: usize| {
        given.map_or(usual, |count| usize::try_from(count).unwrap_or(usual))
    };
    Settings {
        user_agent: user_agent.unwrap_or_else(|| USER_AGENT.to_owned()),
        max_redirects: options.max_redirects.unwrap_or(10),
        throws: options.throw == Some(true),
        http3: options.http3 == Some(true),
        discards_bodies: options.discard_response_bodies == Some(true),
        keeps_connections: options.no_connection_reuse != Some(true),
        keeps_connections_over_iterations: options.no_vu_connection_reuse != Some(true),
        keeps_cookies_over_iterations: options.no_cookies_reset == Some(true),
        batch: count(options.batch, 20),
        batch_per_host: count(options.batch_per_host, 6),
        names: names(options),
        pace: options.rps.and_then(Pace::new),
        tags: tags
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        system_tags: SystemTags::new(options.system_tags.clone()),
        tls: LazyTls::new(TlsOptions {
            trusts_all: options.insecure_skip_tls_verify == Some(true),
            versions: options
                .tls_version
                .as_ref()
                .map_or_else(TlsVersions::default, |(versions, _)| *versions),
            suites: options
                .tls_cipher_suites
                .as_ref()
                .map_or_else(TlsSuites::default, |(suites, _)| suites.clone()),
            identities: options.tls_auth.clone().unwrap_or_default(),
        }),
        sources: options
            .local_ips
            .as_ref()
            .map(|(sources, _)| sources.clone()),
        http_debug: options.http_debug,
        printed: None,
        options: text.to_owned(),
    }
}

/// The file that takes what scripts print, if it is not the terminal.
fn printed(options: &Options) -> Result<Option<File>, Failed> {
    let path = options.console_output.as_ref();
    let path = path.filter(|path| !path.is_empty());
    path.map(|path| {
        let file = File::options().append(true).create(true).open(path);
        file.map_err(|error| {
            Failed::invalid(format!("what scripts print cannot go to {path}: {error}"))
        })
    })
    .transpose()
}

/// What is said of names and addresses.
fn names(options: &Options) -> Names {
    let forbidden = options.blacklist_ips.iter().flatten();
    Names::new(
        options.hosts.clone().unwrap_or_default(),
        options.block_hostnames.clone().unwrap_or_default(),
        forbidden.map(|(_, network)| *network).collect(),
        options
            .dns
            .as_ref()
            .map_or_else(Dns::default, |(dns, _)| *dns),
    )
}

/// The script itself gets a minute; modules that are fetched have their own time.
const TOP_LEVEL: Duration = Duration::from_mins(10);
const USER_AGENT: &str = concat!("catamaran-load/", env!("CARGO_PKG_VERSION"));
