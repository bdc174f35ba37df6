//! Load tests over several agents, each a process of its own on this machine.

use crate::{PATIENCE, catamaran, eventually};
use catamaran_testkit::{Origin, Process, Signal, TempDir};
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

/// Agents, and what a coordinator needs.
struct Field {
    dir: TempDir,
    secret: PathBuf,
    agents: Vec<Process>,
    addresses: Vec<String>,
    origin: Origin,
}

impl Field {
    fn of(agents: usize) -> Self {
        let dir = TempDir::create().unwrap();
        let secret = secret(&dir, "agents.key", "5e");
        let mut field = Self {
            dir,
            secret,
            agents: Vec::new(),
            addresses: Vec::new(),
            origin: Origin::fixed(200, "x").start().unwrap(),
        };
        for _ in 0..agents {
            let path = field.secret.to_str().unwrap();
            let agent = catamaran(&["load", "agent", "--listen", "127.0.0.1:0"])
                .args(["--secret-file", path])
                .start()
                .unwrap();
            let line = eventually("the agent's address", || {
                let told = agent.stderr();
                told.lines().next().map(str::to_owned)
            });
            let address = line.rsplit(' ').next().unwrap().to_owned();
            field.addresses.push(address);
            field.agents.push(agent);
        }
        field
    }

    fn url(&self) -> String {
        format!("http://{}", self.origin.addr())
    }

    /// Starts a run of this script, written here, over all agents.
    fn start(&self, script: &str, more: &[&str]) -> Process {
        let path = self.dir.write("test.js", script).unwrap();
        self.start_target(path.to_str().unwrap(), more)
    }

    fn start_target(&self, target: &str, more: &[&str]) -> Process {
        catamaran(&["load", target, "--quiet"])
            .args(["--agents", &self.addresses.join(",")])
            .args(["--secret-file", self.secret.to_str().unwrap()])
            .args(["--json=run.json"])
            .args(more.iter().copied())
            .env("ORIGIN", &self.url())
            .start()
            .unwrap()
    }

    /// Paths that were asked for.
    fn asked(&self) -> Vec<String> {
        let requests = self.origin.requests();
        requests.into_iter().map(|request| request.target).collect()
    }
}

/// A file with a secret that only its owner may read.
fn secret(dir: &TempDir, name: &str, byte: &str) -> PathBuf {
    let path = dir.write(name, &byte.repeat(32)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// How it ended: exit status, and all it said.
fn ended(run: &mut Process) -> (i32, String) {
    let status = run.wait(PATIENCE).unwrap();
    let said = format!("{}{}", run.stdout(), run.stderr());
    (status.code().unwrap(), said)
}

fn document(run: &Process) -> Value {
    let text = std::fs::read(run.dir().path().join("run.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn count(document: &Value, metric: &str) -> f64 {
    document["metrics"][metric]["count"].as_f64().unwrap_or(0.0)
}

#[test]
fn a_script_with_all_that_belongs_to_it_runs_on_three_agents_as_on_one_machine() {
    let field = Field::of(3);
    let lib = field.dir.path().join("lib");
    std::fs::create_dir(&lib).unwrap();
    std::fs::write(lib.join("words.txt"), "one,two,three").unwrap();
    std::fs::write(
        lib.join("words.js"),
        "import { SharedArray } from 'k6/data';\n\
        export const words = new SharedArray('words', () => open('./words.txt').split(','));",
    )
    .unwrap();
    let script = r"
        import http from 'k6/http';
        import exec from 'k6/execution';
        import { check, group } from 'k6';
        import { Counter, Trend } from 'k6/metrics';
        import { words } from './lib/words.js';
        const own = new Trend('own_numbers');
        const seen = new Counter('own_sum');
        export const options = {
          scenarios: {
            shared: { executor: 'shared-iterations', vus: 7, iterations: 200, exec: 'numbered' },
            each: { executor: 'per-vu-iterations', vus: 5, iterations: 4, exec: 'named' },
          },
          thresholds: { own_numbers: ['max==199', 'min==0', 'med==99.5', 'p(95)>189', 'p(95)<189.1'], checks: ['rate==1'],
            'http_reqs{scenario:each}': ['count==20'] },
        };
        export function setup() {
          http.get(`${__ENV.ORIGIN}/setup`);
          return { token: `for ${__ENV.WHO}` };
        }
        export function numbered(data) {
          const n = exec.scenario.iterationInTest;
          own.add(n);
          seen.add(1);
          check(data, { 'setup is known': (d) => d.token === 'for me' });
          http.get(`${__ENV.ORIGIN}/${words[n % words.length]}/${n}`);
        }
        export function named() {
          group('named', () => http.get(`${__ENV.ORIGIN}/vu/${exec.vu.idInTest}/${__ITER}`));
        }
        export function teardown(data) { http.get(`${__ENV.ORIGIN}/teardown?${data.token.length}`); }
    ";
    let mut run = field.start(script, &["-e", "WHO=me"]);
    let (code, said) = ended(&mut run);
    assert_eq!(code, 0, "{said}");
    let asked = field.asked();
    let with = |part: &str| asked.iter().filter(|path| path.contains(part)).count();
    assert_eq!((with("/setup"), with("/teardown?6")), (1, 1), "{asked:?}");
    // Each iteration has a number of its own, of all agents together.
    let distinct: BTreeSet<&String> = asked.iter().collect();
    assert_eq!((asked.len(), distinct.len()), (222, 222), "{asked:?}");
    assert_eq!((with("/three/"), with("/two/")), (66, 67));
    let told = document(&run);
    assert_eq!(count(&told, "own_sum"), 200.0);
    assert_eq!(count(&told, "iterations"), 220.0);
    assert_eq!(count(&told, "http_reqs"), 222.0);
    assert_eq!(told["run"]["agents"].as_array().unwrap().len(), 3);
    assert_eq!(told["run"]["passed"], true, "{said}");
    // All of them took part.
    for agent in &field.agents {
        agent.wait_for_stderr("of ", PATIENCE).unwrap();
    }
}

#[test]
fn every_tick_of_an_open_model_begins_once_over_three_agents() {
    let field = Field::of(3);
    let script = r"
        import http from 'k6/http';
        import exec from 'k6/execution';
        export const options = { scenarios: { steady: { executor: 'constant-arrival-rate', rate: 60, duration: '3s',
          preAllocatedVUs: 12, maxVUs: 60 } } };
        export default function () { http.get(`${__ENV.ORIGIN}/${exec.scenario.iterationInTest}`); }
    ";
    let mut run = field.start(script, &["--on-overload", "queue"]);
    let (code, said) = ended(&mut run);
    assert_eq!(code, 0, "{said}");
    let asked: BTreeSet<String> = field.asked().into_iter().collect();
    let due: BTreeSet<String> = (0..180).map(|n| format!("/{n}")).collect();
    assert_eq!(asked, due);
    assert_eq!(field.origin.requests().len(), 180);
}

#[test]
fn a_run_without_a_script_is_split_and_its_data_goes_along() {
    let field = Field::of(2);
    let data = field.dir.write("data.txt", "what is sent").unwrap();
    let url = field.url();
    let more = [
        "--rate",
        "40",
        "--duration",
        "2s",
        "--data-file",
        data.to_str().unwrap(),
        "--threshold",
        "http_req_failed:rate==0",
    ];
    let mut run = field.start_target(&url, &more);
    let (code, said) = ended(&mut run);
    assert_eq!(code, 0, "{said}");
    let requests = field.origin.requests();
    assert_eq!(requests.len(), 80);
    assert!(
        requests
            .iter()
            .all(|request| &*request.body.content == b"what is sent")
    );
    assert_eq!(count(&document(&run), "http_reqs"), 80.0);
}

/// Virtual users that ask again and again.
const ENDLESS: &str = "import http from 'k6/http'; import { sleep } from 'k6';\n\
    export const options = { vus: 6, duration: __ENV.FOR };\n\
    export default function () { http.get(`${__ENV.ORIGIN}/${__VU}`); sleep(0.02); }";

#[test]
fn a_run_that_loses_an_agent_goes_on_and_is_marked_incomplete() {
    let mut field = Field::of(3);
    let more = ["-e", "FOR=6s", "--report", "run.html", "--junit", "run.xml"];
    let mut run = field.start(ENDLESS, &more);
    assert!(field.origin.wait_for_requests(100, PATIENCE));
    field.agents[1].kill().unwrap();
    let (code, said) = ended(&mut run);
    assert_eq!(code, 103, "{said}");
    let lost = &field.addresses[1];
    assert!(said.contains(&format!("agent {lost} was lost")), "{said}");
    assert!(said.contains("INCOMPLETE"), "{said}");
    let told = document(&run);
    assert_eq!(told["run"]["passed"], false);
    assert_eq!(told["run"]["incomplete"], true);
    assert_eq!(told["run"]["lost_agents"][0]["agent"], **lost, "{told}");
    let share = told["run"]["lost_agents"][0]["share"].as_f64().unwrap();
    assert!((share - 1.0 / 3.0).abs() < 0.01, "{share}");
    // The others went on to the end.
    assert!(told["run_seconds"].as_f64().unwrap() > 5.9, "{told}");
    let read = |name: &str| std::fs::read_to_string(run.dir().path().join(name)).unwrap();
    assert!(read("run.html").contains("incomplete"));
    assert!(read("run.xml").contains("was lost"));
}

#[test]
fn a_run_that_loses_an_agent_ends_where_that_is_asked_for() {
    let mut field = Field::of(2);
    let mut run = field.start(ENDLESS, &["-e", "FOR=1h", "--on-agent-loss", "abort"]);
    assert!(field.origin.wait_for_requests(50, PATIENCE));
    field.agents[0].kill().unwrap();
    let (code, said) = ended(&mut run);
    assert_eq!(code, 103, "{said}");
    assert!(said.contains("http_reqs"), "{said}");
    let how = document(&run)["run"]["ended"].to_string();
    assert!(how.contains("loss of an agent"), "{how}");
}

#[test]
fn agents_are_free_again_when_their_coordinator_is_killed_and_turn_others_away_before() {
    let field = Field::of(2);
    let mut first = field.start(ENDLESS, &["-e", "FOR=1h"]);
    assert!(field.origin.wait_for_requests(50, PATIENCE));
    let mut second = field.start(ENDLESS, &["-e", "FOR=1s"]);
    let (code, said) = ended(&mut second);
    assert_eq!(code, 107, "{said}");
    assert!(said.contains("busy with another run"), "{said}");
    first.kill().unwrap();
    for agent in &field.agents {
        eventually("the end of the run", || {
            agent.stderr().contains("stopped: ").then_some(())
        });
    }
    let mut third = eventually("free agents", || {
        let mut third = field.start(ENDLESS, &["-e", "FOR=1s"]);
        (ended(&mut third).0 != 107).then_some(third)
    });
    let (code, said) = ended(&mut third);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn an_agent_that_stops_in_its_tracks_is_lost_and_others_take_over_once_it_must_have_given_up() {
    let field = Field::of(2);
    let more = ["-e", "FOR=14s", "--on-agent-loss", "takeover"];
    let mut run = field.start(ENDLESS, &more);
    assert!(field.origin.wait_for_requests(50, PATIENCE));
    field.agents[0].hang().unwrap();
    let (code, said) = ended(&mut run);
    // It had not reported what it did for as long as nobody knew.
    assert_eq!(code, 103, "{said}");
    assert!(said.contains("nothing was heard of it for 10 s"), "{said}");
    assert!(said.contains("others have its"), "{said}");
    // When it wakes up, it finds that it is alone, and is free for the next.
    field.agents[0].resume().unwrap();
    eventually("its end of the run", || {
        field.agents[0].stderr().contains("stopped: ").then_some(())
    });
}

#[test]
fn agents_stop_by_themselves_when_their_coordinator_says_nothing_any_more() {
    let field = Field::of(2);
    let run = field.start(ENDLESS, &["-e", "FOR=1h"]);
    assert!(field.origin.wait_for_requests(50, PATIENCE));
    run.hang().unwrap();
    for agent in &field.agents {
        eventually("the end of the run", || {
            let told = agent.stderr();
            told.contains("stopped: nothing was heard of it for 5 s")
                .then_some(())
        });
    }
}

#[test]
fn a_signal_ends_a_run_on_agents_with_its_summary() {
    let field = Field::of(2);
    let mut run = field.start(ENDLESS, &["-e", "FOR=1h"]);
    assert!(field.origin.wait_for_requests(50, PATIENCE));
    run.signal(Signal::INT).unwrap();
    let (code, said) = ended(&mut run);
    assert_eq!(code, 105, "{said}");
    assert!(said.contains("http_reqs"), "{said}");
}

#[test]
fn agents_that_cannot_take_part_are_named_before_the_start() {
    let field = Field::of(1);
    let wrong = secret(&field.dir, "wrong.key", "aa");
    let open = field.dir.write("open.key", &"aa".repeat(32)).unwrap();
    let url = field.url();
    let address = field.addresses[0].as_str();
    let own = field.secret.to_str().unwrap();
    let wrong = wrong.to_str().unwrap();
    let twice = format!("{address},{address}");
    for (agents, secret, more, code, told) in [
        (address, wrong, &[][..], 107, "does not know the secret"),
        ("127.0.0.1:1", own, &[], 107, "is an agent running there?"),
        (twice.as_str(), own, &[], 107, "named twice"),
        ("127.0.0.1", own, &[], 104, "has no port"),
        (address, open.to_str().unwrap(), &[], 104, "chmod 600"),
        (address, own, &["--out", "csv=x.csv"], 104, "--out (x.csv)"),
        (address, own, &["--find-max", "p(99)<1s"], 104, "--find-max"),
    ] {
        let mut run = catamaran(&["load", &url, "--agents", agents, "--secret-file", secret])
            .args(more.iter().copied())
            .start()
            .unwrap();
        let (status, said) = ended(&mut run);
        assert_eq!(status, code, "{told}: {said}");
        assert!(said.contains(told), "{told}: {said}");
    }
    assert!(field.origin.requests().is_empty());
    let agent = catamaran(&["load", "agent", "--listen", "127.0.0.1:0"]).start();
    let (_, said) = ended(&mut agent.unwrap());
    assert!(said.contains("openssl rand"), "{said}");
}

#[test]
fn a_script_that_agents_read_differently_is_refused() {
    let field = Field::of(1);
    let chance = "import { Counter } from 'k6/metrics';\n\
        new Counter(`m_${Math.random()}`.replace('.', '_'));\n\
        export default function () {}";
    let late = "if (__VU > 0) { open('./other.txt'); }\n\
        export default function () {}";
    std::fs::write(field.dir.path().join("other.txt"), "x").unwrap();
    for (script, told) in [(chance, "other metrics or scenarios"), (late, "other.txt")] {
        let mut run = field.start(script, &[]);
        let (code, said) = ended(&mut run);
        assert_eq!(code, 107, "{said}");
        assert!(said.contains(told), "{said}");
    }
}

#[test]
fn others_take_over_from_an_agent_that_is_lost() {
    let mut field = Field::of(3);
    let script = r"
        import http from 'k6/http';
        import exec from 'k6/execution';
        export const options = { scenarios: {
          steady: { executor: 'constant-arrival-rate', rate: 90, duration: '8s', preAllocatedVUs: 12, maxVUs: 60 },
          each: { executor: 'per-vu-iterations', vus: 6, iterations: 60, exec: 'slow', maxDuration: '1m' },
          shared: { executor: 'shared-iterations', vus: 6, iterations: 300, exec: 'numbered', maxDuration: '1m' },
        } };
        export default function () { http.get(`${__ENV.ORIGIN}/tick`); }
        export function slow() { http.get(`${__ENV.ORIGIN}/vu/${__VU}`); exec.instance; wait(); }
        export function numbered() { http.get(`${__ENV.ORIGIN}/n/${exec.scenario.iterationInTest}`); wait(); }
        import { sleep } from 'k6';
        function wait() { sleep(0.1); }
    ";
    let mut run = field.start(
        script,
        &["--on-agent-loss", "takeover", "--on-overload", "queue"],
    );
    // Three of eight seconds are over.
    assert!(field.origin.wait_for_requests(600, PATIENCE));
    field.agents[2].kill().unwrap();
    let (code, said) = ended(&mut run);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("others have its"), "{said}");
    let told = document(&run);
    assert_eq!(told["run"]["incomplete"], false);
    assert_eq!(told["run"]["lost_agents"][0]["taken_over"], true, "{told}");
    let asked = field.asked();
    let with = |part: &str| asked.iter().filter(|path| path.starts_with(part)).count();
    // All ticks but for those between the loss and the moment when others had made their virtual users.
    assert!((600..=720).contains(&with("/tick")), "{}", with("/tick"));
    // Each number is there; some of the last second that the lost one did not report are there again.
    let distinct: BTreeSet<&String> = asked
        .iter()
        .filter(|path| path.starts_with("/n/"))
        .collect();
    assert_eq!(distinct.len(), 300);
    for vu in asked.iter().filter(|path| path.starts_with("/vu/")) {
        let count = asked.iter().filter(|path| *path == vu).count();
        assert!((60..=90).contains(&count), "{vu}: {count}");
    }
    let vus: BTreeSet<&String> = asked
        .iter()
        .filter(|path| path.starts_with("/vu/"))
        .collect();
    assert_eq!(vus.len(), 6, "{vus:?}");
}
