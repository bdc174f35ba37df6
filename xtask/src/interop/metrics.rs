//! The case `metrics`: what Prometheus' own tools and libraries make of the page and the rules.
//!
//! promtool judges the alert rules and the page; the parsers of Prometheus' Python library, which are
//! stricter than a scraper, read the page in both formats.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use catamaran_testkit::{Client, Origin, Program, TempDir, free_addr};

use crate::shell;

/// Runs the case.
pub(super) fn run() -> Result<()> {
    shell::run("promtool", &["check", "rules", RULES])?;
    install()?;
    shell::build_release("catamaran")?;
    let origin = Origin::fixed(200, "x").start()?;
    let (listen, metrics) = (free_addr()?, free_addr()?);
    let server = origin.addr();
    let config = format!(
        "[process]\nmetrics = \"{metrics}\"\n\n\
         [frontend.web]\nlisten = \"{listen}\"\nbackend = \"app\"\n\n\
         [backend.app]\nservers = [\"{server}\"]\nhealth = {{ http = \"/\" }}\n\
         stick = {{ on = \"source-ip\", for = \"2s\" }}\n"
    );
    let dir = TempDir::create()?;
    let file = dir.write("catamaran.toml", &config)?;
    let program = std::path::absolute("target/release/catamaran")?;
    let mut process = Program::new(program)?
        .args(["run", "--no-supervisor", "-c"])
        .arg(file)
        .start()?;
    process.wait_for_port(listen, PATIENCE)?;
    process.wait_for_port(metrics, PATIENCE)?;
    let mut client = Client::connect(listen)?;
    for _ in 0..100 {
        ensure!(
            client.get("/")?.status == 200,
            "the balancer does not serve"
        );
    }
    let plain = page(metrics, "text/plain")?;
    judge_by_promtool(&plain)?;
    let open = page(metrics, "application/openmetrics-text;version=1.0.0")?;
    for (parser, page) in [("parser", &plain), ("openmetrics.parser", &open)] {
        let count = parse(parser, page)?;
        shell::say(&format!("prometheus_client.{parser}: {count} families"));
        let mistaken = page.replacen(
            "# TYPE catamaran_server_up gauge",
            "# TYPE catamaran_server_up",
            1,
        );
        ensure!(parse(parser, &mistaken).is_err(), "{parser} takes anything");
    }
    Ok(())
}

fn page(metrics: std::net::SocketAddr, accept: &str) -> Result<String> {
    let accept = format!("Accept: {accept}");
    let url = format!("http://{metrics}/metrics");
    shell::output("curl", &["-sS", "--fail", "-H", &accept, &url])
}

/// `promtool check metrics` fails on a page that it cannot read, and tells of names it finds odd.
fn judge_by_promtool(page: &str) -> Result<()> {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run promtool")?;
    let mut stdin = child.stdin.take().context("promtool reads nothing")?;
    stdin.write_all(page.as_bytes())?;
    drop(stdin);
    let result = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&result.stderr);
    if !result.status.success() {
        bail!("promtool: {said}");
    }
    shell::say(&format!("promtool takes the page of {} bytes", page.len()));
    Ok(())
}

/// Reads a page with a parser of the Python library; the number of families.
fn parse(parser: &str, page: &str) -> Result<usize> {
    let file = Path::new(VENV).join("page");
    fs::write(&file, page)?;
    let script = format!(
        "import sys\nfrom prometheus_client.{parser} import text_string_to_metric_families as read\n\
         print(len(list(read(open(sys.argv[1]).read()))))"
    );
    let file = file.to_str().context("the path is UTF-8")?;
    let count = shell::output(PYTHON, &["-c", &script, file])?;
    Ok(count.trim().parse()?)
}

/// Installs the library beside the other things that are built.
fn install() -> Result<()> {
    if shell::works(PYTHON, &["-c", "import prometheus_client"]) {
        return Ok(());
    }
    shell::run("python3", &["-m", "venv", "--clear", VENV])
        .context("python3 has no venv: apt-get install -y python3-venv")?;
    let pip = ["-m", "pip", "install", "--quiet"];
    let quiet = ["--disable-pip-version-check", "--only-binary=:all:"];
    shell::run(PYTHON, &[&pip[..], &quiet, &[LIBRARY]].concat())
}

const RULES: &str = "packaging/prometheus/catamaran.rules.yml";
const VENV: &str = "target/prometheus-client";
const PYTHON: &str = "target/prometheus-client/bin/python";
/// Kept by the Prometheus project.
const LIBRARY: &str = "prometheus-client==0.23.1";
const PATIENCE: Duration = Duration::from_secs(30);
