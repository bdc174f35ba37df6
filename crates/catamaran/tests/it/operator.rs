//! An operator of a balancer under test: the admin API, over its unix socket or over TCP.

use crate::PATIENCE;
use crate::balancer::{Balancer, quoted};
use catamaran_testkit::{Process, request_bytes};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// A balancer `web` before a backend `app` with these servers, one worker, and its admin socket.
/// `admin` are further lines of `[admin]`, `backend` of the backend.
pub(crate) fn steered(servers: &[SocketAddr], admin: &str, backend: &str) -> Balancer {
    Balancer::start(&config(servers, admin, backend))
}

/// The configuration of [`steered`].
pub(crate) fn config(servers: &[SocketAddr], admin: &str, backend: &str) -> String {
    format!(
        "# the whole\n[process]\nworkers = 1\n[admin]\nsocket = \"admin.sock\"\n{admin}\n\
         [backend.app] # of the shop\nservers = {} # both\n{backend}\n\
         [frontend.web]\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n",
        quoted(servers)
    )
}

/// Where the admin socket of [`steered`] is.
pub(crate) fn socket_of(process: &Process) -> PathBuf {
    process.dir().path().join("admin.sock")
}

/// Asks over the socket; returns the status and the document.
pub(crate) fn ask(balancer: &Balancer, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(socket_of(&balancer.process)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let fields = ["Host: localhost", "Content-Type: application/json"];
    send(&mut stream, method, path, &fields, body.as_bytes())
}

/// Asks over TCP with these fields.
pub(crate) fn ask_tcp(
    addr: SocketAddr,
    method: &str,
    path: &str,
    fields: &[&str],
    body: &str,
) -> (u16, Value) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    send(&mut stream, method, path, fields, body.as_bytes())
}

/// Sends a request and reads the answer to its end.
pub(crate) fn send(
    stream: &mut (impl Read + Write),
    method: &str,
    path: &str,
    fields: &[&str],
    body: &[u8],
) -> (u16, Value) {
    let mut all = vec!["Connection: close"];
    all.extend(fields);
    let bytes = request_bytes(method, path, &all, body);
    stream.write_all(&bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

/// The state without what changes by itself.
pub(crate) fn lasting_state(balancer: &Balancer) -> Value {
    let (status, state) = ask(balancer, "GET", "/v1/state", "");
    assert_eq!(status, 200);
    let mut lasting = Vec::new();
    for backend in state["backends"].as_array().unwrap() {
        for server in backend["servers"].as_array().unwrap() {
            let keys = ["name", "address", "admin", "health_override", "weight"];
            lasting.extend(keys.map(|key| server[key].clone()));
        }
    }
    lasting.push(state["process"]["log_level"].clone());
    lasting.push(state["process"]["readiness"].clone());
    // A configuration that was refused is told of, but serves not.
    let config = &state["process"]["config"];
    lasting.extend([config["digest"].clone(), config["generation"].clone()]);
    Value::Array(lasting)
}
