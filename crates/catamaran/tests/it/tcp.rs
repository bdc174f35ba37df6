//! TCP through the whole program: ends and resets passed on, limits, timeouts, families.

use crate::balancer::{Balancer, pattern};
use crate::{PATIENCE, catamaran, eventually};
use catamaran_testkit::{
    Client, Origin, ReservedPort, TagChecker, WireError, shortest, tcp_exchange, tunnel,
};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

fn echo_server() -> Origin {
    Origin::tcp(tunnel::echo()).start().unwrap()
}

/// What a server saw of its connection's end.
type Seen = mpsc::Receiver<Result<usize, std::io::ErrorKind>>;

/// A server that greets, then reads to the end and tells how that came.
fn witness() -> (Origin, Seen) {
    let (tell, seen) = mpsc::channel();
    let tell = Mutex::new(tell);
    let origin = Origin::tcp(Arc::new(move |mut stream: TcpStream| {
        stream.write_all(b"hello").unwrap();
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest).map_err(|error| error.kind());
        tell.lock().unwrap().send(end).unwrap();
    }))
    .start()
    .unwrap();
    (origin, seen)
}

#[test]
fn a_client_that_ends_its_side_still_gets_everything() {
    let server = echo_server();
    let balancer = Balancer::tcp(&[server.addr()], "", "");
    assert_eq!(
        tcp_exchange(balancer.addr(), b"hi there").unwrap(),
        b"hi there"
    );
    assert_eq!(tcp_exchange(balancer.addr(), b"").unwrap(), b"");
}

#[test]
fn a_server_that_ends_its_side_still_gets_everything() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let server = Origin::tcp(Arc::new(move |mut stream: TcpStream| {
        stream.write_all(b"bye").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        tell.lock().unwrap().send(got).unwrap();
    }))
    .start()
    .unwrap();
    let balancer = Balancer::tcp(&[server.addr()], "", "");
    let mut client = balancer.connect();
    assert_eq!(client.receive_to_end().unwrap(), b"bye");
    client.send(b"and much more").unwrap();
    client.half_close().unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), b"and much more");
}

#[test]
fn a_reset_by_the_client_reaches_the_server_as_one() {
    let (server, seen) = witness();
    let balancer = Balancer::tcp(&[server.addr()], "", "");
    let mut client = balancer.connect();
    assert_eq!(client.receive(5).unwrap(), b"hello");
    client.reset().unwrap();
    let end = seen.recv_timeout(PATIENCE).unwrap();
    assert_eq!(end, Err(std::io::ErrorKind::ConnectionReset));
}

#[test]
fn an_ordinary_close_by_the_client_is_no_reset() {
    let (server, seen) = witness();
    let balancer = Balancer::tcp(&[server.addr()], "", "");
    let mut client = balancer.connect();
    assert_eq!(client.receive(5).unwrap(), b"hello");
    drop(client);
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), Ok(0));
}

#[test]
fn a_reset_by_the_server_reaches_the_client_as_one() {
    let server = echo_server();
    let balancer = Balancer::tcp(&[server.addr()], "", "");
    let mut client = balancer.connect();
    client.send(b"x").unwrap();
    assert_eq!(client.receive(1).unwrap(), b"x");
    server.reset_connections();
    assert_eq!(client.receive_some(), Err(WireError::Reset));
}

#[test]
fn bytes_of_every_amount_arrive_whole_both_ways_at_once() {
    let server = echo_server();
    let balancer = Balancer::tcp(&[server.addr()], "", "");
    for size in [1, 65_536, 200_001, 32 << 20] {
        let bytes = pattern(size);
        let mut client = balancer.connect();
        let mut writer = client.stream().try_clone().unwrap();
        let sent = bytes.clone();
        let sender = thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        assert!(client.receive_to_end().unwrap() == bytes, "{size} bytes");
        sender.join().unwrap();
    }
}

#[test]
fn a_flow_may_turn_from_interactive_to_bulky_and_back() {
    let server = echo_server();
    let balancer = Balancer::tcp(&[server.addr()], "", "");
    let mut client = balancer.connect();
    for _ in 0..3 {
        for _ in 0..50 {
            client.send(b"ping").unwrap();
            assert_eq!(client.receive(4).unwrap(), b"ping");
        }
        let bytes = pattern(3_000_001);
        let mut writer = client.stream().try_clone().unwrap();
        let sent = bytes.clone();
        let sender = thread::spawn(move || writer.write_all(&sent).unwrap());
        assert!(client.receive(bytes.len()).unwrap() == bytes);
        sender.join().unwrap();
    }
}

#[test]
fn no_byte_of_one_flow_reaches_another() {
    let server = Origin::tcp(tunnel::tagged(0, 2_000_000)).start().unwrap();
    let balancer = Balancer::tcp(&[server.addr()], "", "");
    let clients = Client::connect_many(balancer.addr(), 16);
    thread::scope(|scope| {
        for client in clients {
            let mut client = client.unwrap();
            scope.spawn(move || {
                let owner = client.receive(4).unwrap().try_into().unwrap();
                let mut checker = TagChecker::new(u32::from_be_bytes(owner));
                while let Some(bytes) = client.receive_some().unwrap() {
                    checker.check(&bytes).unwrap();
                }
                assert_eq!(checker.checked(), 2_000_000);
            });
        }
    });
}

#[test]
fn a_client_that_does_not_read_does_not_make_memory_grow() {
    let server = Origin::tcp(tunnel::tagged(0, 400_000_000)).start().unwrap();
    let balancer = Balancer::tcp(&[server.addr()], "", "");
    let before = balancer.process.usage().unwrap().resident_bytes;
    let clients: Vec<_> = (0..10).map(|_| balancer.connect()).collect();
    for client in &clients {
        eventually("the first bytes", || {
            client
                .stream()
                .peek(&mut [0])
                .is_ok_and(|got| got > 0)
                .then_some(())
        });
    }
    // Nothing tells when nothing more will come: look until it has been still for a while.
    let mut seen = (0, Instant::now());
    eventually("a standstill", || {
        let cpu = balancer.process.usage().unwrap().cpu().as_millis();
        if cpu != seen.0 {
            seen = (cpu, Instant::now());
        }
        (seen.1.elapsed() > Duration::from_millis(300)).then_some(())
    });
    let after = balancer.process.usage().unwrap().resident_bytes;
    assert!(
        after.saturating_sub(before) < 8 << 20,
        "{before} -> {after}"
    );
}

#[test]
fn a_server_that_cannot_be_reached_is_passed_over() {
    let server = Origin::tcp(tunnel::banner("ok")).start().unwrap();
    let dead = ReservedPort::any().unwrap();
    let balancer = Balancer::tcp(
        &[dead.addr(), server.addr()],
        "",
        "balance = \"round-robin\"",
    );
    for _ in 0..10 {
        assert_eq!(tcp_exchange(balancer.addr(), b"hi").unwrap(), b"ok");
    }
}

#[test]
fn without_any_server_the_connection_is_reset_and_not_just_closed() {
    let dead = ReservedPort::any().unwrap();
    let balancer = Balancer::tcp(&[dead.addr()], "", "");
    assert_eq!(turned_away(&balancer), WireError::Reset);
}

#[test]
fn connecting_to_a_server_is_given_up_after_its_time() {
    // Listens, but its queue is full: further connections are neither accepted nor refused.
    let silent = silent_listener();
    let addr = silent.0.local_addr().unwrap();
    let backend = "timeouts = { connect = \"200ms\" }\nretry = { max-tries = 0 }";
    let balancer = Balancer::tcp(&[addr], "", backend);
    // 3.5 s if it is not told otherwise.
    let bound = Duration::from_secs(3);
    let took = shortest(bound, || {
        assert_eq!(turned_away(&balancer), WireError::Reset);
    });
    assert!(took >= Duration::from_millis(200), "{took:?}");
    assert!(took < bound, "{took:?}");
}

#[test]
fn a_server_that_does_not_answer_connecting_is_passed_over_after_its_time() {
    let silent = silent_listener();
    let server = Origin::tcp(tunnel::banner("ok")).start().unwrap();
    let servers = [silent.0.local_addr().unwrap(), server.addr()];
    let backend = "balance = \"first\"\ntimeouts = { connect = \"100ms\" }";
    let balancer = Balancer::tcp(&servers, "", backend);
    assert_eq!(tcp_exchange(balancer.addr(), b"hi").unwrap(), b"ok");
}

#[test]
fn an_idle_connection_is_closed_on_both_sides_after_its_time() {
    let (server, seen) = witness();
    let balancer = Balancer::tcp(&[server.addr()], "timeouts = { tunnel = \"3s\" }", "");
    let began = Instant::now();
    let mut client = balancer.connect();
    assert_eq!(client.receive(5).unwrap(), b"hello");
    assert_eq!(client.receive_some(), Ok(None));
    assert!(began.elapsed() >= Duration::from_millis(2990));
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), Ok(0));
}

#[test]
fn traffic_in_one_direction_keeps_a_connection() {
    let server = Origin::tcp(tunnel::sink()).start().unwrap();
    let balancer = Balancer::tcp(&[server.addr()], "timeouts = { tunnel = \"4s\" }", "");
    let mut client = balancer.connect();
    let mut sent = Instant::now();
    let mut unbroken_since = sent;
    eventually("more than its time without a pause of half of it", || {
        if sent.elapsed() > Duration::from_secs(2) {
            client = balancer.connect();
            unbroken_since = Instant::now();
        }
        sent = Instant::now();
        client.send(b"x").unwrap();
        thread::sleep(Duration::from_millis(50));
        (unbroken_since.elapsed() > Duration::from_secs(5)).then_some(())
    });
    client.set_patience(Duration::from_millis(1)).unwrap();
    assert_eq!(client.receive_some(), Err(WireError::Timeout));
}

#[test]
fn a_frontend_holds_at_most_its_connections_and_the_rest_wait() {
    let server = echo_server();
    let balancer = Balancer::tcp(&[server.addr()], "max-connections = 2", "");
    let mut clients: Vec<_> = (0..5).map(|_| balancer.connect()).collect();
    let mut served = Vec::new();
    for client in &mut clients {
        client.send(b"x").unwrap();
    }
    for _ in 0..5 {
        let at = eventually("an answer to somebody", || {
            (0..clients.len()).find(|&at| {
                let stream = clients[at].stream();
                stream.set_nonblocking(true).unwrap();
                let is_there = stream.peek(&mut [0]).is_ok();
                stream.set_nonblocking(false).unwrap();
                is_there && !served.contains(&at)
            })
        });
        // One that is over may not have been closed yet; one too many would stay.
        eventually("two connections at most", || {
            (server.open() <= 2).then_some(())
        });
        served.push(at);
        clients[at].half_close().unwrap();
        assert_eq!(clients[at].receive_to_end().unwrap(), b"x");
    }
}

#[test]
fn connections_of_one_source_are_limited_and_others_are_not() {
    let server = echo_server();
    let balancer = Balancer::tcp(&[server.addr()], "max-connections-per-source = 2", "");
    let mut held: Vec<_> = (0..2).map(|_| balancer.connect()).collect();
    for client in &mut held {
        client.send(b"x").unwrap();
        assert_eq!(client.receive(1).unwrap(), b"x");
    }
    assert_eq!(turned_away(&balancer), WireError::Reset);
    let mut other = Client::connect_from([127, 0, 0, 2].into(), balancer.addr()).unwrap();
    other.send(b"y").unwrap();
    assert_eq!(other.receive(1).unwrap(), b"y");
    drop(held);
    eventually("room for the source again", || {
        (tcp_exchange(balancer.addr(), b"z").ok()? == b"z").then_some(())
    });
}

#[test]
fn connections_beyond_the_rate_are_closed() {
    let server = echo_server();
    let limit = "rate-limit = { requests = 3, per = \"1h\" }";
    let balancer = Balancer::tcp(&[server.addr()], limit, "");
    for _ in 0..3 {
        assert_eq!(tcp_exchange(balancer.addr(), b"x").unwrap(), b"x");
    }
    assert_eq!(turned_away(&balancer), WireError::Reset);
}

#[test]
fn connections_above_a_servers_limit_wait_for_room_in_their_order() {
    for limit in ["max-requests = 1", "max-connections = 1"] {
        let server = echo_server();
        // One worker, so that they are accepted in the order in which they came.
        let balancer = Balancer::start(&format!(
            "[process]\nworkers = 1\n[frontend.web]\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n\
             [backend.app]\nservers = [{{ address = \"{}\", {limit} }}]\n\
             queue = {{ timeout = \"1m\" }}\n",
            server.addr()
        ));
        let mut clients: Vec<Client> = Vec::new();
        for _ in 0..4 {
            let mut client = balancer.connect();
            client.send(b"x").unwrap();
            clients.push(client);
        }
        for mut client in clients {
            client.half_close().unwrap();
            assert_eq!(client.receive_to_end().unwrap(), b"x", "{limit}");
            eventually("one connection at most", || {
                (server.open() <= 1).then_some(())
            });
        }
    }
}

#[test]
fn a_queue_has_an_end_and_waiting_in_it_too() {
    let server = echo_server();
    let balancer = Balancer::start(&format!(
        "[frontend.web]\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n\
         [backend.app]\nservers = [{{ address = \"{}\", max-requests = 1 }}]\n\
         queue = {{ max-waiting = 1, timeout = \"300ms\" }}\n",
        server.addr()
    ));
    let mut held = balancer.connect();
    held.send(b"x").unwrap();
    assert_eq!(held.receive(1).unwrap(), b"x");
    let began = Instant::now();
    let mut waiting = balancer.connect();
    // The queue is full: the second one is turned away at once, which its connect may see already.
    if let Ok(mut refused) = Client::connect(balancer.addr()) {
        assert_eq!(refused.receive_some(), Err(WireError::Reset));
    }
    assert_eq!(waiting.receive_some(), Err(WireError::Reset));
    let ended = began.elapsed();
    assert!(ended >= Duration::from_millis(250), "{ended:?}");
    held.send(b"y").unwrap();
    assert_eq!(held.receive(1).unwrap(), b"y");
}

#[test]
fn both_address_families_serve_and_are_served() {
    let six: SocketAddr = "[::1]:0".parse().unwrap();
    if TcpListener::bind(six).is_err() {
        // A machine without IPv6 has nothing to show here.
        return;
    }
    let server = Origin::tcp(tunnel::banner("six")).at(six).start().unwrap();
    let balancer = Balancer::start(&format!(
        "[frontend.web]\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n\
         [frontend.six]\nprotocol = \"tcp\"\nlisten = \"[::1]:0\"\nbackend = \"app\"\n\
         [backend.app]\nservers = [\"{}\"]\n",
        server.addr()
    ));
    for frontend in ["web", "six"] {
        let addr = balancer.addr_of(frontend);
        assert_eq!(addr.is_ipv6(), frontend == "six");
        assert_eq!(tcp_exchange(addr, b"").unwrap(), b"six");
    }
}

#[test]
fn a_server_may_be_a_unix_socket() {
    let dir = catamaran_testkit::TempDir::create().unwrap();
    let path = dir.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            thread::spawn(move || {
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).unwrap();
                stream.write_all(&bytes).unwrap();
            });
        }
    });
    let balancer = Balancer::start(&format!(
        "[frontend.web]\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n\
         [backend.app]\nservers = [\"unix:{}\"]\n",
        path.display()
    ));
    assert_eq!(tcp_exchange(balancer.addr(), b"hi").unwrap(), b"hi");
    let bytes = pattern(3_000_000);
    let mut client = balancer.connect();
    client.send(&bytes).unwrap();
    client.half_close().unwrap();
    assert!(client.receive_to_end().unwrap() == bytes);
}

#[test]
fn an_http_server_may_be_a_unix_socket() {
    let dir = catamaran_testkit::TempDir::create().unwrap();
    let path = dir.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut buf = [0; 4096];
            assert!(stream.read(&mut buf).unwrap() > 0);
            let body = pattern(500_000);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream
                .write_all(&[head.as_bytes(), &body].concat())
                .unwrap();
        }
    });
    let balancer = Balancer::start(&format!(
        "[frontend.web]\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n\
         [backend.app]\nservers = [\"unix:{}\"]\n",
        path.display()
    ));
    for _ in 0..2 {
        assert!(balancer.connect().get("/").unwrap().body == pattern(500_000));
    }
}

#[test]
fn ad_hoc_relaying_of_tcp_needs_no_file() {
    let server = Origin::tcp(tunnel::banner("raw")).start().unwrap();
    let process = catamaran(&["run", "--tcp", "--listen", "127.0.0.1:0"])
        .args(["--server", &server.addr().to_string()])
        .start()
        .unwrap();
    process.wait_for_stderr(" serving", PATIENCE).unwrap();
    let log = process.stderr();
    let (_, address) = log.split_once("address=").unwrap();
    let address = address.split_whitespace().next().unwrap().parse().unwrap();
    assert_eq!(tcp_exchange(address, b"\0\r\n").unwrap(), b"raw");
}

#[test]
fn the_process_holds_at_most_its_connections_over_all_frontends() {
    let server = echo_server();
    let balancer = Balancer::start(&format!(
        "[process]\nmax-connections = 1\n[frontend.web]\nprotocol = \"tcp\"\n\
         listen = \"127.0.0.1:0\"\nbackend = \"app\"\n[frontend.other]\nprotocol = \"tcp\"\n\
         listen = \"127.0.0.1:0\"\nbackend = \"app\"\n[backend.app]\nservers = [\"{}\"]\n",
        server.addr()
    ));
    let mut held = balancer.connect();
    held.send(b"x").unwrap();
    assert_eq!(held.receive(1).unwrap(), b"x");
    let mut other = Client::connect(balancer.addr_of("other")).unwrap();
    other.send(b"y").unwrap();
    other.set_patience(Duration::from_millis(200)).unwrap();
    assert_eq!(other.receive(1), Err(WireError::Timeout));
    drop(held);
    other.set_patience(PATIENCE).unwrap();
    assert_eq!(other.receive(1).unwrap(), b"y");
}

/// How a new connection ends that is not served; it may be over before it is seen to stand.
fn turned_away(balancer: &Balancer) -> WireError {
    match Client::connect(balancer.addr()) {
        Err(error) => error.into(),
        Ok(mut client) => client.receive_some().unwrap_err(),
    }
}

/// A listener whose queue is full, with the connections that fill it.
fn silent_listener() -> (TcpListener, Vec<TcpStream>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    socket.listen(0).unwrap();
    let listener: TcpListener = socket.into();
    let addr = listener.local_addr().unwrap();
    let mut filling = Vec::new();
    // A queue of length 0 takes one connection, on some kernels two.
    while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(100)) {
        filling.push(stream);
    }
    (listener, filling)
}
