//! The case `tracing`: what OpenTelemetry's own messages make of the bytes that a collector gets.
//!
//! The collector is a Python program of a few lines over `opentelemetry-proto`, which the OpenTelemetry
//! project makes from the same definitions as its collectors are made from.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use catamaran_testkit::{Client, Ending, Origin, Process, Program, Reply, Request};
use serde_json::Value;

use crate::interop::browser::program;
use crate::shell;

/// Runs the case.
pub(super) fn run() -> Result<()> {
    install()?;
    let (collector, address) = start_collector()?;
    // Whoever gets the first request closes without an answer; then all is well.
    let is_first = Arc::new(AtomicBool::new(true));
    let start = || {
        let is_first = Arc::clone(&is_first);
        let script = move |_: &Request| match is_first.swap(false, Ordering::Relaxed) {
            true => Reply::nothing(Ending::Close),
            false => Reply::new(200, "hello"),
        };
        Origin::http(script).start()
    };
    let (one, two) = (start()?, start()?);
    let config = format!(
        "[process]\nworkers = 1\n[tracing]\nendpoint = \"http://{address}\"\nsample = \"100%\"\n\
         parents = \"all\"\nresource = {{ \"deployment.environment.name\" = \"interop\" }}\n\
         [frontend.web]\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n\
         [backend.app]\nservers = [\"{}\", \"{}\"]\nbalance = \"round-robin\"\n",
        one.addr(),
        two.addr()
    );
    let balancer = Program::run_config(&program()?, &config)?.start()?;
    balancer.wait_for_stderr(" serving", PATIENCE)?;
    let listening = balancer.stderr();
    let (_, rest) = listening
        .split_once("listening frontend=\"web\" address=")
        .context("the address of the frontend is not told")?;
    let frontend: SocketAddr = rest.split_whitespace().next().unwrap_or_default().parse()?;
    let fields = [
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate: congo=t61rcWkgMzE",
    ];
    for _ in 0..2 {
        let answer = Client::connect(frontend)?.request("GET", "/a", &fields, b"")?;
        ensure!(
            answer.status == 200,
            "the balancer answers {}",
            answer.status
        );
    }
    // Two exchanges, one of which was tried twice.
    let mut lines = Vec::new();
    collector.wait_for_stdout("\"spans\": 5", PATIENCE)?;
    for line in collector.stdout().lines() {
        let value: Value = serde_json::from_str(line).context("the collector writes JSON")?;
        lines.push(value);
    }
    judge(&lines)
}

/// Looks at what the collector has read.
fn judge(lines: &[Value]) -> Result<()> {
    let spans: Vec<&Value> = lines
        .iter()
        .filter_map(|line| line["read"].as_array())
        .flatten()
        .collect();
    let of = |kind: &str| {
        let all = spans.iter().filter(|span| span["kind"] == kind);
        all.copied().collect::<Vec<_>>()
    };
    let (server, client) = (of("SPAN_KIND_SERVER"), of("SPAN_KIND_CLIENT"));
    ensure!((server.len(), client.len()) == (2, 3), "{spans:#?}");
    for span in &spans {
        let expected = [
            ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
            ("trace_state", "congo=t61rcWkgMzE"),
            ("environment", "interop"),
            ("service", "catamaran"),
            ("scope", "catamaran"),
        ];
        for (name, value) in expected {
            ensure!(span[name] == value, "{name} of {span:#?}");
        }
        let times = (span["began"].as_u64(), span["ended"].as_u64());
        ensure!(times.0 <= times.1 && times.0 > Some(0), "{span:#?}");
    }
    for span in &server {
        ensure!(span["parent_id"] == "00f067aa0ba902b7", "{span:#?}");
        ensure!(span["attributes"]["url.path"] == "/a", "{span:#?}");
    }
    for span in &client {
        let is_child = server.iter().any(|s| s["span_id"] == span["parent_id"]);
        ensure!(is_child, "{span:#?}");
    }
    let failed = client
        .iter()
        .filter(|span| span["status"] == "STATUS_CODE_ERROR");
    ensure!(failed.count() == 1, "{client:#?}");
    shell::say("2 exchanges and 3 tries are read by opentelemetry-proto as they were sent");
    Ok(())
}

fn start_collector() -> Result<(Process, SocketAddr)> {
    let script = Path::new(VENV).join("collector.py");
    fs::write(&script, COLLECTOR)?;
    let python = std::path::absolute(PYTHON)?;
    let collector = Program::new(python)?
        .arg("-u")
        .arg(std::path::absolute(script)?)
        .start()?;
    collector.wait_for_stdout("\n", PATIENCE)?;
    let first = collector.stdout();
    let first: Value = serde_json::from_str(first.lines().next().unwrap_or_default())?;
    let port = first["port"]
        .as_u64()
        .and_then(|port| u16::try_from(port).ok());
    let port = port.context("the collector does not say its port")?;
    Ok((collector, SocketAddr::from(([127, 0, 0, 1], port))))
}

/// Installs the library beside the other things that are built.
fn install() -> Result<()> {
    if shell::works(PYTHON, &["-c", "import opentelemetry.proto"]) {
        return Ok(());
    }
    shell::run("python3", &["-m", "venv", "--clear", VENV])
        .context("python3 has no venv: apt-get install -y python3-venv")?;
    let pip = ["-m", "pip", "install", "--quiet"];
    let quiet = ["--disable-pip-version-check", "--only-binary=:all:"];
    let from = ["--require-hashes", "--requirement", LIBRARY];
    shell::run(PYTHON, &[&pip[..], &quiet, &from].concat())
}

/// Reads what it is sent, and writes it as one line of JSON. What it cannot read, or does not know,
/// it refuses.
const COLLECTOR: &str = r#"
import http.server, json
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.trace.v1 import trace_pb2 as trace

count = 0

def value(any):
    return getattr(any, any.WhichOneof("value"))

def read(request):
    for group in request.resource_spans:
        resource = {a.key: value(a.value) for a in group.resource.attributes}
        for scope in group.scope_spans:
            for span in scope.spans:
                yield {
                    "trace_id": span.trace_id.hex(),
                    "span_id": span.span_id.hex(),
                    "parent_id": span.parent_span_id.hex(),
                    "trace_state": span.trace_state,
                    "kind": trace.Span.SpanKind.Name(span.kind),
                    "status": trace.Status.StatusCode.Name(span.status.code),
                    "began": span.start_time_unix_nano,
                    "ended": span.end_time_unix_nano,
                    "attributes": {a.key: value(a.value) for a in span.attributes},
                    "environment": resource["deployment.environment.name"],
                    "service": resource["service.name"],
                    "scope": scope.scope.name,
                }

class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        global count
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = service.ExportTraceServiceRequest()
        request.ParseFromString(body)
        known = service.ExportTraceServiceRequest()
        known.CopyFrom(request)
        known.DiscardUnknownFields()
        right = self.headers["Content-Type"] == "application/x-protobuf"
        right = right and known.ByteSize() == len(body) and self.path == "/v1/traces"
        spans = list(read(request)) if right else []
        count += len(spans)
        answer = service.ExportTraceServiceResponse().SerializeToString()
        self.send_response(200 if right else 400)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        print(json.dumps({"read": spans, "spans": count}))

    def log_message(self, *words):
        pass

server = http.server.HTTPServer(("127.0.0.1", 0), Collector)
print(json.dumps({"port": server.server_port}))
server.serve_forever()
"#;

const LIBRARY: &str = ".ci/otlp.txt";
const VENV: &str = "target/interop-tracing";
const PYTHON: &str = "target/interop-tracing/bin/python";
const PATIENCE: Duration = Duration::from_secs(30);
