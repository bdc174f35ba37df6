//! `catamaran ctl` against the real program: what it prints, its exit codes, its waits.

use crate::balancer::Balancer;
use crate::operator::{ask, config, socket_of, steered};
use crate::{PATIENCE, catamaran, eventually};
use catamaran_testkit::{Client, Origin, Process, tunnel};
use serde_json::Value;
use std::process::ExitStatus;

/// What a command came to.
struct Done {
    status: ExitStatus,
    process: Process,
}

impl Done {
    fn code(&self) -> Option<i32> {
        self.status.code()
    }

    fn stdout(&self) -> String {
        self.process.stdout()
    }

    fn stderr(&self) -> String {
        self.process.stderr()
    }
}

/// Runs `catamaran ctl` with these words against `balancer`.
fn ctl(balancer: &Balancer, words: &[&str]) -> Done {
    let socket = socket_of(&balancer.process);
    let program = catamaran(&["ctl", "--socket", socket.to_str().unwrap()]);
    let mut process = program.args(words.iter().copied()).start().unwrap();
    let status = process.wait(PATIENCE).unwrap();
    // Its pipes are read by threads: all is there once they have seen the end.
    std::thread::yield_now();
    Done { status, process }
}

/// As [`ctl`], once stdout holds `text`.
fn says(balancer: &Balancer, words: &[&str], text: &str) {
    let done = ctl(balancer, words);
    done.process.wait_for_stdout(text, PATIENCE).unwrap();
    assert_eq!(done.code(), Some(0), "{}", done.stderr());
}

/// As [`ctl`], refused with this exit code and `text` on stderr.
fn refused(balancer: &Balancer, words: &[&str], code: i32, text: &str) {
    let done = ctl(balancer, words);
    done.process.wait_for_stderr(text, PATIENCE).unwrap();
    assert_eq!(done.code(), Some(code), "{}", done.stdout());
}

#[test]
fn every_kind_of_thing_is_shown_without_colours_in_a_pipe() {
    let a = Origin::fixed(200, "a").start().unwrap();
    let stick = "stick = { on = \"source-ip\", for = \"1h\" }";
    let balancer = steered(&[a.addr()], "", stick);
    let server = format!("app/{}", a.addr());
    says(&balancer, &["status"], "BACKEND");
    says(&balancer, &["status"], "web");
    says(&balancer, &["servers"], &server);
    says(&balancer, &["server", &server], "takes traffic");
    says(&balancer, &["tables"], "source-ip");
    says(&balancer, &["events"], "started");
    says(&balancer, &["config", "show"], "# of the shop");
    says(&balancer, &["log-level"], "info");
    says(&balancer, &["metrics"], "catamaran_build_info");
    says(
        &balancer,
        &["table", "app", "set", "10.0.0.1", &a.addr().to_string()],
        "10.0.0.1",
    );
    says(&balancer, &["table", "app", "list"], "10.0.0.1");
    let done = ctl(&balancer, &["status"]);
    assert!(!done.stdout().contains('\x1b'));
    let done = ctl(&balancer, &["--json", "servers"]);
    done.process.wait_for_stdout("]\n", PATIENCE).unwrap();
    let servers: Value = eventually("the whole document", || {
        serde_json::from_str(&done.stdout()).ok()
    });
    assert_eq!(servers[0]["name"], "app");
}

#[test]
fn workers_addresses_tables_and_the_configuration_are_shown_and_events_followed() {
    let a = Origin::fixed(200, "a").start().unwrap();
    let stick = "stick = { on = \"source-ip\", for = \"1h\" }";
    let balancer = steered(&[a.addr()], "", stick);
    says(&balancer, &["workers"], "PANICS");
    says(&balancer, &["virtual-ips"], "ACTIVE NODE");
    says(&balancer, &["config", "status"], "generation  1");
    let server = a.addr().to_string();
    says(
        &balancer,
        &["table", "app", "set", "10.0.0.9", &server],
        "10.0.0.9",
    );
    says(&balancer, &["table", "app", "clear"], "forgotten: 1");
    let socket = socket_of(&balancer.process);
    let follow = [
        "ctl",
        "--socket",
        socket.to_str().unwrap(),
        "events",
        "--follow",
    ];
    let follower = catamaran(&follow).start().unwrap();
    follower.wait_for_stdout("started", PATIENCE).unwrap();
    says(&balancer, &["log-level", "debug"], "log level debug");
    follower
        .wait_for_stdout("log level debug", PATIENCE)
        .unwrap();
    follower
        .wait_for_stdout("admin socket, pid ", PATIENCE)
        .unwrap();
}

#[test]
fn a_change_says_how_long_it_lasts() {
    let a = Origin::fixed(200, "a").start().unwrap();
    let b = Origin::fixed(200, "b").start().unwrap();
    let balancer = steered(&[a.addr(), b.addr()], "", "");
    let server = format!("app/{}", a.addr());
    let memory = "lasts until the service stops";
    says(&balancer, &["server", &server, "weight", "5"], memory);
    says(&balancer, &["server", &server, "maintenance"], memory);
    says(&balancer, &["server", &server, "enable"], memory);
    says(&balancer, &["server", &server, "health", "down"], memory);
    says(&balancer, &["server", "add", "app", "127.0.0.1:9"], memory);
    says(&balancer, &["server", "remove", "app/127.0.0.1:9"], memory);
    says(&balancer, &["log-level", "debug"], memory);
    let file = "written into the configuration file";
    says(
        &balancer,
        &["server", &server, "weight", "6", "--persist"],
        file,
    );
    let text = std::fs::read_to_string(balancer.process.config_path()).unwrap();
    assert!(
        text.contains("weight = 6") && text.contains("# both"),
        "{text}"
    );
}

#[test]
fn a_mistake_is_told_with_the_nearest_name_and_its_exit_code() {
    let a = Origin::fixed(200, "a").start().unwrap();
    let balancer = steered(&[a.addr()], "", "");
    let server = format!("app/{}", a.addr());
    refused(&balancer, &["servers", "apq"], 1, "did you mean `app`?");
    refused(
        &balancer,
        &["server", "app/nobody", "drain"],
        1,
        "has no server `nobody`",
    );
    refused(
        &balancer,
        &["server", "nobody", "drain"],
        1,
        "BACKEND/SERVER",
    );
    refused(&balancer, &["server", "drain"], 1, "BACKEND/SERVER");
    refused(
        &balancer,
        &["server", &server, "weight", "many"],
        2,
        "0 to 256, or `configured`",
    );
    refused(
        &balancer,
        &["server", &server, "weight", "300"],
        2,
        "0 to 256",
    );
    refused(&balancer, &["sevrers"], 2, "servers");
    refused(
        &balancer,
        &["config", "check", "/nowhere.toml"],
        1,
        "cannot be read",
    );
    let nobody = catamaran(&["ctl", "--socket", "/nowhere.sock", "status"]);
    let mut nobody = nobody.start().unwrap();
    assert_eq!(nobody.wait(PATIENCE).unwrap().code(), Some(3));
    nobody
        .wait_for_stderr("no catamaran answers", PATIENCE)
        .unwrap();
}

#[test]
fn a_drain_is_waited_for_until_the_last_connection_has_left() {
    let origin = Origin::tcp(tunnel::echo()).start().unwrap();
    let text = config(&[origin.addr()], "", "");
    let balancer =
        Balancer::start(&text.replace("[frontend.web]", "[frontend.web]\nprotocol = \"tcp\""));
    let server = format!("app/{}", origin.addr());
    let mut client = Client::connect(balancer.addr()).unwrap();
    client.send(b"x").unwrap();
    assert_eq!(client.receive(1).unwrap(), b"x");
    let words = ["server", &server, "drain", "--wait", "--timeout", "100ms"];
    refused(&balancer, &words, 4, "still has 1 in flight");
    // It goes on: nothing was cut.
    client.send(b"y").unwrap();
    assert_eq!(client.receive(1).unwrap(), b"y");
    drop(client);
    says(
        &balancer,
        &["server", &server, "drain", "--wait"],
        "is drained",
    );
}

#[test]
fn a_file_is_checked_compared_and_put_in_place() {
    let a = Origin::fixed(200, "a").start().unwrap();
    let b = Origin::fixed(200, "b").start().unwrap();
    let balancer = steered(&[a.addr()], "", "");
    let dir = balancer.process.dir();
    let bad = dir.write("bad.toml", "[frontend.w]\n").unwrap();
    let bad = bad.to_str().unwrap();
    refused(&balancer, &["config", "check", bad], 1, "bad.toml:1:");
    refused(&balancer, &["config", "apply", bad], 1, "bad.toml:1:");
    let good = dir
        .write("good.toml", &config(&[a.addr(), b.addr()], "", ""))
        .unwrap();
    let good = good.to_str().unwrap();
    says(&balancer, &["config", "check", good], "ok");
    says(&balancer, &["config", "diff", good], &b.addr().to_string());
    says(&balancer, &["reload", "--dry-run"], "nothing would change");
    says(&balancer, &["config", "apply", good], "in place until");
    let count = || {
        let (_, backend) = ask(&balancer, "GET", "/v1/backends/app", "");
        backend["servers"].as_array().unwrap().len()
    };
    assert_eq!(count(), 2);
    says(&balancer, &["reload"], "in place");
    assert_eq!(count(), 1);
    says(
        &balancer,
        &["config", "apply", good, "--persist"],
        "in place",
    );
    let text = std::fs::read_to_string(balancer.process.config_path()).unwrap();
    assert!(text.contains(&b.addr().to_string()));
    assert_eq!(count(), 2);
}
