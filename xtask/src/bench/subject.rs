//! The proxies that are compared, each with a configuration that does the same work.
//!
//! What the configurations have in common: one thread, two origins in round robin, kept
//! connections to the origins, a check of each origin every 2 s (nginx has none), finite timeouts,
//! the client's address passed on in `X-Forwarded-For`, access log off unless the case asks.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use catamaran_testkit::TempDir;

use super::case::{Case, Layer};

/// One of the compared proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Catamaran,
    Haproxy,
    Nginx,
}

/// Where the proxy listens and which origins it has.
#[derive(Clone, Debug)]
pub(super) struct Wiring {
    pub(super) listen: SocketAddr,
    pub(super) origins: [SocketAddr; 2],
}

impl Subject {
    pub(super) const ALL: [Self; 3] = [Self::Catamaran, Self::Haproxy, Self::Nginx];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Catamaran => "catamaran",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
        }
    }

    fn program(self) -> PathBuf {
        match self {
            Self::Catamaran => PathBuf::from("target/release/catamaran"),
            Self::Haproxy => PathBuf::from("haproxy"),
            Self::Nginx => PathBuf::from("nginx"),
        }
    }

    /// Its version as it tells it, `None` when it is not installed.
    pub(super) fn version(self) -> Option<String> {
        let flag = match self {
            Self::Catamaran => "--version",
            Self::Haproxy | Self::Nginx => "-v",
        };
        let output = Command::new(self.program()).arg(flag).output().ok()?;
        // nginx tells its version on stderr.
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let digit = text.find(|c: char| c.is_ascii_digit())?;
        let version = text[digit..].split([' ', '\n']).next()?;
        Some(version.to_owned())
    }

    fn config(self, case: &Case, wiring: &Wiring, dir: &Path) -> String {
        match self {
            Self::Catamaran => catamaran_config(case, wiring, dir),
            Self::Haproxy => haproxy_config(case, wiring),
            Self::Nginx => nginx_config(case, wiring, dir),
        }
    }

    /// Starts it on core 0 and waits until it accepts.
    pub(super) fn start(self, case: &Case, wiring: &Wiring) -> Result<Running> {
        self.start_built(&self.program(), case, wiring)
    }

    /// Starts it as `program`, its own or one built otherwise.
    pub(super) fn start_built(
        self,
        program: &Path,
        case: &Case,
        wiring: &Wiring,
    ) -> Result<Running> {
        let dir = TempDir::create()?;
        let config = dir.write("config", &self.config(case, wiring, dir.path()))?;
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(program);
        match self {
            Self::Catamaran => {
                let file = dir.path().join("catamaran.toml");
                fs::rename(&config, &file)?;
                command.args(["run", "--no-supervisor", "-c"]).arg(file);
            }
            Self::Haproxy => {
                command.args(["-db", "-f"]).arg(config);
            }
            Self::Nginx => {
                command.arg("-c").arg(config).arg("-p").arg(dir.path());
            }
        }
        let errors = dir.path().join("stderr");
        let child = command
            .stdin(Stdio::null())
            // HAProxy writes its access log here; the others are told a file.
            .stdout(File::create(dir.path().join("stdout"))?)
            .stderr(File::create(&errors)?)
            .spawn()
            .context("taskset (util-linux) is needed to pin the proxies")?;
        let mut running = Running { child, _dir: dir };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(wiring.listen).is_err() {
            let ended = running.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(&errors).unwrap_or_default();
                bail!("{} does not listen: {said}", self.name());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(running)
    }
}

/// A proxy that runs until this is dropped.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    _dir: TempDir,
}

impl Running {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Children first: nginx's worker outlives its killed parent.
        for pid in catamaran_testkit::descendants(self.pid()) {
            catamaran_testkit::signal_pid(pid, catamaran_testkit::Signal::KILL).ok();
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn catamaran_config(case: &Case, wiring: &Wiring, dir: &Path) -> String {
    let Wiring {
        listen,
        origins: [a, b],
    } = wiring;
    let (protocol, health) = match case.layer {
        Layer::Http => ("http", "http = \"/health\""),
        Layer::Tcp => ("tcp", "tcp = true"),
    };
    let log = if case.access_log {
        let file = dir.join("access.log");
        format!(
            "access-log = {{ format = \"haproxy\", to = \"{}\" }}\n",
            file.display()
        )
    } else {
        String::new()
    };
    format!(
        "[process]\nworkers = 1\n\n\
         [frontend.bench]\nprotocol = \"{protocol}\"\nlisten = [\"{listen}\"]\n\
         backend = \"origins\"\n{log}\n\
         [backend.origins]\nbalance = \"round-robin\"\nservers = [\"{a}\", \"{b}\"]\n\
         health = {{ {health}, interval = \"2s\" }}\n"
    )
}

fn haproxy_config(case: &Case, wiring: &Wiring) -> String {
    let Wiring {
        listen,
        origins: [a, b],
    } = wiring;
    let mut options = String::new();
    match case.layer {
        Layer::Http => options.push_str(
            "    mode http\n    option forwardfor\n    http-reuse always\n    \
             option httpchk GET /health\n",
        ),
        Layer::Tcp => options.push_str("    mode tcp\n"),
    }
    if case.splices {
        options.push_str("    option splice-auto\n");
    }
    let mut log = String::new();
    if case.access_log {
        log.push_str("    log stdout format raw local0\n");
        options.push_str("    log global\n    option httplog\n");
    }
    format!(
        "global\n    nbthread 1\n    maxconn 6500\n{log}\
         defaults\n{options}    timeout connect 3500ms\n    timeout client 60s\n    \
         timeout server 60s\n    timeout http-request 10s\n    timeout http-keep-alive 60s\n\
         frontend bench\n    bind {listen}\n    default_backend origins\n\
         backend origins\n    balance roundrobin\n    \
         server a {a} check inter 2s\n    server b {b} check inter 2s\n"
    )
}

fn nginx_config(case: &Case, wiring: &Wiring, dir: &Path) -> String {
    let Wiring {
        listen,
        origins: [a, b],
    } = wiring;
    let dir = dir.display();
    let global = format!(
        "user root;\nworker_processes 1;\nworker_rlimit_nofile 20000;\ndaemon off;\npid {dir}/nginx.pid;\n\
         error_log {dir}/error.log;\nevents {{ worker_connections 19000; }}\n"
    );
    let log = if case.access_log {
        format!("{dir}/access.log")
    } else {
        "off".to_owned()
    };
    match case.layer {
        Layer::Http => format!(
            "{global}http {{\n  access_log {log};\n  keepalive_timeout 60s;\n  \
             keepalive_requests 100000000;\n  client_header_timeout 10s;\n  \
             upstream origins {{\n    server {a};\n    server {b};\n    keepalive 64;\n    \
             keepalive_requests 100000000;\n  }}\n  \
             server {{\n    listen {listen} backlog=4096;\n    location / {{\n      \
             proxy_pass http://origins;\n      proxy_http_version 1.1;\n      \
             proxy_set_header Connection \"\";\n      \
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n      \
             proxy_connect_timeout 3500ms;\n    }}\n  }}\n}}\n"
        ),
        Layer::Tcp => format!(
            "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n{global}\
             stream {{\n  upstream origins {{\n    server {a};\n    server {b};\n  }}\n  \
             server {{\n    listen {listen} backlog=4096;\n    proxy_pass origins;\n    \
             proxy_connect_timeout 3500ms;\n  }}\n}}\n"
        ),
    }
}
