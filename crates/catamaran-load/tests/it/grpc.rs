//! Scripts that call gRPC services.

use catamaran_testkit::TempDir;

use crate::h2_server::H2Server;
use crate::script::{once, play_in};

const PROTO: &str = include_str!("../../src/proto/tests/all.proto");

/// Plays a script beside `protos/all.proto`, with a client called `client` that has loaded it.
fn play(server: &H2Server, scheme: &str, body: &str) -> crate::script::Ran {
    let dir = TempDir::create().unwrap();
    std::fs::create_dir(dir.path().join("protos")).unwrap();
    dir.write("protos/all.proto", PROTO).unwrap();
    let set = include_bytes!("../../src/proto/tests/all.pb");
    std::fs::write(dir.path().join("all.pb"), set).unwrap();
    let imports = "import grpc, { Client, Stream } from 'k6/net/grpc';\n\
        const client = new Client(); const methods = client.load(['protos'], 'all.proto');\n\
        const other = new grpc.Client(); other.loadProtoset('all.pb');\n\
        export const options = { insecureSkipTLSVerify: true };";
    let url = server.url(scheme);
    let address = url.split_once("//").unwrap().1.to_owned();
    let body = format!("const address = '{address}'; {body}");
    play_in(&dir, &once(imports, &body), &url, |_| {})
}

/// As above, and nothing may be otherwise than it should.
fn play_well(server: &H2Server, scheme: &str, body: &str) -> crate::script::Ran {
    let ran = play(server, scheme, body);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(!ran.err.contains("Error"), "{}", ran.err);
    ran
}

#[test]
fn unary_calls_are_answered() {
    let body = r"
        same(methods.length, 4);
        same(methods[1], { full_method: '/test.all.Echo/Watch', is_client_stream: false, is_server_stream: true, name: 'Watch', package: 'test.all', service: 'Echo' });
        for (const one of [client, other]) {
            same(one.connect(address, { plaintext: __ENV.URL.startsWith('http:'), timeout: '5s' }), true);
            const sent = { text: 'hello', i64: '5', color: 'RED', inner: { some_name: 'n' }, data: 'AP8=' };
            const res = one.invoke('test.all.Echo/Unary', sent, {
                metadata: { 'X-Bin-Bin': new Uint8Array([1, 2]).buffer }, tags: { own: 'x' }, timeout: 5000,
            });
            same([res.status, res.error], [grpc.StatusOK, null]);
            same([res.message.text, res.message.i64, res.message.color, res.message.inner.someName, res.message.u32], ['hello', '5', 'RED', 'n', 0]);
            same([res.headers['x-timeout'], res.headers['x-back-bin'], res.trailers['x-after']], [['5000m'], ['AQI'], ['1']]);
            same(one.invoke('/test.all.Echo/Unary', {}, { discardResponseMessage: true }).message, null);
            same(one.invoke('test.all.Echo/Unary', { text: 'y'.repeat(1000000) }).message.text.length, 1000000);
            one.close();
            same(thrown(() => one.invoke('test.all.Echo/Unary', {})), 'no gRPC connection, you must call connect first');
        }
    ";
    for (alpn, scheme) in [(None, "http"), (Some(&["h2"][..]), "https")] {
        let server = H2Server::start(alpn);
        let ran = play_well(&server, scheme, body);
        assert!(ran.figure("grpc_req_duration", "avg") > 0.0);
        assert!(ran.figure("data_received", "count") > 2_000_000.0);
        assert_eq!(server.connections(), 2);
        assert_eq!(server.requests()[0].1["content-type"], "application/grpc");
    }
}

#[test]
fn calls_fail_with_the_status_that_tells_why() {
    let server = H2Server::start(None);
    let body = r"
        client.connect(address, { plaintext: true, maxReceiveSize: 1000 });
        const call = (wish, params = {}, message = {}) => {
            const res = client.invoke('test.all.Echo/Unary', message, { metadata: { 'x-wish': wish }, ...params });
            return [res.status, res.error && res.error.code, res.error && res.error.message];
        };
        same(call('fail'), [grpc.StatusFailedPrecondition, 9, 'fail']);
        same(call('trailers-only'), [grpc.StatusNotFound, 5, 'not there']);
        same(call('http'), [14, 14, 'unexpected HTTP status code received from server: 503']);
        same(call('never', { timeout: '200ms' }), [4, 4, 'context deadline exceeded']);
        same(call('', {}, { text: 'x'.repeat(2000) })[0], grpc.StatusResourceExhausted);
        const told = (path, message, params) => thrown(() => client.invoke(path, message, params));
        same(told('test.all.Echo/Nothing', {}), 'method \x22/test.all.Echo/Nothing\x22 not found in file descriptors');
        same(told('test.all.Echo/Unary', { nothing: 1 }).includes('unknown field'), true);
        same(client.invoke('test.all.Echo/Watch', {}).error.message.startsWith('cardinality violation'), true);
        same(told('test.all.Echo/Unary', {}, { metadate: {} }).includes('no parameter is called'), true);
        same(thrown(() => other.connect('127.0.0.1:1', { plaintext: true })).includes('refused'), true);
        same(thrown(() => other.connect(address, { tls: {} })).includes('insecureSkipTLSVerify'), true);
        same(thrown(() => client.load([], 'x.proto')).includes('top level'), true);
        same(call(''), [0, null, null]);
        const res = client.invoke('test.all.Echo/Unary', {}, { metadata: { 'x-wish': 'trailers-only' } });
        same([res.headers, res.trailers['content-type'], res.message.text], [{}, ['application/grpc'], '']);
    ";
    play_well(&server, "http", body);
}

#[test]
fn streams_and_promises_end_with_the_iteration() {
    let server = H2Server::start(None);
    let body = r"
        client.connect(address, { plaintext: true });
        client.asyncInvoke('test.all.Echo/Unary', { text: 'later' }).then((res) => same(res.message.text, 'later'));
        const play = (method, count, params) => {
            const seen = [];
            const stream = new Stream(client, `test.all.Echo/${method}`, params);
            stream.on('data', (message) => seen.push(method === 'Push' ? message.i32 : message.text));
            stream.on('error', (e) => seen.push(`${e.code} ${e.message}`));
            stream.on('end', () => { seen.push('end'); ends[method + count] = seen; if (Object.keys(ends).length === 5) check(); });
            for (let i = 0; i < count; i++) stream.write({ text: `m${i}` });
            stream.end();
        };
        const ends = {};
        const check = () => same([ends.Chat3, ends.Watch1, ends.Push4, ends.Chat0, ends.Chat1], [
            ['m0', 'm1', 'm2', 'end'], ['m0', 'm0', 'end'], [4, 'end'], ['5 not there', 'end'], ['4 context deadline exceeded', 'end'],
        ]);
        play('Chat', 3); play('Watch', 1); play('Push', 4);
        play('Chat', 0, { metadata: { 'x-wish': 'trailers-only' } });
        play('Chat', 1, { metadata: { 'x-wish': 'never' }, timeout: 200 });
    ";
    let ran = play_well(&server, "http", body);
    assert_eq!(ran.figure("grpc_streams", "count"), 5.0);
    assert_eq!(ran.figure("grpc_streams_msgs_received", "count"), 6.0);
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_schema_that_cannot_be_read_ends_the_run_before_its_start() {
    let dir = TempDir::create().unwrap();
    dir.write("a.proto", "message A {\n  B b = 1;\n}").unwrap();
    let script = "import { Client } from 'k6/net/grpc'; const c = new Client(); c.load(null, 'a.proto'); \
        export default function () {}";
    let ran = play_in(&dir, script, "", |_| {});
    assert_eq!(ran.code, catamaran_load::exit_code::FAILED);
    assert!(
        ran.err
            .contains("nothing is called `B`; is an import missing?"),
        "{}",
        ran.err
    );
}
