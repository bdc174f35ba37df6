//! `catamaran demo --api`: the example API, three replicas of it behind the balancer.
//!
//! The replicas, their store and the sink for their mails are children: the `alerts` program from
//! beside ours. Each is given a port by the kernel, and ends when we do, however we end: its
//! standard input is a pipe that we hold.

use super::{balance, open, print, when_it_ends};
use crate::args::DemoArgs;
use crate::stop::Signals;
use anyhow::{Context as _, bail};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A child of ours that serves.
#[derive(Debug)]
struct Part {
    name: String,
    /// Where it listens, as it said itself.
    address: String,
    /// What else it said in that line.
    more: String,
    /// What starts it again by hand.
    command: String,
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

/// Runs the demonstration until Ctrl-C, or as long as asked.
pub(super) async fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let signals = Signals::new()?;
    let program = find_program().await?;
    let data = DataDir::create()?;
    let any = ANY;
    let sink = start(&program, "sink", &["sink", "--listen", any, "--http", any]).await?;
    let (store, address) = match &args.etcd {
        Some(nodes) => (None, format!("etcd://{nodes}")),
        None => {
            let file = data.0.join("alerts.redb");
            let file = file
                .to_str()
                .context("the temporary directory's name is no text")?;
            let words = ["store", "--listen", any, "--data", file];
            let store = start(&program, "store", &words).await?;
            let address = format!("http://{}", store.address);
            (Some(store), address)
        }
    };
    let mut replicas = Vec::new();
    for number in 1..=REPLICAS {
        let name = format!("api-{number}");
        let more = [
            "--store",
            &address,
            "--smtp",
            &sink.address,
            "--stop-delay",
            "3s",
        ];
        let words = [&["serve", "--listen", any, "--name", &name][..], &more].concat();
        replicas.push(start(&program, &name, &words).await?);
    }
    let handover = open(&configuration(args, &replicas), args)?;
    let text = what_to_try(args, &sink, store.as_ref(), &address, &replicas);
    let (running, end) = watch::channel(());
    let mut parts: JoinSet<()> = replicas
        .into_iter()
        .chain(store)
        .chain([sink])
        .map(|part| accompany(part, end.clone()))
        .collect();
    let code = balance(handover, &text, args, signals).await;
    drop(running);
    while parts.join_next().await.is_some() {}
    code
}

/// The configuration that is demonstrated.
fn configuration(args: &DemoArgs, replicas: &[Part]) -> String {
    let port = args.port + 1;
    let servers: Vec<_> = replicas
        .iter()
        .map(|part| {
            let Part { name, address, .. } = part;
            format!("{{ address = \"{address}\", name = \"{name}\" }}")
        })
        .collect();
    let servers = servers.join(", ");
    let log = if args.quiet {
        ""
    } else {
        "access-log = \"human\"\n"
    };
    format!(
        "[frontend.api]\nlisten = [\"127.0.0.1:{port}\"]\n{log}\n\
         [[frontend.api.route]]\nbackend = \"alerts\"\n\
         retry = {{ idempotency-header = \"Idempotency-Key\" }}\n\n\
         [backend.alerts]\nservers = [{servers}]\n\
         health = {{ http = \"/ready\", interval = \"500ms\" }}\n"
    )
}

/// Starts a part and waits until it says where it listens.
async fn start(program: &Path, name: &str, words: &[&str]) -> anyhow::Result<Part> {
    let mut child = Command::new(program)
        .args(words)
        .args(["--exit-with-parent", "--log", "warn,alerts::job=info"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C is for us: they end with us, and not a moment before.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("`{}` could not be started", program.display()))?;
    let stderr = child.stderr.take().expect("it was piped above");
    let mut log = BufReader::new(stderr).lines();
    let line = timeout(PATIENCE, ready_line(&mut log)).await;
    let Ok(Some((address, more))) = line else {
        bail!("{name} of the example did not start");
    };
    let words = words.join(" ").replacen(ANY, &address, 1);
    let command = format!("{} {words}", program.display());
    Ok(Part {
        name: name.to_owned(),
        address,
        more,
        command,
        child,
        log,
    })
}

/// Reads up to the line that says where a part listens; what comes before it is passed on.
async fn ready_line<R: AsyncRead + Unpin>(
    log: &mut Lines<BufReader<R>>,
) -> Option<(String, String)> {
    while let Ok(Some(line)) = log.next_line().await {
        if let Some(rest) = line.strip_prefix(READY) {
            let (address, more) = rest.split_once(", ").unwrap_or((rest, ""));
            return Some((address.to_owned(), more.to_owned()));
        }
        pass_on(&line);
    }
    None
}

/// Passes a part's log on and says when it has ended; kills it when `end` closes.
async fn accompany(mut part: Part, mut end: watch::Receiver<()>) {
    let name = part.name;
    loop {
        tokio::select! {
            line = part.log.next_line() => match line {
                Ok(Some(line)) => pass_on(&format!("{name}: {line}")),
                Ok(None) | Err(_) => break,
            },
            _closed = end.changed() => break,
        }
    }
    tokio::select! {
        status = part.child.wait() => {
            let how = status.map(|status| format!(" ({status})")).unwrap_or_default();
            print(&format!("{name} ended{how}; have it back with:  {}\n", part.command));
        }
        _closed = end.changed() => {
            // It may have ended by itself this moment, which is what is wanted.
            let _ = part.child.kill().await;
        }
    }
}

fn what_to_try(
    args: &DemoArgs,
    sink: &Part,
    store: Option<&Part>,
    store_address: &str,
    replicas: &[Part],
) -> String {
    let url = format!("http://127.0.0.1:{}", args.port + 1);
    let mut text = String::from("\nThe example API:\n");
    for part in replicas {
        let pid = part.child.id().unwrap_or(0);
        text += &format!("  {}  {}  pid {pid}\n", part.name, part.address);
    }
    let kind = match store {
        Some(store) => format!("pid {}", store.child.id().unwrap_or(0)),
        None => "not ours".to_owned(),
    };
    let pid = replicas.first().and_then(|part| part.child.id());
    let mails = sink.more.trim_start_matches("mails on ");
    let docs = format!("{url}/docs");
    let width = docs.len().max(mails.len());
    text += &format!(
        "  store  {store_address}  {kind}\n\n\
         Balancer:\n  {docs:width$}    the API's documentation, to try it out\n\n\
         Mail:\n  {mails:width$}    the mails that the API sent\n\n\
         Try in another terminal:\n  \
         curl -i {url}/alerts -H 'Content-Type: application/json' -H 'Idempotency-Key: one' \\\n    \
         -d '{ALERT}'\n  \
         while sleep 0.2; do curl -si {url}/alerts | grep ^x-replica; done\n  \
         kill -9 {}    # the loop goes on: the other replicas answer\n\n\
         The same curl line again makes no second alert. Its date is past, so its mail is sent at once.\n\
         {}\n\n",
        pid.unwrap_or(0),
        when_it_ends(args.duration),
    );
    text
}

/// Finds the `alerts` program beside ours, or has it built when we are run from the source.
async fn find_program() -> anyhow::Result<PathBuf> {
    let ours = std::env::current_exe().context("our own program cannot be found")?;
    let program = ours.with_file_name("alerts");
    if program.exists() {
        return Ok(program);
    }
    let cargo = std::env::var_os("CARGO");
    let source = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let (Some(cargo), Some(source)) = (cargo, source) else {
        bail!(
            "`{}` is not there: the example API is a program of its own\n\
             build it from the source with `cargo build --release -p alerts` and put it beside `catamaran`",
            program.display()
        );
    };
    // target/PROFILE/catamaran: the example goes to the same place, made in the same way.
    let directory = ours
        .parent()
        .context("our own program is in no directory")?;
    let target = directory
        .parent()
        .context("our own program is not in a target directory")?;
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    print(&format!(
        "Building the example API, which takes some minutes the first time: cargo build -p alerts --profile {profile}\n"
    ));
    let status = Command::new(cargo)
        .args([
            "build",
            "-p",
            "alerts",
            "--profile",
            profile,
            "--target-dir",
        ])
        .arg(target)
        .current_dir(source)
        .status()
        .await
        .context("cargo could not be started")?;
    if !status.success() || !program.exists() {
        bail!("the example API could not be built; `cargo build -p alerts` says why");
    }
    Ok(program)
}

/// Where the store server of the demonstration keeps its file; removed at the end.
#[derive(Debug)]
struct DataDir(PathBuf);

impl DataDir {
    fn create() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("catamaran-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the directory `{}`", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own cleaning of the directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn pass_on(line: &str) {
    // A closed terminal is no reason to end: the signal for that comes by itself.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Replicas of the API.
const REPLICAS: u32 = 3;
/// An address whose port the kernel chooses.
const ANY: &str = "127.0.0.1:0";
/// Begins the line in which a part says where it listens.
const READY: &str = "alerts: ready on ";
/// Longer than a part takes to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// An alert whose mail is due.
const ALERT: &str = r#"{"movie_id":"tt0133093","email":"ada@example.org","title":"The Matrix is on","category":"science fiction","notification_date":"2020-01-01T00:00:00Z"}"#;
