//! `catamaran ctl`: a client of the admin API for people and scripts.

mod args;
mod client;
mod failure;
mod fleet;
mod follow;
mod lists;
mod peers;
mod show;
mod table;

pub(crate) use args::CtlArgs;
pub(crate) use client::Client;
pub(crate) use failure::Failure;
pub(crate) use table::without_controls;

use anyhow::Context as _;
use args::{ConfigAction, CtlCommand, FrontendAction, Health, ServerAction, TableAction, Weight};
use client::escaped;
use serde_json::{Value, json};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use table::{Colour, Table};

/// Does what `args` say.
pub(crate) fn run(args: &CtlArgs) -> ExitCode {
    match act(args) {
        Ok(code) => code,
        Err(Failure::Other(error)) if crate::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(io::stderr(), "catamaran: {failure}");
            failure.exit_code()
        }
    }
}

fn act(args: &CtlArgs) -> Result<ExitCode, Failure> {
    let client = Client::open(&args.door)?;
    let ctl = Ctl {
        client,
        json: args.json,
        colour: Colour::of_stdout(),
    };
    ctl.act(&args.command)
}

/// A client and how it shows what it gets.
struct Ctl {
    client: Client,
    json: bool,
    colour: Colour,
}

impl Ctl {
    fn act(&self, command: &CtlCommand) -> Result<ExitCode, Failure> {
        match command {
            CtlCommand::Status => self.status()?,
            CtlCommand::Servers { backend } => self.servers(backend.as_deref())?,
            CtlCommand::Server { target, action } => {
                self.server(target.as_deref(), action.as_ref())?;
            }
            CtlCommand::Workers => {
                let workers = self.client.get("/v1/workers")?;
                self.show(&workers, || show::workers(&workers))?;
            }
            CtlCommand::VirtualIps => {
                let virtual_ips = self.client.get("/v1/virtual-ips")?;
                self.show(&virtual_ips, || show::virtual_ips(&virtual_ips))?;
            }
            CtlCommand::Peers => self.peers()?,
            CtlCommand::Frontend { name, action } => self.frontend(name, action)?,
            CtlCommand::Tables => {
                let tables = self.client.get("/v1/tables")?;
                self.show(&tables, || show::tables(&tables))?;
            }
            CtlCommand::Table { backend, action } => self.table(backend, action.as_ref())?,
            CtlCommand::List { action } => self.list(action.as_ref())?,
            CtlCommand::Map { action } => self.map(action.as_ref())?,
            CtlCommand::Config { action } => return self.config(action),
            CtlCommand::Etcd { action } => self.etcd(*action)?,
            CtlCommand::Reload { dry_run } => {
                let body = json!({ "dry_run": dry_run });
                let applied = self.client.change("POST", "/v1/reload", Some(&body))?;
                self.applied(&applied)?;
            }
            CtlCommand::Events { follow: true } => self.follow()?,
            CtlCommand::Events { follow: false } => {
                let events = self.client.get("/v1/events")?;
                self.show(&events, || show::events(&events, unix_now()))?;
            }
            CtlCommand::Upgrade { binary } => self.upgrade(binary.as_deref())?,
            CtlCommand::Drain => {
                let drained = self.client.change("POST", "/v1/drain", Some(&json!({})))?;
                self.say(&drained, "draining: it ends when its clients have left")?;
            }
            CtlCommand::LogLevel { level: None } => {
                let level = self.client.get("/v1/log-level")?;
                self.say(&level, level["level"].as_str().unwrap_or_default())?;
            }
            CtlCommand::LogLevel { level: Some(level) } => {
                let body = json!({ "level": level });
                let changed = self.client.change("PUT", "/v1/log-level", Some(&body))?;
                self.say_kept(&changed, &format!("log level {level}"))?;
            }
            CtlCommand::Metrics => {
                let page = self.client.get_text("/metrics")?;
                io::stdout().write_all(page.as_bytes())?;
            }
            CtlCommand::Stat { csv: false } if self.json => {
                let stats = self.client.get("/v1/stats")?;
                self.print_json(&stats)?;
            }
            CtlCommand::Stat { .. } => {
                let page = self.client.get_text("/v1/stat.csv")?;
                io::stdout().write_all(page.as_bytes())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn frontend(&self, name: &str, action: &FrontendAction) -> Result<(), Failure> {
        let (word, told) = match action {
            FrontendAction::Drain => ("drain", "closed its listeners and drains"),
            FrontendAction::Resume => ("resume", "opened its listeners"),
        };
        let path = format!("/v1/frontends/{}/{word}", escaped(name));
        let changed = self.client.change("POST", &path, Some(&json!({})))?;
        self.say_kept(&changed, &format!("{name} {told}"))
    }

    fn upgrade(&self, binary: Option<&Path>) -> Result<(), Failure> {
        let binary = binary.map(std::path::absolute).transpose()?;
        let body = json!({ "binary": binary });
        let serves = self.client.change("POST", "/v1/upgrade", Some(&body))?;
        let told = serves["serves"].as_str().unwrap_or_default();
        match serves["done"].as_bool() {
            Some(false) => self.say(&serves, told),
            _ => self.say(&serves, &format!("serving: {told}")),
        }
    }

    fn status(&self) -> Result<(), Failure> {
        let state = self.client.get("/v1/state")?;
        if self.json {
            return self.print_json(&state);
        }
        let mut out = io::stdout().lock();
        writeln!(out, "{}", show::process_line(&state))?;
        show::frontends(&state["frontends"]).print(&mut out, self.colour)?;
        writeln!(out)?;
        show::backends(&state["backends"]).print(&mut out, self.colour)?;
        Ok(())
    }

    fn servers(&self, backend: Option<&str>) -> Result<(), Failure> {
        let backends = match backend {
            Some(backend) => {
                let backend = self.client.get(&path_of(backend))?;
                Value::Array(vec![backend])
            }
            None => self.client.get("/v1/backends")?,
        };
        let each = backends.as_array().into_iter().flatten();
        self.show(&backends, || show::servers(each))
    }

    fn server(&self, target: Option<&str>, action: Option<&ServerAction>) -> Result<(), Failure> {
        match action {
            Some(ServerAction::Add {
                backend,
                address,
                name,
                weight,
                backup,
                persist,
            }) => {
                let body = json!({
                    "address": address,
                    "name": name,
                    "weight": weight,
                    "backup": backup,
                    "persist": persist,
                });
                let path = format!("{}/servers", path_of(backend));
                let added = self.client.change("POST", &path, Some(&body))?;
                self.say_kept(&added, &format!("{address} was added to {backend}"))
            }
            Some(ServerAction::Remove { target, persist }) => {
                let path = format!("{}?persist={persist}", server_path(target)?);
                let removed = self.client.change("DELETE", &path, None)?;
                self.say_kept(&removed, &format!("{target} was removed"))
            }
            Some(change) => self.change_server(named(target)?, change),
            None => {
                let target = named(target)?;
                let server = self.client.get(&server_path(target)?)?;
                let backend = target.split_once('/').map_or("", |(backend, _)| backend);
                self.show(&server, || show::server(backend, &server))
            }
        }
    }

    fn change_server(&self, target: &str, action: &ServerAction) -> Result<(), Failure> {
        let (body, told) = match action {
            ServerAction::Drain { deadline, .. } => {
                let millis = deadline.map(|deadline| deadline.as_millis());
                let millis = millis.map(|millis| u64::try_from(millis).unwrap_or(u64::MAX));
                let body = json!({ "admin": "drain", "deadline_ms": millis });
                (body, "drains".to_owned())
            }
            ServerAction::Maintenance => {
                let told = "is in maintenance".to_owned();
                (json!({ "admin": "maintenance" }), told)
            }
            ServerAction::Enable => (json!({ "admin": "ready" }), "is enabled".to_owned()),
            ServerAction::Weight { weight, persist } => {
                let (value, told) = match weight {
                    Weight::Number(number) => (json!(number), format!("has weight {number}")),
                    Weight::Configured => {
                        (json!("configured"), "has its configured weight".to_owned())
                    }
                };
                (json!({ "weight": value, "persist": persist }), told)
            }
            ServerAction::Health { health } => {
                let word = match health {
                    Health::Up => "up",
                    Health::Down => "down",
                    Health::Auto => "auto",
                };
                (json!({ "health": word }), format!("has health {word}"))
            }
            ServerAction::Add { .. } | ServerAction::Remove { .. } => return Ok(()),
        };
        let path = server_path(target)?;
        let changed = self.client.change("PATCH", &path, Some(&body))?;
        if let ServerAction::Drain {
            wait: true,
            timeout,
            ..
        } = action
        {
            let drained = self.wait_for_drain(target, &path, *timeout)?;
            return self.say(&drained, &format!("{target} is drained"));
        }
        self.say_kept(&changed, &format!("{target} {told}"))
    }

    /// Waits until nothing is in flight at the server, showing what is left.
    fn wait_for_drain(
        &self,
        target: &str,
        path: &str,
        timeout: Duration,
    ) -> Result<Value, Failure> {
        let deadline = Instant::now() + timeout;
        let mut shown = None;
        loop {
            let server = self.client.get(path)?;
            let left = server["in_flight"].as_u64().unwrap_or(0);
            if left == 0 {
                return Ok(server);
            }
            if Instant::now() >= deadline {
                return Err(Failure::WaitedInVain(format!(
                    "{target} still has {left} in flight after {timeout:?}; it goes on draining"
                )));
            }
            if shown != Some(left) && io::stderr().is_terminal() {
                write!(io::stderr(), "\r\x1b[K{left} in flight")?;
            }
            shown = Some(left);
            std::thread::sleep(LOOK);
        }
    }

    fn table(&self, backend: &str, action: Option<&TableAction>) -> Result<(), Failure> {
        let path = format!("/v1/tables/{}", escaped(backend));
        let one = |entry: &Value| -> Result<(), Failure> {
            self.show(entry, || show::entries(std::iter::once(entry)))
        };
        match action {
            None => self.entries(&path, 100),
            Some(TableAction::List { limit }) => self.entries(&path, *limit),
            Some(TableAction::Get { key }) => one(&self
                .client
                .get(&format!("{path}/entry?key={}", escaped(key)))?),
            Some(TableAction::Set { key, server }) => {
                let body = json!({ "key": key, "server": server });
                one(&self
                    .client
                    .change("PUT", &format!("{path}/entry"), Some(&body))?)
            }
            Some(TableAction::Delete { key }) => {
                let path = format!("{path}/entry?key={}", escaped(key));
                let deleted = self.client.change("DELETE", &path, None)?;
                self.say(&deleted, "the entry is forgotten")
            }
            Some(TableAction::Clear) => {
                let cleared = self.client.change("DELETE", &path, None)?;
                self.say(&cleared, &format!("forgotten: {}", cleared["forgotten"]))
            }
        }
    }

    /// Shows entries of a table, asking for one page after the other.
    fn entries(&self, path: &str, limit: usize) -> Result<(), Failure> {
        let mut entries = Vec::new();
        let mut cursor = Value::from(0);
        while entries.len() < limit && !cursor.is_null() {
            let part = (limit - entries.len()).min(MAX_PAGE);
            let mut page = self
                .client
                .get(&format!("{path}?cursor={cursor}&limit={part}"))?;
            if let Value::Array(part) = page["entries"].take() {
                entries.extend(part);
            }
            cursor = page["cursor"].take();
        }
        let entries = Value::Array(entries);
        let each = entries.as_array().into_iter().flatten();
        self.show(&entries, || show::entries(each))?;
        if !cursor.is_null() && !self.json {
            writeln!(
                io::stderr(),
                "there are more; ask for them with `list --limit N`"
            )?;
        }
        Ok(())
    }

    fn config(&self, action: &ConfigAction) -> Result<ExitCode, Failure> {
        match action {
            ConfigAction::Show => {
                let config = self.client.get("/v1/config")?;
                match config["text"].as_str() {
                    Some(text) if !self.json => io::stdout().write_all(text.as_bytes())?,
                    _ => self.print_json(&config)?,
                }
            }
            ConfigAction::Status => {
                let config = self.client.get("/v1/config")?;
                if self.json {
                    self.print_json(&config)?;
                } else {
                    let mut out = io::stdout().lock();
                    write!(out, "{}", show::config_lines(&config, unix_now()))?;
                    if config["pending"] != json!([]) {
                        writeln!(out, "\nwritten, and waiting for a restart:")?;
                        show::changes(&config["pending"]).print(&mut out, self.colour)?;
                    }
                }
            }
            ConfigAction::Check { file } => return self.judge(file, Judged::Checked),
            ConfigAction::Diff {
                file: Some(file),
                etcd: true,
                node,
            } => return self.diff_etcd(file, node.as_deref()),
            ConfigAction::Diff {
                file: Some(file), ..
            } => return self.judge(file, Judged::Compared),
            ConfigAction::Put { file, node, note } => {
                return self.put(file, node.as_deref(), note);
            }
            ConfigAction::History { revision } => self.history(*revision)?,
            ConfigAction::Rollback { revision } => return self.rollback(*revision),
            ConfigAction::Diff { file: None, .. } => {
                let body = json!({ "dry_run": true });
                let changes = self.client.change("POST", "/v1/reload", Some(&body))?;
                self.applied(&changes)?;
            }
            ConfigAction::Push { peer } => return self.push(peer.as_deref()),
            ConfigAction::Apply { file, persist } => {
                let text = read(file)?;
                // Judged first, so that errors bear this file's name, not that of the one that
                // serves, and count as no failed reload.
                let verdict = self.verdict(file, &text)?;
                if verdict["valid"] != true {
                    return self.judged(&verdict);
                }
                let body = json!({ "text": text, "persist": persist });
                let applied = self
                    .client
                    .change("POST", "/v1/config/apply", Some(&body))?;
                self.applied(&applied)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Has a file judged, and shows what is wrong with it or what it would change.
    fn judge(&self, file: &Path, judged: Judged) -> Result<ExitCode, Failure> {
        let verdict = self.verdict(file, &read(file)?)?;
        self.show_verdict(file, &verdict, judged)
    }

    fn show_verdict(
        &self,
        file: &Path,
        verdict: &Value,
        judged: Judged,
    ) -> Result<ExitCode, Failure> {
        let code = self.judged(verdict)?;
        match judged {
            _ if self.json || verdict["valid"] != true => {}
            Judged::Checked => writeln!(io::stdout(), "{}: ok", file.display())?,
            Judged::Compared if count_changes(verdict) == 0 => {
                writeln!(io::stdout(), "nothing would change")?;
            }
            Judged::Compared => {
                show::changes(&verdict["changes"]).print(&mut io::stdout().lock(), self.colour)?;
            }
        }
        Ok(code)
    }

    /// What the process says of a file's text.
    fn verdict(&self, file: &Path, text: &str) -> Result<Value, Failure> {
        let body = json!({ "text": text, "name": file.display().to_string() });
        self.client.change("POST", "/v1/config/check", Some(&body))
    }

    /// Tells what is wrong and what is doubtful, or shows the verdict as it came.
    fn judged(&self, verdict: &Value) -> Result<ExitCode, Failure> {
        if self.json {
            self.print_json(verdict)?;
        } else {
            told(verdict)?;
        }
        Ok(if verdict["valid"] == true {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// Shows what a configuration changed, or would.
    fn applied(&self, applied: &Value) -> Result<(), Failure> {
        if self.json {
            return self.print_json(applied);
        }
        told(applied)?;
        let changes = count_changes(applied);
        let mut out = io::stdout().lock();
        if changes > 0 {
            show::changes(&applied["changes"]).print(&mut out, self.colour)?;
        }
        let (is_applied, kept) = (applied["applied"] == true, applied["kept"].as_str());
        match (changes, is_applied, kept) {
            (_, false, _) if changes > 0 => writeln!(out, "nothing was changed: a dry run")?,
            (0, false, _) => writeln!(out, "nothing would change")?,
            (_, _, Some("until-reload")) => {
                let but = but_for(count_waiting(applied));
                writeln!(
                    out,
                    "in place until the configuration file is read anew{but}"
                )?;
            }
            (0, ..) => writeln!(out, "in place; nothing has changed")?,
            _ => writeln!(out, "in place{}", but_for(count_waiting(applied)))?,
        }
        Ok(())
    }

    /// Shows an answer as a table, or as it came.
    fn show(&self, answer: &Value, table: impl FnOnce() -> Table) -> Result<(), Failure> {
        if self.json {
            return self.print_json(answer);
        }
        Ok(table().print(&mut io::stdout().lock(), self.colour)?)
    }

    /// Says that something was done and how long it lasts, or shows the answer as it came.
    fn say_kept(&self, answer: &Value, told: &str) -> Result<(), Failure> {
        let kept = match answer["kept"].as_str() {
            Some("in-file") => "; it is written into the configuration file",
            _ => "; this lasts until the service stops",
        };
        self.say(answer, &format!("{told}{kept}"))
    }

    fn say(&self, answer: &Value, told: &str) -> Result<(), Failure> {
        if self.json {
            return self.print_json(answer);
        }
        writeln!(io::stdout(), "{told}")?;
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "the other way to show an answer")]
    fn print_json(&self, answer: &Value) -> Result<(), Failure> {
        writeln!(io::stdout(), "{answer:#}")?;
        Ok(())
    }
}

/// What a file is judged for.
#[derive(Clone, Copy)]
enum Judged {
    Checked,
    Compared,
}

/// How many changes an answer lists.
fn count_changes(answer: &Value) -> usize {
    answer["changes"].as_array().map_or(0, Vec::len)
}

/// How many of them come only with a restart.
fn count_waiting(answer: &Value) -> usize {
    let changes = answer["changes"].as_array().into_iter().flatten();
    changes.filter(|change| change["cost"] == "restart").count()
}

/// What is said of changes that are not in place.
fn but_for(waiting: usize) -> String {
    match waiting {
        0 => String::new(),
        1 => ", but for 1 that waits for a restart".to_owned(),
        n => format!(", but for {n} that wait for a restart"),
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("{}: cannot be read", file.display()))
}

/// Tells what is wrong and what is doubtful, on standard error.
fn told(verdict: &Value) -> io::Result<()> {
    for (list, suffix) in [("errors", ""), ("warnings", " (warning)")] {
        for line in verdict[list].as_array().into_iter().flatten() {
            let line = without_controls(line.as_str().unwrap_or_default());
            writeln!(io::stderr(), "{line}{suffix}")?;
        }
    }
    Ok(())
}

fn named(target: Option<&str>) -> Result<&str, Failure> {
    let target =
        target.context("name the server before what is to be done with it: BACKEND/SERVER");
    Ok(target?)
}

fn path_of(backend: &str) -> String {
    format!("/v1/backends/{}", escaped(backend))
}

fn server_path(target: &str) -> Result<String, Failure> {
    let (backend, server) = target
        .split_once('/')
        .with_context(|| format!("`{target}` names no server; write it as BACKEND/SERVER"))?;
    Ok(server_path_of(backend, server))
}

/// The path of a server.
pub(crate) fn server_path_of(backend: &str, server: &str) -> String {
    format!("{}/servers/{}", path_of(backend), escaped(server))
}

/// Unix time in seconds.
fn unix_now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

/// Entries that the API gives at once.
const MAX_PAGE: usize = 1000;
/// How often a wait looks.
const LOOK: Duration = Duration::from_millis(200);
