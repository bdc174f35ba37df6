//! `catamaran load`: its arguments, and how they become a run.

mod agents;
#[cfg(feature = "load-scripts")]
mod k6;

use anyhow::{Context as _, bail};
use catamaran_load::agents::Load;
use catamaran_load::client::ProxyHeader;
use catamaran_load::exit_code;
#[cfg(feature = "load-scripts")]
use catamaran_load::options::Options;
use catamaran_load::output::Target;
use catamaran_load::plain::{self, Console, Exchange, Model, PlainOptions, Protocol, Version};
use catamaran_load::record::Keep;
#[cfg(feature = "load-scripts")]
use catamaran_load::scenario::Overload;
use catamaran_load::schedule::Stage;
#[cfg(feature = "load-scripts")]
use catamaran_load::script::{self, Isolation, ScriptOptions};
use catamaran_load::time_text::parse_duration;
use clap::ValueEnum;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use agents::{AgentsArgs, Other};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:\n  \
    catamaran load http://127.0.0.1:7879/ --rate 2000 --duration 30s\n  \
    catamaran load http://127.0.0.1:7879/ --vus 50 --duration 30s --report run.html\n  \
    catamaran load http://127.0.0.1:7879/ --find-max 'p(99)<50ms' --duration 5s\n  \
    catamaran load --tcp 127.0.0.1:7878 --data hi --rate 500\n  \
    catamaran load test.js --agents 10.0.0.2:7900,10.0.0.3:7900 --secret-file agents.key\n\n\
    Exit status: 0 all held, 99 a threshold did not, 103 an agent was lost, 104 the command line is wrong, 105 a signal, \
    107 the run could not go on.")]
pub(crate) struct LoadArgs {
    /// URLs, a script of k6 (.js, .ts), or HOST:PORT with --tcp and --udp
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<String>,
    #[command(subcommand)]
    other: Option<Other>,
    /// Open model, the default: requests a second, whatever becomes of the earlier ones. Default 100
    #[arg(long, value_name = "N", conflicts_with = "vus")]
    rate: Option<f64>,
    /// Closed model: virtual users that ask again when they were answered
    #[arg(short = 'u', long, value_name = "N")]
    vus: Option<u64>,
    /// How long. Default 10s, or what the script says
    #[arg(long, value_name = "TIME", value_parser = read_duration)]
    duration: Option<Duration>,
    /// Of a script: iterations of all virtual users together
    #[arg(short, long, value_name = "N")]
    iterations: Option<u64>,
    /// Of a script: a variable of `__ENV` (repeatable)
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = read_variable)]
    env: Vec<(String, String)>,
    /// Of a script: what becomes of an iteration that is due while all virtual users are at work.
    /// Default: it is dropped, as k6 does
    #[arg(long, value_name = "WHAT")]
    on_overload: Option<OnOverload>,
    /// Of a script: whether virtual users may share an engine, which takes less memory and processor
    /// time. Default: auto, they do if the script allows it
    #[arg(long, value_name = "HOW")]
    vu_isolation: Option<VuIsolation>,
    /// Write every sample, to json=FILE or csv=FILE, or send series to a Prometheus with
    /// experimental-prometheus-rw and the variables K6_PROMETHEUS_RW_* (repeatable)
    #[arg(short, long = "out", value_name = "FORMAT=FILE", value_parser = Target::read)]
    out: Vec<Target>,
    /// Of a script: write the summary as JSON
    #[arg(long, value_name = "FILE")]
    summary_export: Option<PathBuf>,
    /// Of a script: keep modules that are imported by https:// here. Default: the variable
    /// CATAMARAN_IMPORT_CACHE, or ~/.cache/catamaran/imports
    #[arg(long, value_name = "DIR")]
    import_cache: Option<PathBuf>,
    /// Move rate or virtual users to a target in a time, as 30s:2000 (repeatable, or with commas);
    /// takes the place of --duration
    #[arg(
        short = 's',
        long = "stage",
        value_name = "TIME:TARGET",
        value_delimiter = ',',
        value_parser = read_stage,
        conflicts_with = "duration"
    )]
    stages: Vec<Stage>,
    /// How often each target is asked, relative to the others, as 3,1
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    weights: Vec<u32>,
    /// The method. Default GET, with data POST
    #[arg(short = 'X', long, value_name = "METHOD")]
    method: Option<String>,
    /// A header field, as `Name: value` (repeatable)
    #[arg(short = 'H', long = "header", value_name = "FIELD", value_parser = read_field)]
    fields: Vec<(String, String)>,
    /// What is sent as the body, over TCP or in a datagram
    #[arg(short, long, value_name = "TEXT", conflicts_with = "data_file")]
    data: Option<String>,
    /// A file with what is sent
    #[arg(long, value_name = "FILE")]
    data_file: Option<PathBuf>,
    /// Speak HTTP/2: agreed on by TLS with https, known beforehand (h2c) with http
    #[arg(long, conflicts_with_all = ["tcp", "udp"])]
    http2: bool,
    /// Speak HTTP/3, with https
    #[arg(long, conflicts_with_all = ["tcp", "udp", "http2"])]
    http3: bool,
    /// Send the data over TCP and wait for an answer, instead of HTTP
    #[arg(long, conflicts_with = "udp")]
    tcp: bool,
    /// Send the data as a datagram and wait for one
    #[arg(long)]
    udp: bool,
    /// Send the data as a message over a WebSocket (ws://, wss://) and wait for one
    #[arg(long, conflicts_with_all = ["tcp", "udp", "http2", "http3"])]
    ws: bool,
    /// With --tcp: bytes that an answer has
    #[arg(long, value_name = "N", default_value_t = 1, requires = "tcp")]
    answer_bytes: usize,
    /// Connect to a unix socket instead of the target's address
    #[arg(long, value_name = "PATH")]
    unix: Option<PathBuf>,
    /// Begin each connection with a PROXY protocol header
    #[arg(long, value_name = "VERSION")]
    proxy_protocol: Option<ProxyVersion>,
    /// A new connection for every request
    #[arg(long, visible_alias = "no-connection-reuse")]
    no_keep_alive: bool,
    /// Trust whatever certificate the target shows
    #[arg(long, visible_alias = "insecure-skip-tls-verify")]
    insecure: bool,
    /// How long a request may take, connecting included. Default 30s
    #[arg(long, value_name = "TIME", value_parser = read_duration)]
    timeout: Option<Duration>,
    /// Open model: connections at most; requests wait for one beyond it. Default 1000
    #[arg(long, value_name = "N")]
    max_connections: Option<u64>,
    /// Threads. Default: as many as processors
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    workers: Option<u64>,
    /// What must hold for exit status 0, as `p(99)<50ms` or `http_req_failed:rate<0.01` (repeatable)
    #[arg(long = "threshold", value_name = "EXPRESSION")]
    thresholds: Vec<String>,
    /// Search the greatest rate at which this holds of the corrected latency; each rate is tried for
    /// --duration
    #[arg(long, value_name = "EXPRESSION", conflicts_with_all = ["vus", "stages", "thresholds", "report", "junit", "compare", "out"])]
    find_max: Option<String>,
    /// Print the result as JSON, or write it to a file beside the summary
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    json: Option<Option<PathBuf>>,
    /// Print the phases of requests, too
    #[arg(long)]
    full: bool,
    /// Print nothing while it runs
    #[arg(short, long)]
    quiet: bool,
    /// Write a page with the course of the run
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write thresholds and checks as test cases, in the XML of JUnit
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Compare with an earlier run, which `--json=FILE` wrote
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    #[command(flatten)]
    agents: AgentsArgs,
    #[cfg(feature = "load-scripts")]
    #[command(flatten)]
    k6: k6::K6Args,
}

/// What becomes of what cannot begin in time.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnOverload {
    /// It is counted and forgotten
    Drop,
    /// It waits, and its wait counts
    Queue,
}

/// How far virtual users are kept apart.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum VuIsolation {
    /// Each has an engine of its own
    Strict,
    /// Those of a worker share one; a script that does not allow it is refused
    Shared,
    /// They share one if the script allows it
    Auto,
}

/// Version of the PROXY protocol.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProxyVersion {
    V1,
    V2,
}

/// Runs the load to its end.
pub(crate) async fn run(args: LoadArgs) -> anyhow::Result<ExitCode> {
    // Too low a limit shows as failed connections, which say so.
    let _ = catamaran_sys::process::raise_descriptor_limit();
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    if let Some(Other::Agent(args)) = args.other {
        return agents::serve(args).await;
    }
    let read = |path: &Path| std::fs::read(path).map_err(anyhow::Error::from);
    let load = match args.load(&read) {
        Ok(load) => load,
        Err(error) => {
            writeln!(err, "catamaran load: {error:#}")?;
            return Ok(ExitCode::from(exit_code::INVALID));
        }
    };
    let mut console = Console {
        out: &mut out,
        err: &mut err,
    };
    let code = match load {
        Load::Plain(options) => plain::run(*options, &mut console).await?,
        #[cfg(feature = "load-scripts")]
        Load::Script(options) => script::run(*options, &mut console).await?,
    };
    Ok(ExitCode::from(code))
}

/// Reads a file that the command line names.
type Read<'a> = dyn Fn(&Path) -> anyhow::Result<Vec<u8>> + 'a;

impl LoadArgs {
    fn load(self, read: &Read<'_>) -> anyhow::Result<Load> {
        let Some(script) = self
            .targets
            .iter()
            .find(|target| is_script(target))
            .cloned()
        else {
            return Ok(Load::Plain(Box::new(self.plain(read)?)));
        };
        if self.targets.len() > 1 {
            bail!("`{script}` is a script, beside which there can be no other target");
        }
        #[cfg(feature = "load-scripts")]
        return Ok(Load::Script(Box::new(self.script(script)?)));
        #[cfg(not(feature = "load-scripts"))]
        bail!("`{script}`: this program was built without scripts (the feature load-scripts)");
    }

    #[cfg(feature = "load-scripts")]
    fn script(self, path: String) -> anyhow::Result<ScriptOptions> {
        let keep = self.keep();
        let of_urls = [
            ("--rate", self.rate.is_some()),
            ("--weights", !self.weights.is_empty()),
            ("--method", self.method.is_some()),
            ("--header", !self.fields.is_empty()),
            ("--data", self.data.is_some() || self.data_file.is_some()),
            ("--tcp", self.tcp),
            ("--udp", self.udp),
            ("--ws", self.ws),
            ("--http2", self.http2),
            ("--http3", self.http3),
            ("--unix", self.unix.is_some()),
            ("--proxy-protocol", self.proxy_protocol.is_some()),
            ("--timeout", self.timeout.is_some()),
            ("--max-connections", self.max_connections.is_some()),
            ("--threshold", !self.thresholds.is_empty()),
            ("--find-max", self.find_max.is_some()),
        ];
        if let Some((name, _)) = of_urls.iter().find(|(_, is_given)| *is_given) {
            if *name == "--data" {
                bail!("-d and --data are for runs without a script; k6's -d is --duration here");
            }
            let remedy = match *name {
                "--timeout" => "a request of a script has it among its parameters",
                "--max-connections" => "a script has those of its virtual users (maxVUs)",
                _ => "say it in the script's options",
            };
            bail!("{name} is for runs without a script; {remedy}");
        }
        let of_k6 = self.k6.options()?;
        Ok(ScriptOptions {
            path: path.into(),
            options: of_k6.with(Options {
                vus: self.vus,
                duration: self.duration,
                iterations: self.iterations,
                stages: (!self.stages.is_empty()).then_some(self.stages),
                insecure_skip_tls_verify: self.insecure.then_some(true),
                no_connection_reuse: self.no_keep_alive.then_some(true),
                ..Options::default()
            }),
            config: self.k6.config,
            env: self.env,
            overload: self.on_overload.map(|what| match what {
                OnOverload::Drop => Overload::Drop,
                OnOverload::Queue => Overload::Queue,
            }),
            isolation: match self.vu_isolation {
                None | Some(VuIsolation::Auto) => Isolation::Auto,
                Some(VuIsolation::Strict) => Isolation::Strict,
                Some(VuIsolation::Shared) => Isolation::Shared,
            },
            workers: self.workers,
            import_cache: self.import_cache,
            summary_export: self.summary_export,
            outputs: self.out,
            is_json: self.json == Some(None),
            keep,
            is_full: self.full,
            is_quiet: self.quiet,
            agents: self.agents.agents(BTreeMap::new())?,
            job: None,
        })
    }

    fn protocol(&self) -> Protocol {
        match (self.tcp, self.udp) {
            _ if self.ws => Protocol::WebSocket,
            (true, _) => Protocol::Tcp {
                answer_bytes: self.answer_bytes,
            },
            (_, true) => Protocol::Udp,
            _ => Protocol::Http,
        }
    }

    /// What of the run is written to files.
    fn keep(&self) -> Keep {
        Keep {
            report: self.report.clone(),
            json: self.json.clone().flatten(),
            junit: self.junit.clone(),
            compare: self.compare.clone(),
        }
    }

    fn plain(self, read: &Read<'_>) -> anyhow::Result<PlainOptions> {
        let of_scripts = [
            ("--iterations", self.iterations.is_some()),
            ("--env", !self.env.is_empty()),
            ("--on-overload", self.on_overload.is_some()),
            ("--vu-isolation", self.vu_isolation.is_some()),
            ("--summary-export", self.summary_export.is_some()),
            ("--import-cache", self.import_cache.is_some()),
        ];
        if let Some((name, _)) = of_scripts.iter().find(|(_, is_given)| *is_given) {
            bail!("{name} is for scripts");
        }
        #[cfg(feature = "load-scripts")]
        if !self.k6.is_empty() {
            bail!("options of k6 (`catamaran load --help`, at the end) are for scripts");
        }
        let (keep, protocol) = (self.keep(), self.protocol());
        let mut files = BTreeMap::new();
        let body = match (self.data, &self.data_file) {
            (Some(text), _) => Some(text.into_bytes()),
            (None, Some(path)) => {
                let bytes = read(path).with_context(|| path.display().to_string())?;
                files.insert(path.to_string_lossy().into_owned(), bytes.clone());
                Some(bytes)
            }
            (None, None) => None,
        };
        let usual = if body.is_some() { "POST" } else { "GET" };
        Ok(PlainOptions {
            targets: self.targets,
            weights: self.weights,
            protocol,
            version: match (self.http2, self.http3) {
                (true, _) => Version::Http2,
                (_, true) => Version::Http3,
                _ => Version::Http1,
            },
            exchange: Exchange {
                method: self.method.unwrap_or_else(|| usual.to_owned()),
                fields: self.fields,
                body,
                unix: self.unix,
                proxy: match self.proxy_protocol {
                    None => ProxyHeader::None,
                    Some(ProxyVersion::V1) => ProxyHeader::V1,
                    Some(ProxyVersion::V2) => ProxyHeader::V2,
                },
                keeps_connections: !self.no_keep_alive,
                verifies: !self.insecure,
            },
            model: match self.vus {
                Some(vus) => Model::Closed { vus },
                None => Model::Open {
                    rate: self.rate.unwrap_or(100.0),
                },
            },
            duration: self.duration.unwrap_or(Duration::from_secs(10)),
            stages: self.stages,
            timeout: self.timeout.unwrap_or(TIMEOUT),
            max_connections: self.max_connections.unwrap_or(MAX_CONNECTIONS),
            workers: self.workers,
            thresholds: self.thresholds,
            find_max: self.find_max,
            is_json: self.json == Some(None),
            is_full: self.full,
            is_quiet: self.quiet,
            outputs: self.out,
            keep,
            agents: self.agents.agents(files)?,
        })
    }
}

/// How long a request without a script may take, unless said.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Connections of an open model without a script, unless said.
const MAX_CONNECTIONS: u64 = 1000;

/// Whether a target is the path of a script.
fn is_script(target: &str) -> bool {
    let endings = [".js", ".mjs", ".cjs", ".ts", ".mts", ".cts"];
    !target.contains("://") && endings.iter().any(|ending| target.ends_with(ending))
}

fn read_duration(text: &str) -> Result<Duration, String> {
    if text.parse::<f64>().is_ok() {
        return Err(format!("a time has a unit, such as {text}s"));
    }
    parse_duration(text).map_err(|error| error.to_string())
}

fn read_stage(text: &str) -> Result<Stage, String> {
    let form = || "expected a time and a target, such as 30s:2000".to_owned();
    let (duration, target) = text.split_once(':').ok_or_else(form)?;
    let target: f64 = target.parse().map_err(|_| form())?;
    if !(0.0..=1e9).contains(&target) {
        return Err("a target is a number from 0 to 1000000000".to_owned());
    }
    Ok(Stage {
        duration: read_duration(duration)?,
        target,
    })
}

fn read_variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("expected a name, = and a value, such as URL=http://127.0.0.1:8080")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn read_field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("expected a name, a colon and a value, such as `Accept: text/html`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser as _;

    fn options(line: &str) -> anyhow::Result<PlainOptions> {
        let args = Args::try_parse_from(format!("catamaran load {line}").split(' '))?;
        let Command::Load(args) = args.command else {
            panic!("another command")
        };
        match args.load(&|path| Ok(std::fs::read(path)?))? {
            Load::Plain(options) => Ok(*options),
            #[cfg(feature = "load-scripts")]
            Load::Script(options) => bail!("the script {}", options.path.display()),
        }
    }

    #[test]
    fn the_open_model_is_the_default() {
        let plain = options("http://a/").unwrap();
        assert_eq!(plain.model, Model::Open { rate: 100.0 });
        assert_eq!(plain.exchange.method, "GET");
        let closed = options("http://a/ --vus 5 -d x").unwrap();
        assert_eq!(closed.model, Model::Closed { vus: 5 });
        assert_eq!(closed.exchange.method, "POST");
        assert_eq!(closed.exchange.body.as_deref(), Some(b"x".as_slice()));
    }

    #[test]
    fn stages_and_fields_are_read() {
        let staged = options("http://a/ --rate 5 --stage 1s:10,2m:0 -H A:b").unwrap();
        assert_eq!(staged.stages.len(), 2);
        assert_eq!(staged.stages[1].duration, Duration::from_secs(120));
        assert_eq!(staged.exchange.fields, [("A".to_owned(), "b".to_owned())]);
        assert!(options("http://a/ --stage 10").is_err());
        assert!(options("http://a/ --duration 10").is_err());
        assert!(options("http://a/ -H A").is_err());
        assert!(options("http://a/ --rate 5 --vus 5").is_err());
        assert!(options("--tcp --udp a:1").is_err());
    }

    #[cfg(feature = "load-scripts")]
    #[test]
    fn options_of_k6_are_those_of_the_script() {
        let line = "test.js -u 3 -s 1s:5 -w -q --http-debug --tag a=b,c --rps 7 --dns ttl=1m \
            --local-ips 127.0.0.1/30 --system-tags url,status --insecure-skip-tls-verify";
        let args = Args::try_parse_from(format!("catamaran load {line}").split_whitespace());
        let Command::Load(args) = args.unwrap().command else {
            panic!("another command")
        };
        let Load::Script(script) = args.load(&|_| bail!("no file")).unwrap() else {
            panic!("no script")
        };
        let shown = script.options.to_json(&[]);
        for (name, value) in [
            ("httpDebug", "\"headers\""),
            ("tags", r#"{"a":"b,c"}"#),
            ("rps", "7"),
            ("throw", "true"),
            ("localIPs", "\"127.0.0.1/30\""),
            ("systemTags", r#"["status","url"]"#),
            ("insecureSkipTLSVerify", "true"),
        ] {
            assert_eq!(shown[name].to_string(), value, "{name}");
        }
        assert_eq!(script.options.vus, Some(3));
        assert!(
            options("test.js --local-ips x")
                .unwrap_err()
                .to_string()
                .contains("10.0.0.0/28")
        );
        assert!(
            options("test.js -d 5s")
                .unwrap_err()
                .to_string()
                .contains("--duration")
        );
        assert!(
            options("http://a/ --rps 5")
                .unwrap_err()
                .to_string()
                .contains("for scripts")
        );
    }

    #[test]
    fn a_script_is_told_from_a_url() {
        assert!(is_script("test.js") && is_script("a/b.ts"));
        assert!(!is_script("http://a/test.js") && !is_script("a:80"));
        assert!(
            options("test.js")
                .unwrap_err()
                .to_string()
                .contains("script")
        );
        let told = options("test.js --rate 5").unwrap_err().to_string();
        assert!(told.contains("script"), "{told}");
    }
}
