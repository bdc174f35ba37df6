//! `catamaran demo`: echo servers and a balancer before them, on nothing but this binary.
//!
//! With `--api` it is the example API instead of echo servers ([`api`]).

mod api;

use crate::args::DemoArgs;
use crate::handover::Handover;
use crate::source::Source;
use crate::stop::{REQUESTS, Signals, Stop};
use crate::supervisor::{self, Options, Orphans};
use crate::systemd::{Inherited, Notifier};
use crate::{bind, echo, logging};
use anyhow::{Context as _, bail};
use catamaran_control::reload::Text;
use catamaran_core::model::Protocol;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// One echo server, a child of ours.
#[derive(Debug)]
struct EchoServer {
    address: SocketAddr,
    message: &'static str,
    child: Child,
}

/// Runs the demonstration until Ctrl-C, or as long as asked.
pub(crate) async fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    if args.api {
        return api::run(args).await;
    }
    let signals = Signals::new()?;
    let handover = prepare(args)?;
    let mut servers = Vec::new();
    for (address, message) in echo_addresses(args).zip(MESSAGES) {
        servers.push(start_echo(address, message).await?);
    }
    let text = what_to_try(args, &servers);
    let (running, end) = watch::channel(());
    let mut echoes: JoinSet<()> = servers
        .into_iter()
        .map(|server| accompany_echo(server, end.clone()))
        .collect();
    let code = balance(handover, &text, args, signals).await;
    drop(running);
    while echoes.join_next().await.is_some() {}
    code
}

/// Runs the balancer until a signal or the end of the time it was given; prints `text` once it serves.
async fn balance(
    handover: Handover,
    text: &str,
    args: &DemoArgs,
    mut signals: Signals,
) -> anyhow::Result<ExitCode> {
    let (stop, stops) = mpsc::channel(REQUESTS);
    let (ready, is_ready) = oneshot::channel();
    let options = Options {
        door: None,
        notifier: Notifier::default(),
        program: supervisor::SELF.into(),
        retired: Vec::new(),
        orphans: Orphans::Die,
        ready: Some(ready),
        drain: Duration::ZERO,
        watchdog: catamaran_core::model::Process::default().watchdog,
        reloads: None,
        virtual_ips: None,
    };
    let accompany = async {
        if is_ready.await.is_ok() {
            print(text);
            print(&steer(args));
        }
        tokio::select! {
            _ = signals.recv() => {}
            () = wait(args.duration) => {}
        }
        // The supervisor may have ended first, for a reason that it reports itself.
        let _ = stop.send(Stop::Now).await;
        std::future::pending().await
    };
    let code = tokio::select! {
        code = supervisor::supervise(handover, options, stops) => code,
        code = accompany => code,
    };
    if let Some(path) = socket() {
        // It may never have been opened.
        let _ = std::fs::remove_file(path);
    }
    code
}

/// Opens the balancer's ports, and sees that those of the echo servers are free.
fn prepare(args: &DemoArgs) -> anyhow::Result<Handover> {
    for address in echo_addresses(args) {
        if let Err(error) = bind::open(address, Protocol::Tcp, 1) {
            bail!(
                "{error}\n`--server-port PORT` moves the echo servers, such as `catamaran demo --server-port {}`",
                moved(args.server_port)
            );
        }
    }
    open(&configuration(args), args)
}

/// The section of the admin API: a socket of the demo's own, so that `ctl` without more words never
/// steers a demo in place of the balancer that is meant.
fn admin(args: &DemoArgs) -> String {
    remove_left_sockets();
    let socket = socket().map_or_else(
        || "false".to_owned(),
        |path| format!("\"{}\"", path.display()),
    );
    let listen = dashboard(args).map_or_else(String::new, |at| format!("listen = \"{at}\"\n"));
    format!("[admin]\nsocket = {socket}\n{listen}\n")
}

/// Where the dashboard is served; `None` if it is not wanted.
fn dashboard(args: &DemoArgs) -> Option<SocketAddr> {
    let port = args.dashboard_port;
    (port != 0).then(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// Removes the sockets of demos that were killed.
fn remove_left_sockets() {
    let directory = crate::admin::writable_directory();
    let Some(Ok(entries)) = directory.map(std::fs::read_dir) else {
        return;
    };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_prefix("demo-")?.strip_suffix(".sock"));
        let pid = number.and_then(|number| number.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another demo may have been quicker.
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// Where the demo's admin socket is; `None` if no usual place can be written to.
fn socket() -> Option<PathBuf> {
    let name = format!("demo-{}.sock", std::process::id());
    crate::admin::writable_directory().map(|directory| directory.join(name))
}

/// Loads a configuration and opens its ports.
fn open(text: &str, args: &DemoArgs) -> anyhow::Result<Handover> {
    if let Some(address) = dashboard(args)
        && let Err(error) = bind::open(address, Protocol::Tcp, 1)
    {
        bail!(
            "{error}\n`--dashboard-port PORT` moves the dashboard, such as `catamaran demo --dashboard-port {}`; 0 leaves it out",
            moved(args.dashboard_port)
        );
    }
    let text = format!("{}{text}", admin(args));
    let source = Source::Text(Text {
        path: PathBuf::from("demo"),
        text,
    });
    let config = source.load_logged()?;
    let listeners = bind::open_all(&config, Inherited::default()).map_err(|error| {
        if !error.is::<bind::BindErrors>() {
            return error;
        }
        anyhow::anyhow!(
            "{error}\n`--port PORT` moves the balancer, such as `catamaran demo --port {}`",
            moved(args.port)
        )
    })?;
    Ok(Handover::new(source, listeners))
}

/// The configuration that is demonstrated.
fn configuration(args: &DemoArgs) -> String {
    let (port, next) = (args.port, args.port + 1);
    let servers: Vec<String> = echo_addresses(args)
        .map(|address| format!("\"{address}\""))
        .collect();
    let servers = servers.join(", ");
    let log = if args.quiet {
        ""
    } else {
        "access-log = \"human\"\n"
    };
    let health = "health = { http = \"/health\", interval = \"1s\" }";
    format!(
        "[frontend.tcp]\nprotocol = \"tcp\"\nlisten = [\"127.0.0.1:{port}\"]\n\
         backend = \"sticky\"\n{log}\n\
         [frontend.http]\nlisten = [\"127.0.0.1:{next}\"]\nbackend = \"turns\"\n{log}\n\
         [backend.sticky]\nbalance = \"random\"\n\
         stick = {{ on = \"source-ip\", for = \"2s\" }}\nservers = [{servers}]\n{health}\n\
         # The echo servers always answer, and twice does no harm.\n\
         retry = {{ replay = \"4KiB\" }}\n\n\
         [backend.turns]\nbalance = \"round-robin\"\nservers = [{servers}]\n{health}\n"
    )
}

/// Starts an echo server that ends with this process, however it ends.
async fn start_echo(address: SocketAddr, message: &'static str) -> anyhow::Result<EchoServer> {
    let mut command = std::process::Command::new("/proc/self/exe");
    command
        .arg0("catamaran")
        .args([
            "echo",
            "--listen",
            &address.to_string(),
            "--message",
            message,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // Ctrl-C is for us: they end with us, and not a moment before.
        .process_group(0);
    logging::pass_on(&mut command);
    catamaran_sys::process::set_parent_death_signal(&mut command, libc::SIGKILL);
    let mut child = Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .context("an echo server could not be started")?;
    let stdout = child.stdout.as_mut().expect("its output was piped above");
    let mut line = String::new();
    BufReader::new(stdout.take(LINE_BYTES))
        .read_line(&mut line)
        .await?;
    if !line.starts_with(echo::READY) {
        bail!("the echo server on {address} did not start");
    }
    Ok(EchoServer {
        address,
        message,
        child,
    })
}

/// Says when an echo server has ended, and how to have it back; kills it when `end` closes.
async fn accompany_echo(mut server: EchoServer, mut end: watch::Receiver<()>) {
    tokio::select! {
        status = server.child.wait() => {
            let command = server.command();
            let address = server.address;
            let how = status.map(|status| format!(" ({status})")).unwrap_or_default();
            print(&format!("echo server {address} ended{how}; have it back with:  {command}\n"));
        }
        _closed = end.changed() => {
            // It may have ended by itself this moment, which is what is wanted.
            let _ = server.child.kill().await;
        }
    }
}

fn what_to_try(args: &DemoArgs, servers: &[EchoServer]) -> String {
    let (port, next) = (args.port, args.port + 1);
    let mut text = String::from("\nEcho servers:\n");
    for server in servers {
        let pid = server.child.id().unwrap_or(0);
        let EchoServer {
            address, message, ..
        } = server;
        text += &format!("  {address}  pid {pid:<8} answers \"{message}\"\n");
    }
    let pid = servers.first().and_then(|server| server.child.id());
    let again = servers.first().map(EchoServer::command).unwrap_or_default();
    text += &format!(
        "\nBalancer:\n  127.0.0.1:{port}  TCP, random choice; a source keeps its server for 2 s\n  \
         127.0.0.1:{next}  HTTP, servers in turn\n\n\
         Try in another terminal:\n  \
         printf hi | nc 127.0.0.1 {port}\n  \
         curl 127.0.0.1:{port}\n  \
         while sleep 0.2; do curl -s 127.0.0.1:{next}; done\n  \
         kill {}    # the loop goes on: the other server answers\n\n\
         A killed echo server stays dead until you start it again:\n  {again}\n\n\
         {}\n\n",
        pid.unwrap_or(0),
        when_it_ends(args.duration),
    );
    text
}

/// How to look at the balancer of the demo from inside.
fn steer(args: &DemoArgs) -> String {
    let mut lines = Vec::new();
    if let Some(address) = dashboard(args) {
        lines.push(format!(
            "  http://{address}/    the dashboard, in a browser"
        ));
    }
    if let Some(path) = socket() {
        let path = path.display();
        lines.push(format!("  catamaran top --socket {path}"));
        lines.push(format!("  catamaran ctl --socket {path} status"));
    }
    if lines.is_empty() {
        return String::new();
    }
    format!(
        "What the balancer knows and can be told:\n{}\n\n",
        lines.join("\n")
    )
}

fn when_it_ends(duration: Option<Duration>) -> String {
    duration.map_or_else(
        || "Ctrl-C ends everything.".to_owned(),
        |after| format!("Ends by itself after {after:?}, or at Ctrl-C."),
    )
}

impl EchoServer {
    /// The command that starts this server by hand.
    fn command(&self) -> String {
        // As we were called, which works from the same directory even if we are not installed.
        let program = std::env::args().next();
        let program = program.as_deref().unwrap_or("catamaran");
        format!(
            "{program} echo --listen {} --message '{}'",
            self.address, self.message
        )
    }
}

fn echo_addresses(args: &DemoArgs) -> impl Iterator<Item = SocketAddr> + use<> {
    (args.server_port..)
        .take(usize::from(args.servers))
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// A port to propose instead of one that is taken.
const fn moved(port: u16) -> u16 {
    if port < 50_000 {
        port + 10_000
    } else {
        port - 10_000
    }
}

async fn wait(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

fn print(text: &str) {
    // A closed terminal is no reason to end: the signal for that comes by itself.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// The messages of the echo servers, in the order of their ports; as many as `--servers` allows.
const MESSAGES: [&str; 16] = [
    "Coucou",
    "Hello World",
    "Hola",
    "Ciao",
    "Hallo",
    "Ola",
    "Hej",
    "Ahoj",
    "Salut",
    "Moi",
    "Sziasztok",
    "Merhaba",
    "Aloha",
    "Saluton",
    "Jambo",
    "Kia ora",
];
/// Longest line that an echo server says where it listens in.
const LINE_BYTES: u64 = 200;
