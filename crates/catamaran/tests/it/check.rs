//! `catamaran check`, and what `run` says of a configuration that it cannot take.

use crate::{PATIENCE, catamaran};
use catamaran_testkit::{Process, TempDir};

const GOOD: &str = r#"
[frontend.web]
listen = ["127.0.0.1:0", "127.0.0.2:0"]
backend = "api"

[backend.api]
servers = ["10.0.0.1:80"]
"#;

const BAD: &str = r#"
[frontend.web]
listen = "127.0.0.1:0"
backend = "apl"
colour = "red"

[backend.api]
servers = ["10.0.0.1:80"]
"#;

/// Runs `command` on a file with `config` to its end.
fn ended(command: &str, config: &str) -> (Process, Option<i32>) {
    let dir = TempDir::create().unwrap();
    let file = dir.write("c.toml", config).unwrap();
    let mut process = catamaran(&[command, "-c"]).arg(file).start().unwrap();
    let code = process.wait(PATIENCE).unwrap().code();
    (process, code)
}

#[test]
fn a_good_file_is_counted() {
    let (process, code) = ended("check", GOOD);
    let expected = "c.toml: ok: 1 frontend, 2 listeners, 0 routes, 1 backend, 1 server";
    process.wait_for_stdout(expected, PATIENCE).unwrap();
    assert_eq!(code, Some(0));
}

#[test]
fn every_error_of_a_bad_file_is_printed_with_its_place() {
    for command in ["check", "run"] {
        let (process, code) = ended(command, BAD);
        process.wait_for_stderr("c.toml:4:11: ", PATIENCE).unwrap();
        process.wait_for_stderr("c.toml:5:1: ", PATIENCE).unwrap();
        assert_eq!(code, Some(1));
    }
}

#[test]
fn a_missing_file_is_named() {
    let mut process = catamaran(&["check", "-c", "nowhere.toml"]).start().unwrap();
    assert_eq!(process.wait(PATIENCE).unwrap().code(), Some(1));
    process.wait_for_stderr("nowhere.toml", PATIENCE).unwrap();
}

#[test]
fn without_any_file_the_places_that_were_searched_are_named() {
    if std::path::Path::new("/etc/catamaran/catamaran.toml").exists() {
        eprintln!("skipped: this machine has a configuration");
        return;
    }
    let mut process = catamaran(&["run"]).start().unwrap();
    assert_eq!(process.wait(PATIENCE).unwrap().code(), Some(1));
    process
        .wait_for_stderr("./catamaran.toml", PATIENCE)
        .unwrap();
    process.wait_for_stderr("--listen ADDR", PATIENCE).unwrap();
}
