//! `catamaran probe`, the health check of images without a shell.

use crate::{PATIENCE, catamaran};
use catamaran_testkit::{Ending, Origin, Process, Reply, free_addr};
use std::net::SocketAddr;

/// Asks `/ready` there and returns the exit code with the process, for what it said.
fn probe(address: SocketAddr, more: &[&str]) -> (Option<i32>, Process) {
    let url = format!("http://{address}/ready");
    let mut process = catamaran(&["probe", &url])
        .args(more.iter().copied())
        .start()
        .unwrap();
    let code = process.wait(PATIENCE).unwrap().code();
    (code, process)
}

#[test]
fn an_answer_of_class_2xx_is_a_success() {
    let origin = Origin::fixed(204, "").start().unwrap();
    assert_eq!(probe(origin.addr(), &[]).0, Some(0));
    assert_eq!(origin.requests()[0].target, "/ready");
}

#[test]
fn any_other_answer_is_a_failure_that_names_the_status() {
    let origin = Origin::fixed(503, "draining").start().unwrap();
    let (code, process) = probe(origin.addr(), &[]);
    assert_eq!(code, Some(1));
    process.wait_for_stderr("status 503", PATIENCE).unwrap();
}

#[test]
fn nobody_there_is_a_failure() {
    let (code, process) = probe(free_addr().unwrap(), &[]);
    assert_eq!(code, Some(1));
    process.wait_for_stderr("refused", PATIENCE).unwrap();
}

#[test]
fn a_server_that_never_answers_is_a_failure_in_time() {
    let origin = Origin::http(|_| Reply::nothing(Ending::Hang))
        .start()
        .unwrap();
    let (code, _) = probe(origin.addr(), &["--timeout", "200ms"]);
    assert_eq!(code, Some(1));
}
