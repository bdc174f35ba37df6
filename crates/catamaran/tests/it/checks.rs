//! Scripted checks, agents beside servers, and where connections to servers come from.

use crate::balancer::Balancer;
use crate::operator::{ask, config, steered};
use crate::{PATIENCE, eventually};
use catamaran_testkit::{Client, Origin, http_get, tunnel};
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A server of lines: greets, then answers each line it is asked with what `answer` makes of it.
/// Returns where it listens and from where it was asked.
fn lines(
    greeting: &'static str,
    answer: impl Fn(&str) -> String + Send + Sync + 'static,
) -> (SocketAddr, Arc<Mutex<BTreeSet<IpAddr>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sources: Arc<Mutex<BTreeSet<IpAddr>>> = Arc::default();
    let (seen, answer) = (Arc::clone(&sources), Arc::new(answer));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            seen.lock()
                .unwrap()
                .insert(stream.peer_addr().unwrap().ip());
            let answer = Arc::clone(&answer);
            thread::spawn(move || {
                let _ = stream.write_all(greeting.as_bytes());
                let asked = BufReader::new(stream.try_clone().unwrap());
                for line in asked.lines().map_while(Result::ok) {
                    if stream.write_all(answer(&line).as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, sources)
}

/// Waits until the one server of `app` is up, or not.
fn wait_for_status(balancer: &Balancer, status: &str) {
    eventually(status, || {
        let (_, state) = ask(balancer, "GET", "/v1/backends/app", "");
        let server = &state["servers"][0];
        let result = if status == "up" { "pass" } else { "fail" };
        (server["health"] == status && server["check"]["result"] == result).then_some(())
    });
}

/// A text that is changed while a server says it.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<String>>);

impl Said {
    fn say(&self, text: &str) {
        text.clone_into(&mut self.0.lock().unwrap());
    }

    fn get(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

const FAST: &str = "interval = \"50ms\", timeout = \"5s\", fall = 1, rise = 1";

#[test]
fn a_scripted_check_follows_what_the_server_says() {
    let said = Said::default();
    said.say("+PONG\r\n");
    let answer = said.clone();
    let (redis, _) = lines("", move |line| match line {
        "PING" => answer.get(),
        _ => "-ERR\r\n".to_owned(),
    });
    let balancer = steered(
        &[redis],
        "",
        &format!("health = {{ redis = true, {FAST} }}"),
    );
    wait_for_status(&balancer, "up");
    said.say("-LOADING Redis is loading the dataset in memory\r\n");
    wait_for_status(&balancer, "down");
    let told = "-LOADING Redis is loading the dataset";
    balancer.process.wait_for_stderr(told, PATIENCE).unwrap();
    said.say("+PONG\r\n");
    wait_for_status(&balancer, "up");
}

#[test]
fn steps_of_ones_own_and_a_mail_servers_greeting_are_understood() {
    let (mail, _) = lines("220-mail.example\r\n220 ready\r\n", |line| match line {
        "QUIT" => "221 bye\r\n".to_owned(),
        _ => "500 what\r\n".to_owned(),
    });
    for check in [
        "smtp = true",
        "tcp = [{ expect = \"220\" }, { contains = \" ready\\r\\n\" }, { send-hex = \"51 55 49 54 0d 0a\" }, \
         { line = \"221 bye\" }]",
    ] {
        let balancer = steered(&[mail], "", &format!("health = {{ {check}, {FAST} }}"));
        wait_for_status(&balancer, "up");
    }
    let wrong = "tcp = [{ expect = \"220\" }, { send = \"HI\\r\\n\" }, { line = \"221 bye\" }]";
    let balancer = steered(&[mail], "", &format!("health = {{ {wrong}, {FAST} }}"));
    wait_for_status(&balancer, "down");
}

#[test]
fn an_agents_word_drains_weighs_and_takes_down() {
    let origin = Origin::fixed(200, "in").start().unwrap();
    let said = Said::default();
    said.say("ready up 50%\n");
    let answer = said.clone();
    let (agent, _) = lines("", move |_| answer.get());
    let agent = format!(
        "agent = {{ port = {}, interval = \"50ms\", timeout = \"5s\", send = \"state\\n\" }}",
        agent.port()
    );
    let balancer = steered(&[origin.addr()], "", &agent);
    let wait = |key: &str, value: &serde_json::Value| {
        eventually(key, || {
            let (_, state) = ask(&balancer, "GET", "/v1/backends/app", "");
            (state["servers"][0][key] == *value).then_some(())
        });
    };
    wait("weight", &1.into());
    said.say("drain\n");
    wait("admin", &"drain".into());
    said.say("ready\n");
    wait("admin", &"ready".into());
    said.say("down # disk full\n");
    wait("health_override", &"down".into());
    balancer
        .process
        .wait_for_stderr("disk full", PATIENCE)
        .unwrap();
    said.say("up 200%\n");
    wait("weight", &2.into());
    wait("health_override", &serde_json::Value::Null);
    assert_eq!(http_get(balancer.addr(), "/").unwrap().text(), "in");
}

#[test]
fn a_server_that_its_agent_calls_back_keeps_what_it_has() {
    let origin = Origin::tcp(tunnel::echo()).start().unwrap();
    let said = Said::default();
    said.say("up\n");
    let answer = said.clone();
    let (agent, _) = lines("", move |_| answer.get());
    let agent = format!(
        "agent = {{ port = {}, interval = \"50ms\", timeout = \"5s\", send = \"state\\n\" }}",
        agent.port()
    );
    let text = config(&[origin.addr()], "", &agent);
    let tcp = "[frontend.web]\nprotocol = \"tcp\"\n";
    let balancer = Balancer::start(&text.replace("[frontend.web]\n", tcp));
    let mut client = balancer.connect();
    client.send(b"hi").unwrap();
    assert_eq!(client.receive(2).unwrap(), b"hi");
    let told = "agent says something else";
    balancer.process.wait_for_stderr(told, PATIENCE).unwrap();
    let path = format!("/v1/backends/app/servers/{}", origin.addr());
    let drain = r#"{"admin": "drain", "deadline_ms": 4000}"#;
    assert_eq!(ask(&balancer, "PATCH", &path, drain).0, 200);
    said.say("ready\n");
    eventually("the agent's word", || {
        let (_, server) = ask(&balancer, "GET", &path, "");
        (server["admin"] == "ready").then_some(())
    });
    // The deadline was that of the drain.
    client.set_patience(Duration::from_secs(5)).unwrap();
    assert!(client.receive(1).is_err());
    client.set_patience(PATIENCE).unwrap();
    client.send(b"yo").unwrap();
    assert_eq!(client.receive(2).unwrap(), b"yo");
}

#[test]
fn connections_and_checks_come_from_the_addresses_that_are_written() {
    let (server, sources) = lines("ready\n", |_| String::new());
    let more = "source = [\"127.0.0.5\", \"127.0.0.6\"]\n\
                health = { tcp = [{ expect = \"ready\" }], interval = \"50ms\", timeout = \"5s\" }";
    let balancer = Balancer::tcp(&[server], "", more);
    let wanted: BTreeSet<IpAddr> = ["127.0.0.5", "127.0.0.6"]
        .map(|ip| ip.parse().unwrap())
        .into();
    eventually("connections from both", || {
        let mut stream = std::net::TcpStream::connect(balancer.addr()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut greeting = [0; 6];
        std::io::Read::read_exact(&mut stream, &mut greeting).unwrap();
        (*sources.lock().unwrap() == wanted).then_some(())
    });
}

#[test]
fn datagrams_leave_from_the_address_and_the_interface_that_are_written() {
    let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let text = format!(
        "[frontend.web]\nprotocol = \"udp\"\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n\
         [backend.app]\nservers = [\"{}\"]\nsource = \"127.0.0.7\"\nsource-interface = \"lo\"\n",
        server.local_addr().unwrap()
    );
    let balancer = Balancer::start(&text);
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"hello", balancer.addr()).unwrap();
    let mut buffer = [0; 16];
    let (len, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(
        (&buffer[..len], from.ip()),
        (&b"hello"[..], "127.0.0.7".parse().unwrap())
    );
}

#[test]
fn an_address_that_is_not_this_machines_speaks_not_against_the_server() {
    let origin = Origin::tcp(tunnel::echo()).start().unwrap();
    let balancer = Balancer::tcp(&[origin.addr()], "", "source = \"192.0.2.77\"");
    // It may be reset before it knows that it is connected.
    if let Ok(mut client) = Client::connect(balancer.addr()) {
        assert!(client.is_closed_within(PATIENCE).unwrap());
    }
    let told = "the source of connections to a server is no address of this machine";
    balancer.process.wait_for_stderr(told, PATIENCE).unwrap();
}
