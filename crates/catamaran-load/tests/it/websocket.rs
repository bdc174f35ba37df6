//! Runs over WebSockets, against a server of another make.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use catamaran_load::plain::Protocol;
use rustls::{ServerConnection, StreamOwned};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Bytes, Message, WebSocket};

use crate::h2_server::tls_config;
use crate::{options, play};

/// A server that echoes messages, and does as some of them say. Returns its port.
fn server(is_tls: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = is_tls.then(|| Arc::new(tls_config(&["h2", "http/1.1"])));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, tls) = (stream.unwrap(), tls.clone());
            thread::spawn(move || match tls {
                Some(tls) => {
                    let session = ServerConnection::new(tls).unwrap();
                    serve(StreamOwned::new(session, stream));
                }
                None => serve(stream),
            });
        }
    });
    port
}

#[expect(
    clippy::result_large_err,
    reason = "the callback of the library has this form"
)]
fn serve<S: Read + Write>(stream: S) {
    let mut refuses = false;
    let mut told = String::new();
    let accepted = tungstenite::accept_hdr(stream, |request: &Request, mut response: Response| {
        refuses = request.uri().path() == "/refuse";
        told = format!("{:?}", request.headers());
        if let Some(wanted) = request.headers().get("sec-websocket-protocol") {
            let fields = response.headers_mut();
            fields.insert("sec-websocket-protocol", wanted.clone());
        }
        if refuses {
            let refusal = http::Response::builder().status(403);
            return Err(refusal.body(None).unwrap());
        }
        Ok(response)
    });
    let Ok(mut socket) = accepted else {
        return;
    };
    while let Ok(message) = socket.read() {
        if answer(&mut socket, message, &told).is_err() {
            return;
        }
    }
}

fn answer<S: Read + Write>(
    socket: &mut WebSocket<S>,
    message: Message,
    told: &str,
) -> tungstenite::Result<()> {
    match message {
        Message::Text(text) => match text.as_str() {
            "headers" => socket.send(Message::text(told)),
            "ping" => socket.send(Message::Ping(Bytes::from_static(b"you"))),
            "close" => socket.close(Some(CloseFrame {
                code: CloseCode::Library(4001),
                reason: "enough".into(),
            })),
            "cut" => Err(tungstenite::Error::ConnectionClosed),
            "large" => socket.send(Message::binary(vec![7; 3_000_000])),
            text => socket.send(Message::text(text)),
        },
        Message::Binary(bytes) => socket.send(Message::Binary(bytes)),
        _ => Ok(()),
    }
}

#[test]
fn messages_over_websockets_are_answered() {
    for (is_tls, scheme) in [(false, "ws"), (true, "wss")] {
        let mut options = options(&format!("{scheme}://localhost:{}/x", server(is_tls)));
        options.protocol = Protocol::WebSocket;
        options.exchange.body = Some(b"hello".to_vec());
        options.exchange.verifies = false;
        let ran = play(options);
        assert_eq!(ran.due(), 100.0, "{}", ran.out);
        let count = ran.figure("exchanges", "count");
        assert!(count > 0.0);
        assert_eq!(ran.figure("exchange_failed", "value"), 0.0, "{}", ran.out);
        assert_eq!(ran.figure("ws_msgs_sent", "count"), count);
        assert_eq!(ran.figure("ws_msgs_received", "count"), count);
        let sessions = ran.figure("ws_sessions", "count");
        assert!((1.0..=50.0).contains(&sessions), "{sessions}");
        assert!(ran.figure("ws_connecting", "max") > 0.0);
    }
}

#[test]
fn a_server_that_refuses_or_is_none_fails_the_exchange() {
    let origin = catamaran_testkit::Origin::fixed(200, "x").start().unwrap();
    for target in [
        format!("ws://localhost:{}/refuse", server(false)),
        format!("ws://{}/", origin.addr()),
    ] {
        let mut options = options(&target);
        options.protocol = Protocol::WebSocket;
        options.exchange.body = Some(b"hello".to_vec());
        let ran = play(options);
        assert!(ran.answers("websocket: bad handshake") > 0, "{}", ran.out);
        assert_eq!(ran.figure("exchange_failed", "value"), 1.0, "{}", ran.out);
    }
}

#[cfg(feature = "scripts")]
mod script {
    use super::server;
    use crate::script::{once, play};

    fn url() -> String {
        format!("ws://localhost:{}", server(false))
    }

    #[test]
    fn a_socket_of_the_older_module_blocks_until_it_is_closed() {
        let body = r"
            const seen = [];
            const params = { headers: { 'X-Own': 'mine' }, tags: { kind: 'chat' } };
            const res = ws.connect(`${url}/a`, params, (socket) => {
                socket.on('open', () => { seen.push('open'); socket.send('headers'); });
                socket.on('message', (text) => {
                    if (text.includes('mine')) {
                        seen.push('headers');
                        socket.sendBinary(new Uint8Array([1, 2, 255]).buffer);
                    } else { seen.push(text); }
                    if (text === 'third') { socket.send('ping'); }
                });
                socket.on('binaryMessage', (data) => {
                    seen.push([...new Uint8Array(data)].join());
                    socket.ping();
                });
                socket.on('pong', () => {
                    seen.push('pong');
                    let count = 0;
                    socket.setInterval(() => { count += 1; if (count === 2) socket.send('third'); }, 5);
                });
                socket.on('ping', () => { seen.push('ping'); socket.setTimeout(() => socket.close(), 10); });
                socket.on('close', (code) => seen.push(code));
                socket.on('error', (e) => seen.push(e.error()));
            });
            same(seen, ['open', 'headers', '1,2,255', 'pong', 'third', 'ping', 1001]);
            same([res.status, res.error, res.headers.Upgrade, res.status_text], [101, '', 'websocket', '']);
        ";
        let script = format!(
            "{}\nexport const options = {{ thresholds: {{ 'ws_sessions{{kind:chat,status:101}}': ['count==1'] }} }};",
            once("import ws from 'k6/ws';", body)
        );
        let ran = play(&script, &url());
        ran.is_well();
        assert_eq!(ran.figure("ws_msgs_sent", "count"), 4.0);
        assert_eq!(ran.figure("ws_msgs_received", "count"), 3.0);
        assert!(ran.figure("ws_session_duration", "avg") > 10.0);
        assert!(ran.figure("ws_ping", "max") > 0.0);
    }

    #[test]
    fn how_a_socket_ends_is_told() {
        let body = r"
            const play = (path, text) => {
                const seen = [];
                const res = ws.connect(url + path, (socket) => {
                    socket.on('open', () => socket.send(text));
                    socket.on('close', (code) => seen.push(code));
                    socket.on('error', (e) => seen.push(e.error()));
                });
                return [res.status, ...seen];
            };
            same(play('/', 'close'), [101, 'websocket: close 4001: enough', 4001]);
            same(play('/', 'cut').slice(0, 1).concat(play('/', 'cut').slice(-1)), [101, 1006]);
            same(play('/refuse', 'x'), [403]);
            same(ws.connect(`${url}/refuse`, () => {}).error, '');
            same(play('/', 'cut').slice(1), ['websocket: close 1006 (abnormal closure): unexpected EOF', 1006]);
            same(thrown(() => ws.connect(url, () => { throw new Error('mine'); })), 'mine');
        ";
        let ran = play(&once("import ws from 'k6/ws';", body), &url());
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(!ran.err.contains("is not"), "{}", ran.err);
        assert_eq!(ran.figure("ws_sessions", "count"), 7.0);
    }

    #[test]
    fn sockets_with_events_live_beside_each_other() {
        let body = r"
            const seen = [[], []];
            const sockets = seen.map((list, index) => {
                const socket = new WebSocket(`${url}/b`, ['chat'], { tags: { number: String(index) } });
                same([socket.readyState, socket.url, socket.binaryType], [0, `${url}/b`, 'blob']);
                socket.binaryType = index === 0 ? 'arraybuffer' : 'blob';
                socket.onopen = () => {
                    list.push(`open ${socket.protocol} ${socket.readyState}`);
                    socket.send('hello');
                    socket.send(new Uint8Array([9, 8]));
                };
                socket.addEventListener('message', async (event) => {
                    if (typeof event.data === 'string') { list.push(event.data); return; }
                    const data = event.data instanceof Blob ? await event.data.bytes() : event.data;
                    list.push([...new Uint8Array(data)].join());
                    socket.ping();
                });
                socket.onpong = () => { list.push('pong'); socket.close(3001, 'done'); };
                socket.onerror = (event) => list.push(event.error);
                socket.onclose = (event) => {
                    list.push(`${event.type} ${event.code} ${socket.readyState}`);
                    if (++closed === 2) {
                        const all = ['open chat 1', 'hello', '9,8', 'pong', 'websocket: close 3001: done', 'close 3001 3'];
                        same(seen, [all, all]);
                        console.log('all was well');
                    }
                };
                same(thrown(() => socket.send('x')), 'send: the WebSocket is not open');
                return socket;
            });
            let closed = 0;
            same(thrown(() => new WebSocket('http://a')), '`http://a` is no URL of a WebSocket; write ws:// or wss://');
        ";
        for module in ["k6/websockets", "k6/experimental/websockets"] {
            let imports = format!("import {{ WebSocket, Blob }} from '{module}';");
            let ran = play(&once(&imports, body), &url());
            ran.is_well();
            assert_eq!(ran.figure("ws_sessions", "count"), 2.0);
            assert_eq!(ran.figure("ws_msgs_received", "count"), 4.0);
        }
    }

    #[test]
    fn large_messages_and_failures_reach_the_events() {
        let body = r"
            const socket = new WebSocket(url);
            socket.binaryType = 'arraybuffer';
            socket.onopen = () => socket.send('large');
            socket.onmessage = ({ data }) => { same(data.byteLength, 3000000); socket.send('x'.repeat(2000000)); socket.onmessage = ({ data }) => { same(data.length, 2000000); socket.send('close'); }; };
            socket.onclose = ({ code, reason }) => same([code, reason], [4001, 'enough']);
            const bad = new WebSocket(`${url}/refuse`);
            let told = '';
            bad.onerror = ({ error }) => { told = error; };
            bad.onclose = ({ code }) => same([code, told], [undefined, 'websocket: bad handshake']);
        ";
        let imports = "import { WebSocket } from 'k6/websockets';";
        let ran = play(&once(imports, body), &url());
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(!ran.err.contains("is not"), "{}", ran.err);
        assert_eq!(ran.figure("ws_msgs_received", "count"), 2.0, "{}", ran.err);
    }

    #[test]
    fn an_open_socket_does_not_outlive_the_run() {
        let script = "import { WebSocket } from 'k6/websockets';\n\
            export const options = { scenarios: { s: { executor: 'constant-vus', vus: 2, \
            duration: '1s', gracefulStop: '0s' } } };\n\
            export default function () { const s = new WebSocket(__ENV.URL); s.onopen = () => s.send('x'); }";
        let ran = play(script, &url());
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert_eq!(ran.figure("ws_sessions", "count"), 2.0);
        assert!(ran.figure("ws_session_duration", "avg") > 0.0);
    }
}
