//! The resolver against a name server of the test, over UDP.

use super::*;
use hickory_resolver::proto::op::{Message, OpCode, Query};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, SRV};
use hickory_resolver::proto::rr::{Name, Record};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

/// What the name server knows: records by name, or a failure for a name.
#[derive(Default)]
struct Zone {
    records: Vec<(&'static str, u32, RData)>,
    failures: Vec<(&'static str, ResponseCode)>,
}

impl Zone {
    fn with(mut self, name: &'static str, ttl: u32, data: RData) -> Self {
        self.records.push((name, ttl, data));
        self
    }

    fn failing(mut self, name: &'static str, code: ResponseCode) -> Self {
        self.failures.push((name, code));
        self
    }

    /// The answer to `query`, with the alias that a name has in front.
    fn answer(&self, query: &Query) -> Result<Vec<Record>, ResponseCode> {
        let asked = query.name.to_ascii().to_ascii_lowercase();
        if let Some((_, code)) = self.failures.iter().find(|(name, _)| *name == asked) {
            return Err(*code);
        }
        let mut name = asked.as_str();
        let mut answers = Vec::new();
        let mut is_known = false;
        for (owner, ttl, data) in &self.records {
            is_known |= *owner == asked;
            let is_alias = data.record_type() == RecordType::CNAME;
            if *owner == name && (is_alias || data.record_type() == query.query_type) {
                let owner = Name::from_ascii(owner).unwrap();
                answers.push(Record::from_rdata(owner, *ttl, data.clone()));
            }
            if let (true, RData::CNAME(target)) = (*owner == name, data) {
                name = self
                    .records
                    .iter()
                    .map(|(owner, ..)| *owner)
                    .find(|owner| *owner == target.0.to_ascii())
                    .unwrap();
            }
        }
        if is_known {
            Ok(answers)
        } else {
            Err(ResponseCode::NXDomain)
        }
    }

    /// Serves on a free port, until the test's runtime ends.
    async fn serve(self) -> Dns {
        let socket = Arc::new(UdpSocket::bind(("127.0.0.1", 0)).await.unwrap());
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buf = [0; 512];
            loop {
                let (length, client) = socket.recv_from(&mut buf).await.unwrap();
                let request = Message::from_vec(&buf[..length]).unwrap();
                let mut response = Message::response(request.metadata.id, OpCode::Query);
                response.add_query(request.queries[0].clone());
                match self.answer(&request.queries[0]) {
                    Ok(records) => {
                        response.add_answers(records);
                    }
                    Err(code) => response.metadata.response_code = code,
                }
                let bytes = response.to_vec().unwrap();
                socket.send_to(&bytes, client).await.unwrap();
            }
        });
        Dns::new(&[address]).unwrap()
    }
}

fn a(last: u8) -> RData {
    RData::A(A::new(10, 0, 0, last))
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn found<T>(records: Vec<T>, ttl_secs: u64) -> Records<T> {
    let ttl = Duration::from_secs(ttl_secs);
    Records::Found { records, ttl }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

async fn host(dns: &Dns, name: &str) -> HostAnswer {
    let Answer::Host(answer) = dns.lookup(Question::Host(name.to_owned())).await else {
        panic!("a host was asked for");
    };
    answer
}

#[tokio::test]
async fn addresses_of_both_families_come_with_their_ttl() {
    let dns = Zone::default()
        .with("api.test.", 30, a(1))
        .with("api.test.", 30, a(2))
        .with(
            "api.test.",
            40,
            RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        )
        .serve()
        .await;
    let answer = host(&dns, "api.test").await;
    assert_eq!(
        answer.v4,
        found(vec![address("10.0.0.1"), address("10.0.0.2")], 30)
    );
    assert_eq!(answer.v6, found(vec![address("2001:db8::1")], 40));
}

#[tokio::test]
async fn the_ttl_of_an_alias_counts_too() {
    let dns = Zone::default()
        .with("www.test.", 5, RData::CNAME(CNAME(name("api.test."))))
        .with("api.test.", 300, a(1))
        .serve()
        .await;
    let answer = host(&dns, "www.test").await;
    assert_eq!(answer.v4, found(vec![address("10.0.0.1")], 5));
}

#[tokio::test]
async fn each_kind_of_failure_is_told_apart() {
    let dns = Zone::default()
        .with("v4.test.", 30, a(1))
        .failing("broken.test.", ResponseCode::ServFail)
        .serve()
        .await;
    assert_eq!(host(&dns, "v4.test").await.v6, Records::Nothing);
    let missing = host(&dns, "missing.test").await;
    assert_eq!(missing.v4, Records::Failed(LookupFailure::NoSuchName));
    let Records::Failed(broken) = host(&dns, "broken.test").await.v4 else {
        panic!("the name server fails");
    };
    assert_eq!(broken.to_string(), "name server says: Server Failure");
}

#[tokio::test]
async fn an_answer_is_not_remembered() {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    let dns = Dns::new(&[socket.local_addr().unwrap()]).unwrap();
    tokio::spawn(async move {
        let mut buf = [0; 512];
        for last in 1.. {
            let (length, client) = socket.recv_from(&mut buf).await.unwrap();
            let request = Message::from_vec(&buf[..length]).unwrap();
            let mut response = Message::response(request.metadata.id, OpCode::Query);
            response.add_query(request.queries[0].clone());
            response.add_answer(Record::from_rdata(name("api.test."), 300, a(last)));
            let bytes = response.to_vec().unwrap();
            socket.send_to(&bytes, client).await.unwrap();
        }
    });
    for last in 1..=2 {
        let data = dns.records("api.test", RecordType::A, |data| Some(data.clone()));
        assert_eq!(data.await, found(vec![a(last)], 300));
    }
}

#[tokio::test]
async fn a_service_brings_the_addresses_of_its_targets() {
    let dns = Zone::default()
        .with(
            "_api._tcp.test.",
            60,
            RData::SRV(SRV::new(10, 5, 8080, name("a.test."))),
        )
        .with(
            "_api._tcp.test.",
            60,
            RData::SRV(SRV::new(20, 0, 8081, name("gone.test."))),
        )
        .with("a.test.", 20, a(1))
        .serve()
        .await;
    let question = Question::Service("_api._tcp.test".to_owned());
    let Answer::Service { services, hosts } = dns.lookup(question).await else {
        panic!("a service was asked for");
    };
    let record = |priority, weight, port, target: &str| Service {
        priority,
        weight,
        port,
        target: target.to_owned(),
    };
    let expected = vec![
        record(10, 5, 8080, "a.test"),
        record(20, 0, 8081, "gone.test"),
    ];
    assert_eq!(services, found(expected, 60));
    assert_eq!(hosts["a.test"].v4, found(vec![address("10.0.0.1")], 20));
    let gone = Records::Failed(LookupFailure::NoSuchName);
    assert_eq!(hosts["gone.test"].v4, gone);
}

#[tokio::test(start_paused = true)]
async fn a_name_server_that_nobody_runs_fails_and_does_not_hang() {
    let unused = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    let address = unused.local_addr().unwrap();
    drop(unused);
    let dns = Dns::new(&[address]).unwrap();
    let answer = host(&dns, "api.test").await;
    assert!(matches!(answer.v4, Records::Failed(_)), "{answer:?}");
}

#[tokio::test]
async fn an_answer_too_long_for_udp_is_fetched_over_tcp() {
    let tcp = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).await.unwrap();
    tokio::spawn(async move {
        let mut buf = [0; 512];
        loop {
            let (length, client) = udp.recv_from(&mut buf).await.unwrap();
            let request = Message::from_vec(&buf[..length]).unwrap();
            let mut response = Message::response(request.metadata.id, OpCode::Query);
            response.add_query(request.queries[0].clone());
            response.metadata.truncation = true;
            let bytes = response.to_vec().unwrap();
            udp.send_to(&bytes, client).await.unwrap();
        }
    });
    tokio::spawn(async move {
        let (mut stream, _) = tcp.accept().await.unwrap();
        while let Ok(length) = stream.read_u16().await {
            let mut buf = vec![0; length.into()];
            stream.read_exact(&mut buf).await.unwrap();
            let request = Message::from_vec(&buf).unwrap();
            let mut response = Message::response(request.metadata.id, OpCode::Query);
            response.add_query(request.queries[0].clone());
            let record = |last| Record::from_rdata(name("api.test."), 30, a(last));
            response.add_answers((1..=200).map(record));
            let bytes = response.to_vec().unwrap();
            stream
                .write_u16(bytes.len().try_into().unwrap())
                .await
                .unwrap();
            stream.write_all(&bytes).await.unwrap();
        }
    });
    let dns = Dns::new(&[address]).unwrap();
    let take = |data: &RData| Some(data.clone());
    let Records::Found { records, .. } = dns.records("api.test", RecordType::A, take).await else {
        panic!("the answer is there");
    };
    assert_eq!(records.len(), 200);
}
