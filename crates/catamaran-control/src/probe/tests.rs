//! Checks against sockets of the test itself.

use super::*;
use catamaran_core::model::StatusRange;
use tokio::net::{TcpListener, UnixListener};

const LONG: Duration = Duration::from_secs(10);

async fn listen() -> (TcpListener, Target) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let target = Target::Ip(listener.local_addr().unwrap());
    (listener, target)
}

/// A server that answers the first request with `response`, then closes.
async fn answering(response: &'static [u8]) -> (Target, tokio::task::JoinHandle<String>) {
    let (listener, target) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 1024];
        let read = stream.read(&mut request).await.unwrap();
        stream.write_all(response).await.unwrap();
        String::from_utf8(request[..read].to_vec()).unwrap()
    });
    (target, server)
}

fn http(path: &str) -> Check {
    Check::Http(HttpCheck::new(path))
}

async fn result_of(response: &'static [u8]) -> Finding {
    let (target, _server) = answering(response).await;
    probe(&target, &http("/"), LONG).await
}

#[tokio::test]
async fn a_tcp_check_passes_without_waking_the_server() {
    let (listener, target) = listen().await;
    assert_eq!(probe(&target, &Check::Tcp, LONG).await, Finding::Pass);
    let client = socket_for(listener.local_addr().unwrap()).unwrap();
    let client = client
        .connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    // The first that is accepted is the one made after the check.
    let (_, accepted) = listener.accept().await.unwrap();
    assert_eq!(accepted, client.local_addr().unwrap());
}

#[tokio::test]
async fn a_datagram_fails_where_nobody_listens_and_passes_where_somebody_is_silent() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = Target::Ip(silent.local_addr().unwrap());
    assert_eq!(probe(&target, &Check::Udp, LONG).await, Finding::Pass);
    drop(silent);
    let refused = Finding::Fail(Failure::Io(io::ErrorKind::ConnectionRefused));
    assert_eq!(probe(&target, &Check::Udp, LONG).await, refused);
}

#[tokio::test]
async fn a_refused_connection_fails_with_that_reason() {
    // Bound, so that nobody else gets the port, but never listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let target = Target::Ip(socket.local_addr().unwrap());
    for check in [Check::Tcp, http("/")] {
        let Finding::Fail(failure) = probe(&target, &check, LONG).await else {
            panic!("a closed port passed");
        };
        assert_eq!(failure.to_string(), "connection refused");
    }
}

#[tokio::test]
async fn an_http_check_sends_what_it_promises_and_passes() {
    let (target, server) = answering(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let result = probe(&target, &http("/health?x=1"), LONG).await;
    assert_eq!(result, Finding::Pass);
    let request = server.await.unwrap();
    let Target::Ip(address) = target else {
        unreachable!("listen() gives an address")
    };
    assert_eq!(
        request,
        format!(
            "GET /health?x=1 HTTP/1.1\r\nHost: {address}\r\nUser-Agent: catamaran-check\r\n\
             Accept: */*\r\nConnection: close\r\n\r\n"
        )
    );
}

#[tokio::test]
async fn a_status_is_judged_by_the_expected_ranges() {
    let failed = result_of(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(failed, Finding::Fail(Failure::Status(500)));

    let (target, _server) = answering(b"HTTP/1.0 503 \r\n\r\n").await;
    let check = Check::Http(HttpCheck {
        expect: vec![StatusRange {
            first: 500,
            last: 599,
        }],
        ..HttpCheck::new("/")
    });
    assert_eq!(probe(&target, &check, LONG).await, Finding::Pass);
}

#[tokio::test]
async fn interim_responses_are_passed_over() {
    let result =
        result_of(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 \r\n\r\n").await;
    assert_eq!(result, Finding::Fail(Failure::Status(404)));
}

#[tokio::test]
async fn what_is_no_whole_http_head_fails() {
    for (response, error) in [
        (
            &b"SSH-2.0-OpenSSH_9.6\r\n"[..],
            ResponseError::VersionInvalid,
        ),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", ResponseError::StatusInvalid),
        (
            b"HTTP/2.0 200 OK\r\n\r\n",
            ResponseError::VersionUnsupported,
        ),
    ] {
        let failed = Finding::Fail(Failure::Invalid(error));
        assert_eq!(result_of(response).await, failed);
    }
    let cut = Finding::Fail(Failure::Cut);
    assert_eq!(result_of(b"HTTP/1.1 200 OK\r\nContent-Le").await, cut);
}

#[tokio::test]
async fn an_endless_head_is_given_up() {
    let (listener, target) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await.unwrap();
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    });
    let result = probe(&target, &http("/"), LONG).await;
    assert_eq!(result.reason(), "invalid response: head too large");
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_times_out() {
    let (_listener, target) = listen().await;
    let timeout = Duration::from_secs(1);
    let result = probe(&target, &http("/"), timeout).await;
    assert_eq!(result, Finding::Fail(Failure::Timeout(timeout)));
    assert_eq!(Failure::Timeout(timeout).to_string(), "timeout after 1s");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_a_thread_that_stood_still_is_inconclusive() {
    let (_listener, target) = listen().await;
    let timeout = Duration::from_secs(1);
    let check = http("/");
    let probing = probe(&target, &check, timeout);
    // Time jumps without the timers in between being seen: the thread was not run.
    let stall = async {
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_millis(900)).await;
    };
    let (result, ()) = tokio::join!(probing, stall);
    let Finding::Inconclusive(Fault::Starved(delay)) = result else {
        panic!("{result:?}");
    };
    assert!(delay >= Duration::from_millis(600), "{delay:?}");
}

#[tokio::test]
async fn unix_sockets_are_checked_too() {
    let path = std::env::temp_dir().join(format!("catamaran-probe-{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let target = Target::new(&ServerAddr::Unix(path.clone())).unwrap();
    assert_eq!(probe(&target, &Check::Tcp, LONG).await, Finding::Pass);
    drop(listener);
    let refused = Finding::Fail(Failure::Io(io::ErrorKind::ConnectionRefused));
    assert_eq!(probe(&target, &Check::Tcp, LONG).await, refused);
    std::fs::remove_file(&path).unwrap();
    let missing = Finding::Fail(Failure::Io(io::ErrorKind::NotFound));
    assert_eq!(probe(&target, &Check::Tcp, LONG).await, missing);
}

#[tokio::test]
async fn a_full_accept_queue_is_the_server_s_failure() {
    let path = std::env::temp_dir().join(format!("catamaran-full-{}", std::process::id()));
    let socket = tokio::net::UnixSocket::new_stream().unwrap();
    socket.bind(&path).unwrap();
    let _listener = socket.listen(0).unwrap();
    let target = Target::Unix(path.clone());
    let first = UnixStream::connect(&path).await.unwrap();
    let full = Finding::Fail(Failure::QueueFull);
    assert_eq!(probe(&target, &Check::Tcp, LONG).await, full);
    drop(first);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn our_own_faults_never_count_against_the_server() {
    let result = |errno| Stop::Io(io::Error::from_raw_os_error(errno)).into_result();
    let inconclusive = Finding::Inconclusive;
    assert_eq!(result(libc::EADDRNOTAVAIL), inconclusive(Fault::NoPort));
    assert_eq!(result(libc::EMFILE), inconclusive(Fault::NoDescriptor));
    assert_eq!(result(libc::ENOBUFS), inconclusive(Fault::NoMemory));
    for errno in 1..134 {
        let blame = Blame::of_connect_error(&io::Error::from_raw_os_error(errno));
        let is_inconclusive = matches!(result(errno), Finding::Inconclusive(_));
        assert_eq!(is_inconclusive, blame == Blame::Ours, "errno {errno}");
    }
}

#[test]
fn the_port_of_the_check_replaces_the_server_s() {
    let address = ServerAddr::Ip(([10, 0, 0, 1], 80).into());
    let target = Target::new(&address).unwrap();
    let other = target.with_port(Some(9000));
    assert_eq!(other, Target::Ip(([10, 0, 0, 1], 9000).into()));
    assert_eq!(target.with_port(None), target);
}
