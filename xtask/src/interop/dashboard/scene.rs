//! A balancer with traffic: two frontends, two backends, five servers, some slower than others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use catamaran_testkit::{Client, Process, Program, free_addr};
use serde_json::Value;

use crate::interop::browser::{PATIENCE, program};

/// All of it; ends when dropped.
pub(super) struct Scene {
    balancer: Process,
    servers: Vec<(String, Process)>,
    admin: SocketAddr,
    token: Option<&'static str>,
    ends: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

/// Backend, name, how long an answer takes.
const SERVERS: &[(&str, &str, &str)] = &[
    ("api", "api-1", "2ms"),
    ("api", "api-2", "3ms"),
    ("api", "api-3", "9ms"),
    ("static", "static-1", "0ms"),
    ("static", "static-2", "1ms"),
];

impl Scene {
    /// Starts everything; with a token where one is given.
    pub(super) fn start(token: Option<&'static str>) -> Result<Self> {
        let program = program()?;
        let (admin, web, tcp) = (free_addr()?, free_addr()?, free_addr()?);
        let mut servers = Vec::new();
        let mut lists = [String::new(), String::new()];
        for (backend, name, delay) in SERVERS {
            let address = free_addr()?;
            let mut server = Program::new(&program)?
                .args(["echo", "--listen", &address.to_string()])
                .args(["--message", name, "--delay", delay])
                .start()?;
            server.wait_for_port(address, PATIENCE)?;
            servers.push((format!("{backend}/{name}"), server));
            let list = &mut lists[usize::from(*backend == "static")];
            list.push_str(&format!(
                "  {{ address = \"{address}\", name = \"{name}\" }},\n"
            ));
        }
        let mut config = format!(
            "[process]\nworkers = 2\n[admin]\nlisten = \"{admin}\"\nsocket = false\n\
             TOKEN\n\
             [frontend.web]\nlisten = \"{web}\"\nbackend = \"api\"\n\
             [[frontend.web.route]]\nname = \"assets\"\npath = \"/assets\"\nbackend = \"static\"\n\
             [[frontend.web.route]]\nname = \"old\"\npath = \"/old\"\nrespond = {{ status = 410 }}\n\
             [frontend.raw]\nprotocol = \"tcp\"\nlisten = \"{tcp}\"\nbackend = \"static\"\n\
             [backend.api]\nservers = [\n{}]\nhealth = {{ http = \"/health\", interval = \"500ms\" }}\n\
             [backend.static]\nbalance = \"random\"\nservers = [\n{}]\n\
             health = {{ http = \"/health\", interval = \"500ms\" }}\n\
             stick = {{ on = \"source-ip\", for = \"10m\" }}\n",
            lists[0], lists[1]
        );
        let directory = catamaran_testkit::TempDir::create()?;
        let line = match token {
            Some(token) => {
                let file = directory.write("token", token)?;
                format!("token-file = \"{}\"", file.display())
            }
            None => String::new(),
        };
        config = config.replace("TOKEN", &line);
        let balancer = Program::run_config(&program, &config)?.start()?;
        balancer.wait_for_stderr(" serving", PATIENCE)?;
        drop(directory);
        let ends = Arc::new(AtomicBool::new(false));
        let client = |target: fn(u32) -> String| {
            let ends = Arc::clone(&ends);
            thread::spawn(move || visit(web, &ends, target))
        };
        let clients = vec![
            client(|n| format!("/orders/{n}")),
            client(|n| format!("/orders/{n}?page=2")),
            client(|n| format!("/assets/{n}.css")),
            client(|n| {
                if n % 10 == 0 {
                    "/old".to_owned()
                } else {
                    "/".to_owned()
                }
            }),
        ];
        Ok(Self {
            balancer,
            servers,
            admin,
            token,
            ends,
            clients,
        })
    }

    /// Where the dashboard is.
    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.admin)
    }

    /// Kills the server of this number, counted over its backend from 0.
    pub(super) fn kill(&mut self, backend: &str, number: usize) -> Result<()> {
        let of = self
            .servers
            .iter_mut()
            .filter(|(name, _)| name.starts_with(backend));
        let (_, server) = of.into_iter().nth(number).context("no such server")?;
        Ok(server.kill()?)
    }

    /// A server, as the API tells of it.
    pub(super) fn server(&self, backend: &str, server: &str) -> Result<Value> {
        self.ask(
            "GET",
            &format!("/v1/backends/{backend}/servers/{server}"),
            "",
        )
    }

    /// Has a reload fail.
    pub(super) fn break_configuration(&self) -> Result<()> {
        let path = self.balancer.config_path();
        let text = std::fs::read_to_string(&path)?;
        std::fs::write(&path, format!("{text}\n[nonsense]\n"))?;
        self.ask("POST", "/v1/reload", "{}")?;
        std::fs::write(&path, text)?;
        Ok(())
    }

    /// The process that the page talks to.
    pub(super) fn data_process(&self) -> Result<u32> {
        let process = self
            .ask("GET", "/v1/process", "")
            .or_else(|_| self.by_name());
        let pid = process?["pid"].as_u64().context("no pid")?;
        Ok(u32::try_from(pid)?)
    }

    /// Found among the children, where it does not answer.
    fn by_name(&self) -> Result<Value> {
        let is_data = |pid: &u32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim() == "catamaran-data")
        };
        let pid = self.balancer.pids().into_iter().find(is_data);
        Ok(serde_json::json!({ "pid": pid.context("no data process")? }))
    }

    pub(super) fn ask(&self, method: &str, path: &str, body: &str) -> Result<Value> {
        let mut client = Client::connect(self.admin)?;
        client.set_patience(Duration::from_secs(2))?;
        let host = format!("Host: {}", self.admin);
        let token = format!("Authorization: Bearer {}", self.token.unwrap_or_default());
        let fields = [
            host.as_str(),
            token.as_str(),
            "Content-Type: application/json",
        ];
        let response = client.request(method, path, &fields, body.as_bytes())?;
        Ok(serde_json::from_slice(&response.body)?)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            // One that panicked has said so.
            let _ = client.join();
        }
    }
}

/// Sends one request after the other over one connection.
fn visit(addr: SocketAddr, ends: &AtomicBool, target: fn(u32) -> String) {
    let mut client = None;
    for number in 0.. {
        if ends.load(Ordering::Relaxed) {
            return;
        }
        client = client.or_else(|| Client::connect(addr).ok());
        let answered = client
            .as_mut()
            .is_some_and(|client| client.get(&target(number)).is_ok());
        if !answered {
            client = None;
        }
        // A wave, so that the charts have something to show.
        let wave = f64::from(number % 2000) / 2000.0 * std::f64::consts::TAU;
        thread::sleep(Duration::from_secs_f64(0.02 + 0.012 * wave.sin()));
    }
}
