//! The loop against real sockets of the test, in paused time.

use super::*;
use catamaran_core::model::Check;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

impl Notices for UnboundedReceiver<Notice> {
    async fn next(&mut self) -> Vec<Notice> {
        match self.recv().await {
            Some(notice) => vec![notice],
            None => pending().await,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Rotation(Name),
    AllChecked,
    Status(Status),
}

struct Recorder {
    told: UnboundedSender<Told>,
    next: Vec<Timestamp>,
}

impl Hooks for Recorder {
    fn rotation_changed(&mut self, backend: &Name) -> Option<Timestamp> {
        self.told.send(Told::Rotation(backend.clone())).unwrap();
        self.next.pop()
    }

    fn status_changed(&mut self, _: &Name, server: &Name, status: Status) {
        if server.as_str() == "a" {
            self.told.send(Told::Status(status)).unwrap();
        }
    }

    fn all_checked(&mut self) {
        self.told.send(Told::AllChecked).unwrap();
    }
}

/// One backend of one server, under watch.
struct Scene {
    state: Arc<ServerState>,
    notices: UnboundedSender<Notice>,
    commands: mpsc::Sender<Command>,
    told: UnboundedReceiver<Told>,
}

fn id() -> Name {
    "api".into()
}

fn health() -> Health {
    Health::new(Check::Tcp)
}

fn outlier(consecutive: u32) -> Outlier {
    Outlier {
        consecutive: NonZeroU32::new(consecutive),
        ..Outlier::default()
    }
}

/// A port that nobody listens on until the socket is told to; holding it keeps others away.
fn silent_port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

impl Scene {
    fn start(address: SocketAddr, health: Option<Health>, next: Vec<Timestamp>) -> Self {
        let state = Arc::new(ServerState::new("a".into()));
        let (notices, notices_rx) = unbounded_channel();
        let (told_tx, told) = unbounded_channel();
        let (commands, commands_rx) = mpsc::channel(1);
        let scene = Self {
            state,
            notices,
            commands,
            told,
        };
        let watched = Watched {
            name: "api".into(),
            health,
            outlier: outlier(1),
            comeback: Check::Tcp,
            servers: vec![scene.server("a", address)],
        };
        let hooks = Recorder {
            told: told_tx,
            next,
        };
        let clock = Clock::starting_at(Timestamp::from_nanos(1_000_000));
        let rng = fastrand::Rng::with_seed(3);
        let monitor = Monitor::new(vec![watched], clock, rng, hooks);
        tokio::spawn(monitor.run(notices_rx, commands_rx));
        scene
    }

    fn server(&self, name: &str, address: SocketAddr) -> WatchedServer {
        WatchedServer {
            name: name.into(),
            target: Target::Ip(address),
            source: None,
            state: Arc::clone(&self.state),
        }
    }

    fn signal(&self, signal: Signal) {
        let server = Arc::clone(&self.state);
        self.notices.send(Notice { server, signal }).unwrap();
    }

    /// Waits until the hooks were told `told`; returns how long that took.
    async fn wait_for(&mut self, told: &Told) -> Duration {
        let began = Instant::now();
        while self.told.recv().await.unwrap() != *told {}
        began.elapsed()
    }

    async fn rotation(&mut self) -> Duration {
        self.wait_for(&Told::Rotation(id())).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_goes_down_by_fall_checks_and_up_by_rise() {
    let (port, address) = silent_port();
    let mut scene = Scene::start(address, Some(health()), Vec::new());
    scene.rotation().await;
    let took = scene.wait_for(&Told::Status(Status::Down)).await;
    scene.rotation().await;
    assert!(scene.state.is_checked_down());
    assert!(took < Duration::from_secs(3), "{took:?}");

    let _listener = port.listen(8).unwrap();
    let took = scene.wait_for(&Told::Status(Status::Up)).await;
    assert!(!scene.state.is_checked_down() && scene.state.is_usable());
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_first_round_of_checks_is_told_once() {
    let (_port, address) = silent_port();
    let mut scene = Scene::start(address, Some(health()), Vec::new());
    scene.wait_for(&Told::AllChecked).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    while let Ok(told) = scene.told.try_recv() {
        assert_ne!(told, Told::AllChecked);
    }
}

#[tokio::test(start_paused = true)]
async fn without_checks_there_is_no_first_round_to_wait_for() {
    let (_port, address) = silent_port();
    let mut scene = Scene::start(address, None, Vec::new());
    assert_eq!(scene.wait_for(&Told::AllChecked).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_takes_a_server_out_at_once_and_a_connection_brings_it_back() {
    let (port, address) = silent_port();
    let mut scene = Scene::start(address, None, Vec::new());
    scene.rotation().await;
    scene.signal(Signal::Refused);
    assert_eq!(scene.rotation().await, Duration::ZERO);
    assert!(scene.state.is_refusing());

    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(scene.state.is_refusing(), "nobody listens yet");
    let _listener = port.listen(8).unwrap();
    assert!(scene.rotation().await <= Duration::from_millis(1100));
    assert!(scene.state.is_usable());
}

#[tokio::test(start_paused = true)]
async fn an_ejected_server_without_checks_returns_by_a_connection() {
    let (port, address) = silent_port();
    let mut scene = Scene::start(address, None, Vec::new());
    scene.rotation().await;
    scene.signal(Signal::Outlier);
    scene.rotation().await;
    assert!(scene.state.is_ejected());
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(scene.state.is_ejected(), "nobody listens yet");
    let _listener = port.listen(8).unwrap();
    assert!(scene.rotation().await <= Duration::from_millis(1100));
    assert!(scene.state.is_usable());
}

#[tokio::test(start_paused = true)]
async fn a_passed_check_ends_an_ejection() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut scene = Scene::start(address, Some(health()), Vec::new());
    scene.wait_for(&Told::AllChecked).await;
    scene.signal(Signal::Outlier);
    scene.rotation().await;
    assert!(scene.state.is_ejected());
    assert!(scene.rotation().await <= Duration::from_secs(5));
    assert!(scene.state.is_usable());
}

#[tokio::test(start_paused = true)]
async fn a_failed_connection_hastens_the_next_check() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let slow = Health {
        interval: Duration::from_secs(600),
        ..health()
    };
    let mut scene = Scene::start(address, Some(slow), Vec::new());
    scene.wait_for(&Told::AllChecked).await;
    drop(listener);
    scene.signal(Signal::ConnectFailed);
    assert!(scene.rotation().await < Duration::from_secs(3));
    assert!(scene.state.is_checked_down());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stays_keeps_its_status_and_a_new_one_starts_up() {
    let (port, address) = silent_port();
    let mut scene = Scene::start(address, Some(health()), Vec::new());
    scene.rotation().await;
    scene.rotation().await;
    assert!(scene.state.is_checked_down());

    let (_other_port, other) = silent_port();
    let kept = scene.server("a", address);
    let mut added = scene.server("b", other);
    added.state = Arc::new(ServerState::new("b".into()));
    let servers = vec![added.clone(), kept];
    let command = Command::SetServers(id(), servers);
    scene.commands.send(command).await.unwrap();
    assert_eq!(scene.rotation().await, Duration::ZERO);
    scene.rotation().await;
    assert!(scene.state.is_checked_down(), "it was not brought up");
    assert!(added.state.is_checked_down(), "the new one is checked too");

    let _listener = port.listen(8).unwrap();
    scene.rotation().await;
    assert!(scene.state.is_usable());
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_time_changes_is_made_anew_in_time() {
    let start = Timestamp::from_nanos(1_000_000);
    let next = vec![start + Duration::from_secs(7), start];
    let (_port, address) = silent_port();
    let mut scene = Scene::start(address, None, next);
    // Told at the start; then for a time that is past, which is put off a little; then for 7 s.
    assert_eq!(scene.rotation().await, Duration::ZERO);
    assert!(scene.rotation().await >= REBUILD_PAUSE);
    let took = scene.rotation().await;
    assert!(took > Duration::from_secs(6) && took <= Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn a_refusing_server_that_checks_take_down_is_never_usable_in_between() {
    let (_port, address) = silent_port();
    let mut scene = Scene::start(address, Some(health()), Vec::new());
    scene.rotation().await;
    scene.signal(Signal::Refused);
    scene.rotation().await;
    scene.wait_for(&Told::Status(Status::Down)).await;
    assert!(scene.state.is_checked_down() && !scene.state.is_refusing());
    assert_eq!(scene.state.came_up_at(), None, "it never came up");
}

#[tokio::test(start_paused = true)]
async fn a_notice_of_a_server_that_is_gone_is_ignored() {
    let (_port, address) = silent_port();
    let mut scene = Scene::start(address, None, Vec::new());
    scene.rotation().await;
    let mut other = scene.server("b", address);
    other.state = Arc::new(ServerState::new("b".into()));
    let command = Command::SetServers(id(), vec![other.clone()]);
    scene.commands.send(command).await.unwrap();
    scene.rotation().await;
    scene.signal(Signal::Refused);
    let (server, signal) = (Arc::clone(&other.state), Signal::Refused);
    scene.notices.send(Notice { server, signal }).unwrap();
    scene.rotation().await;
    assert!(scene.state.is_usable() && other.state.is_refusing());
}
