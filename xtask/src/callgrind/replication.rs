//! What replication costs on the path of a request: the instructions of the worker, with and without
//! a peer that is told of everything.
//!
//! Every request is of a client that was never seen, so that each makes an entry that the peer is to
//! hear of. The counts of threads are kept apart: what the thread of the mesh does is told, but not
//! judged, since it depends on how long valgrind takes.

use std::fs;

use anyhow::{Context, Result, bail};
use catamaran_testkit::{Client, Origin, Process, Program, TempDir, free_addr};

use super::{FEW, MANY, PATIENCE};
use crate::shell;

/// The most that the worker is to need more with a peer, and how far a count may lie above it: each
/// differs from the next by one percent.
const MOST: f64 = 1.03;
const TOLERANCE: f64 = 0.02;

/// What a request does, and the lines of the frontend and of the backend that make it so.
const CASES: [(&str, &str, &str); 2] = [
    ("stick", "", STICK),
    (
        "stick and rate limit",
        "rate-limit = { requests = 1000000, burst = 1000000, by = \"header:x-client\" }",
        STICK,
    ),
];
const STICK: &str = "stick = { on = \"header:x-client\", for = \"1h\" }";

/// Measures, and fails where it costs too much.
pub(super) fn run() -> Result<()> {
    let mut dear = Vec::new();
    for (name, frontend, backend) in CASES {
        let per_request = |has_peer| -> Result<Vec<u64>> {
            let few = threads(FEW, frontend, backend, has_peer)?;
            let many = threads(MANY, frontend, backend, has_peer)?;
            Ok(difference(&few, &many, MANY - FEW))
        };
        let (off, on) = (per_request(false)?, per_request(true)?);
        // Without a peer hardly anybody else has anything to do. The workers begin in both cases before
        // replication does.
        let worker = (0..off.len()).max_by_key(|thread| off[*thread]);
        let worker = worker.context("no thread did anything")?;
        let with_peer = on.get(worker).copied().unwrap_or_default();
        let ratio = with_peer as f64 / off[worker] as f64;
        shell::say(&format!(
            "{name}: {} instructions of the worker per request, {with_peer} with a peer, {ratio:.3} of \
             that (at most {MOST}); each thread {off:?} and {on:?}",
            off[worker]
        ));
        if ratio > MOST + TOLERANCE {
            dear.push(name);
        }
    }
    if !dear.is_empty() {
        bail!("replication costs too much: {}", dear.join(", "));
    }
    Ok(())
}

/// What each of so many more requests cost each thread.
fn difference(few: &[u64], many: &[u64], requests: u64) -> Vec<u64> {
    let before = few.iter().chain(std::iter::repeat(&0));
    let more = many.iter().zip(before);
    more.map(|(many, few)| many.saturating_sub(*few) / requests)
        .collect()
}

/// Counts the instructions of each thread of a proxy that gets this many requests.
fn threads(requests: u64, frontend: &str, backend: &str, has_peer: bool) -> Result<Vec<u64>> {
    let origin = Origin::fixed(200, &"x".repeat(128))
        .without_records()
        .start()?;
    let (listen, dir) = (free_addr()?, TempDir::create()?);
    let nodes = [free_addr()?, free_addr()?];
    let config = |name: &str, listen: &str| {
        let cluster = match (has_peer, name) {
            (false, _) => String::new(),
            (true, "a") => cluster(&dir, ("a", "b"), nodes)?,
            (true, _) => cluster(&dir, ("b", "a"), [nodes[1], nodes[0]])?,
        };
        let text = format!(
            "[process]\nworkers = 1\n{cluster}\n\
             [frontend.bench]\nlisten = [\"{listen}\"]\nbackend = \"origins\"\n{frontend}\n\
             [backend.origins]\nservers = [\"{}\"]\n{backend}\n\
             health = {{ http = \"/health\", interval = \"1h\" }}\n",
            origin.addr()
        );
        anyhow::Ok(dir.write(&format!("{name}.toml"), &text)?)
    };
    let catamaran = std::env::current_dir()?.join("target/release/catamaran");
    let peer = match has_peer {
        false => None,
        true => {
            let peer = Program::new(&catamaran)?.args(["run", "--no-supervisor", "-c"]);
            Some(peer.arg(config("b", "127.0.0.1:0")?).start()?)
        }
    };
    let out = dir.path().join("counts");
    let mut process = Program::new("valgrind")?
        .args(["--tool=callgrind", "--separate-threads=yes"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(&catamaran)
        .args(["run", "--no-supervisor", "-c"])
        .arg(config("a", &listen.to_string())?)
        .start()?;
    process.wait_for_port(listen, PATIENCE)?;
    if has_peer {
        process.wait_for_stderr("peer is connected", PATIENCE)?;
    }
    ask(&process, Client::connect(listen)?, requests)?;
    process.terminate()?;
    process.wait(PATIENCE)?;
    drop(peer);
    counts(&dir)
}

/// Sends requests, each of a client of its own, on one connection.
fn ask(process: &Process, mut client: Client, requests: u64) -> Result<()> {
    client.set_patience(PATIENCE)?;
    for number in 0..requests {
        let field = format!("x-client: {number}");
        let response = client
            .request("GET", "/", &[&field], b"")
            .with_context(|| format!("request {number}: {}", process.stderr()))?;
        if response.status != 200 {
            bail!("request {number} got {}", response.status);
        }
    }
    Ok(())
}

/// The section of the node and its peer, at these addresses.
fn cluster(
    dir: &TempDir,
    (name, peer): (&str, &str),
    [own, other]: [std::net::SocketAddr; 2],
) -> Result<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let secret = dir.write("secret", &"a".repeat(64))?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
    Ok(format!(
        "[cluster]\nnode = \"{name}\"\nlisten = \"{own}\"\npeers = {{ {peer} = \"{other}\" }}\n\
         secret-file = \"{}\"\n",
        secret.display()
    ))
}

/// Reads what callgrind wrote for each thread, in the order in which they began.
fn counts(dir: &TempDir) -> Result<Vec<u64>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir.path())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("counts-") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        bail!("callgrind wrote no counts");
    }
    files
        .iter()
        .map(|file| total(&fs::read_to_string(file)?))
        .collect()
}

/// Reads the count out of the line `totals: COUNT` of a file.
fn total(text: &str) -> Result<u64> {
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix("totals: "));
    let count = line.context("callgrind's file has no totals")?;
    Ok(count.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_requests_cost_is_told_for_each_thread() {
        assert_eq!(difference(&[1000, 50], &[1010, 90, 20], 10), [1, 4, 2]);
    }

    #[test]
    fn the_total_is_read_from_the_last_lines() {
        assert_eq!(
            total("events: Ir\nfn=(1)\n5 7\n\ntotals: 42\n").unwrap(),
            42
        );
        assert!(total("events: Ir\n").is_err());
    }
}
