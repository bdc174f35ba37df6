//! Another number of workers while the old one serves.

use crate::balancer::{Balancer, quoted};
use crate::eventually;
use crate::trial::rounds;
use catamaran_testkit::{Client, Load, Origin, Signal, free_addr};
use std::net::SocketAddr;

fn config(workers: usize, listen: &[SocketAddr], server: SocketAddr) -> String {
    format!(
        "[process]\nworkers = {workers}\n[frontend.web]\nlisten = {}\nbackend = \"app\"\n\
         [backend.app]\nservers = [\"{server}\"]\n",
        quoted(listen)
    )
}

/// Worker threads of the data process.
fn threads(balancer: &Balancer) -> usize {
    let data = balancer.process.pids()[1];
    let threads = std::fs::read_dir(format!("/proc/{data}/task")).unwrap();
    let names = threads.filter_map(|thread| {
        let name = thread.ok()?.path().join("comm");
        std::fs::read_to_string(name).ok()
    });
    names.filter(|name| name.starts_with("worker-")).count()
}

#[test]
fn workers_come_and_go_under_load_and_nobody_is_refused() {
    let origin = Origin::fixed(200, "up").without_records().start().unwrap();
    let (one, two) = (free_addr().unwrap(), free_addr().unwrap());
    let balancer = Balancer::start(&config(2, &[one], origin.addr()));
    let kept = Load::new(one, 150.0).max_in_flight(16).start();
    let fresh = Load::new(one, 150.0)
        .without_keep_alive()
        .max_in_flight(16)
        .start();
    let mut lasting = Client::connect(one).unwrap();
    assert_eq!(lasting.get("/").unwrap().text(), "up");
    let mut count = 0;
    for round in 0..rounds(50) {
        // A listener that is opened with few workers, and then served by more, and the other way.
        for (workers, listen) in [
            (1, &[one][..]),
            (1, &[one, two]),
            (4, &[one, two]),
            (3, &[one]),
            (2, &[one]),
        ] {
            count += 1;
            balancer.reload(&config(workers, listen, origin.addr()), count);
            for address in listen {
                for _ in 0..8 {
                    let mut client = Client::connect(*address).unwrap();
                    assert_eq!(client.get("/").unwrap().text(), "up", "round {round}");
                }
            }
            assert_eq!(lasting.get("/").unwrap().text(), "up");
        }
    }
    for load in [kept, fresh] {
        let report = load.stop();
        assert!(report.failures() == 0 && report.ok > 0, "{report:?}");
    }
    assert_eq!(threads(&balancer), 4);
    assert!(!balancer.process.stderr().contains("panicked"));
}

#[test]
fn a_data_process_killed_after_a_change_of_workers_serves_from_all_sockets() {
    let origin = Origin::fixed(200, "up").start().unwrap();
    let port = free_addr().unwrap();
    let balancer = Balancer::start(&config(4, &[port], origin.addr()));
    balancer.reload(&config(1, &[port], origin.addr()), 1);
    let data = balancer.process.pids()[1];
    catamaran_testkit::signal_pid(data, Signal::KILL).unwrap();
    eventually("the next data process", || {
        (balancer.process.stderr().matches(" serving").count() == 2).then_some(())
    });
    assert_eq!(threads(&balancer), 1);
    // The kernel spreads clients over four sockets, of which every one has an owner.
    for _ in 0..40 {
        let mut client = Client::connect(port).unwrap();
        assert_eq!(client.get("/").unwrap().text(), "up");
    }
}
