//! Limits on bytes in a time: what passes, how fast, and who shares it.

use crate::PATIENCE;
use crate::balancer::{Balancer, pattern};
use catamaran_testkit::{Client, Origin, Reply, http_get, tunnel};
use std::thread;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

/// A server that answers with `len` bytes of the pattern.
fn origin(len: usize) -> Origin {
    let body = pattern(len);
    Origin::http(move |_| Reply::new(200, body.clone()))
        .start()
        .unwrap()
}

/// Has `work` done, which moves `bytes` at `rate` bytes a second: it takes as long as it must, but
/// for what a bucket gives at once, and not much longer even on a busy machine.
fn paced<T>(bytes: usize, rate: usize, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    let took = began.elapsed();
    let least = Duration::from_secs_f64(bytes as f64 / rate as f64 * 0.9);
    assert!(took >= least, "{took:?} instead of {least:?}");
    assert!(
        took < least * 4 + PATIENCE / 4,
        "{took:?} instead of {least:?}"
    );
    done
}

#[test]
fn bodies_of_http_pass_whole_at_the_rate_that_is_written() {
    let origin = origin(3 * MIB);
    let lines = "bandwidth = { out = \"1MiB/s\" }";
    let balancer = Balancer::http(&[origin.addr()], lines, "");
    let answer = paced(3 * MIB, MIB, || http_get(balancer.addr(), "/").unwrap());
    assert!(answer.body == pattern(3 * MIB));
}

#[test]
fn small_answers_over_one_connection_are_counted_together() {
    let origin = origin(64 * 1024);
    let lines = "bandwidth = { out = \"512KiB/s\" }";
    let balancer = Balancer::http(&[origin.addr()], lines, "");
    let mut client = balancer.connect();
    paced(16 * 64 * 1024, MIB / 2, || {
        for _ in 0..16 {
            assert_eq!(client.get("/").unwrap().body.len(), 64 * 1024);
        }
    });
}

#[test]
fn both_directions_of_a_tunnel_are_limited_and_lose_nothing() {
    let origin = Origin::tcp(tunnel::echo()).start().unwrap();
    for lines in [
        "bandwidth = { in = \"2MiB/s\" }",
        "bandwidth = { out = \"2MiB/s\" }",
    ] {
        let balancer = Balancer::tcp(&[origin.addr()], lines, "");
        let sent = pattern(6 * MIB);
        let received = paced(6 * MIB, 2 * MIB, || {
            let stream = std::net::TcpStream::connect(balancer.addr()).unwrap();
            let mut back = Client::from_stream(stream.try_clone().unwrap()).unwrap();
            let bytes = sent.clone();
            let writer = thread::spawn(move || {
                std::io::Write::write_all(&mut &stream, &bytes).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
            });
            let received = back.receive_to_end().unwrap();
            writer.join().unwrap();
            received
        });
        assert!(received == sent);
    }
}

#[test]
fn those_who_share_a_limit_get_it_together() {
    let origin = origin(MIB);
    for per in ["frontend", "source"] {
        let lines = format!("bandwidth = {{ out = \"2MiB/s\", per = \"{per}\" }}");
        let balancer = Balancer::http(&[origin.addr()], &lines, "");
        let addr = balancer.addr();
        paced(4 * MIB, 2 * MIB, || {
            let clients: Vec<_> = (0..4)
                .map(|_| thread::spawn(move || http_get(addr, "/").unwrap().body.len()))
                .collect();
            for client in clients {
                assert_eq!(client.join().unwrap(), MIB);
            }
        });
    }
}
