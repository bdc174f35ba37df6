//! The usual admin socket: where it lies, and what is left of it.

use crate::{PATIENCE, echo};
use catamaran_testkit::Program;
use std::net::SocketAddr;

fn program(server: SocketAddr) -> Program {
    let text = format!(
        "[process]\nworkers = 1\n[backend.app]\nservers = [\"{server}\"]\n\
         [frontend.web]\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n"
    );
    Program::run_config(env!("CARGO_BIN_EXE_catamaran"), &text).unwrap()
}

#[test]
fn the_socket_lies_where_systemd_says_and_is_gone_after_a_stop() {
    let (_server, server) = echo("Coucou", &[]);
    let mut process = program(server).start().unwrap();
    // A stop before that is none of a process that serves.
    process.wait_for_stderr("serving pid", PATIENCE).unwrap();
    let directory = process.dir().path().join("catamaran");
    let count = || std::fs::read_dir(&directory).unwrap().count();
    assert!(directory.join("admin.sock").exists());
    assert_eq!(count(), 1);
    process.terminate().unwrap();
    assert!(process.wait(PATIENCE).unwrap().success());
    assert_eq!(count(), 0);
}

#[test]
fn without_a_place_for_the_socket_the_remedy_is_told() {
    let (_server, server) = echo("Coucou", &[]);
    let program = program(server).env("RUNTIME_DIRECTORY", "/proc/nowhere");
    let mut process = program.start().unwrap();
    let remedy = format!(
        "`install -d -o {} /proc/nowhere`",
        catamaran_sys::identity::own_name()
    );
    process.wait_for_stderr(&remedy, PATIENCE).unwrap();
    process.terminate().unwrap();
    assert!(process.wait(PATIENCE).unwrap().success());
}
