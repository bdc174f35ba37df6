//! What systemd is told, and what it passes on: played by a socket of the test.

use crate::balancer::quoted;
use crate::{PATIENCE, eventually};
use catamaran_testkit::{Client, Origin, Process, Program, Signal, TempDir, http_get};
use socket2::{Domain, Socket, Type};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// The socket that systemd listens at, in a directory of its own.
struct Systemd {
    socket: UnixDatagram,
    dir: TempDir,
    heard: std::cell::RefCell<String>,
}

impl Systemd {
    fn new() -> Self {
        let dir = TempDir::create().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        let patience = Some(Duration::from_millis(50));
        socket.set_read_timeout(patience).unwrap();
        Self {
            socket,
            dir,
            heard: std::cell::RefCell::default(),
        }
    }

    fn path(&self) -> String {
        self.dir.path().join("notify").display().to_string()
    }

    /// Waits until all of this was said since the last call, in this order.
    fn wait_for(&self, words: &[&str]) {
        let mut heard = self.heard.borrow_mut();
        let mut buf = [0; 4096];
        for word in words {
            eventually(word, || {
                if let Some((_, rest)) = heard.split_once(word) {
                    *heard = rest.to_owned();
                    return Some(());
                }
                if let Ok(len) = self.socket.recv(&mut buf) {
                    heard.push_str(&String::from_utf8_lossy(&buf[..len]));
                    heard.push('\n');
                }
                None
            });
        }
    }
}

fn config(listen: &[SocketAddr], server: SocketAddr) -> String {
    format!(
        "[process]\nworkers = 2\n[frontend.web]\nlisten = {}\nbackend = \"app\"\n\
         [backend.app]\nservers = [\"{server}\"]\n",
        quoted(listen)
    )
}

/// A balancer that systemd watches.
fn start(systemd: &Systemd, config: &str, more: &[&str]) -> Process {
    Program::run_config(env!("CARGO_BIN_EXE_catamaran"), config)
        .unwrap()
        .args(more.iter().copied())
        .env("NOTIFY_SOCKET", &systemd.path())
        .env("WATCHDOG_USEC", "2000000")
        .start()
        .unwrap()
}

#[test]
fn systemd_is_told_of_readiness_reloads_life_and_the_end() {
    let origin = Origin::fixed(200, "up").start().unwrap();
    let any = ([127, 0, 0, 1], 0).into();
    for more in [&[][..], &["--no-supervisor"]] {
        let systemd = Systemd::new();
        let config = config(&[any], origin.addr());
        let mut process = start(&systemd, &config, more);
        systemd.wait_for(&["FDSTORE=1\nFDNAME=tcp_127.0.0.1_0_0_web", "READY=1\n"]);
        systemd.wait_for(&["WATCHDOG=1", "WATCHDOG=1"]);
        process.signal(Signal::HUP).unwrap();
        systemd.wait_for(&["RELOADING=1\nMONOTONIC_USEC=", "READY=1\n"]);
        // A file that is no configuration is told of too.
        std::fs::write(process.config_path(), "nonsense").unwrap();
        process.signal(Signal::HUP).unwrap();
        systemd.wait_for(&[
            "RELOADING=1\n",
            "READY=1\n",
            "STATUS=The last reload failed",
        ]);
        process.terminate().unwrap();
        systemd.wait_for(&["STOPPING=1\n", "FDSTOREREMOVE=1\n"]);
        assert_eq!(process.wait(PATIENCE).unwrap().code(), Some(0));
    }
}

#[test]
fn systemd_hears_nothing_while_the_data_process_hangs() {
    let origin = Origin::fixed(200, "up").start().unwrap();
    let any = ([127, 0, 0, 1], 0).into();
    let systemd = Systemd::new();
    // Nobody but systemd looks after it.
    let text =
        config(&[any], origin.addr()).replace("workers = 2", "workers = 2\nwatchdog = \"0s\"");
    let process = start(&systemd, &text, &[]);
    systemd.wait_for(&["READY=1\n", "WATCHDOG=1"]);
    for pid in process
        .pids()
        .into_iter()
        .filter(|pid| *pid != process.pid())
    {
        catamaran_testkit::signal_pid(pid, Signal::STOP).unwrap();
    }
    // What was said before that may still arrive.
    let mut buf = [0; 256];
    let silence = Duration::from_secs(2);
    systemd.socket.set_read_timeout(Some(silence)).unwrap();
    eventually("silence", || {
        systemd.socket.recv(&mut buf).is_err().then_some(())
    });
}

#[test]
fn sockets_that_systemd_opened_are_served_from() {
    let origin = Origin::fixed(200, "up").start().unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).unwrap();
    socket.listen(64).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    // Nobody serves yet; who comes now is served later.
    let mut early = Client::connect(address).unwrap();
    early.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n").unwrap();
    let other = catamaran_testkit::free_addr().unwrap();
    let config = config(&[address, other], origin.addr());
    // As systemd does: descriptor 3, and the process id of whoever is to take it.
    let number = std::os::fd::AsRawFd::as_raw_fd(&socket);
    socket.set_cloexec(false).unwrap();
    let script = format!(
        "exec 3<&{number}; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web; exec \"$@\""
    );
    let process = Program::run_config(env!("CARGO_BIN_EXE_catamaran"), &config)
        .unwrap()
        // Plain sh knows descriptors of one digit only.
        .under(&["bash", "-c", &script, "bash"])
        .start()
        .unwrap();
    process.wait_for_stderr(" serving", PATIENCE).unwrap();
    drop(socket);
    assert!(early.receive_to_end().unwrap().ends_with(b"up"));
    for address in [address, other] {
        for _ in 0..20 {
            assert_eq!(http_get(address, "/").unwrap().text(), "up");
        }
    }
}
