//! Where requests come from, and what is logged of scripts.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, Mutex};

use catamaran_load::exit_code;
use catamaran_testkit::TempDir;

use super::{once, play, play_in};

/// A server that notes how many requests came from which address.
fn noting() -> (String, Arc<Mutex<BTreeMap<IpAddr, usize>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let noted: Arc<Mutex<BTreeMap<IpAddr, usize>>> = Arc::default();
    let own = Arc::clone(&noted);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let from = stream.peer_addr().unwrap().ip();
            *own.lock().unwrap().entry(from).or_default() += 1;
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    (url, noted)
}

#[test]
fn virtual_users_send_from_the_addresses_that_the_script_names() {
    let (url, noted) = noting();
    let script = "import http from 'k6/http';\n\
        export const options = { localIPs: '127.0.0.8/30,127.0.1.1', scenarios: { a: {\n\
          executor: 'per-vu-iterations', vus: 4, iterations: 2 } } };\n\
        export function setup() { http.get(__ENV.URL); }\n\
        export default function () { http.get(__ENV.URL); }";
    play(script, &url).is_well();
    let noted = noted.lock().unwrap();
    let noted: Vec<_> = noted.iter().map(|(ip, n)| (ip.to_string(), *n)).collect();
    // The fourth virtual user begins again, and `setup` has the first address.
    let of = |ip: &str, n: usize| (ip.to_owned(), n);
    let wanted = [of("127.0.0.9", 5), of("127.0.0.10", 2), of("127.0.1.1", 2)];
    assert_eq!(noted, wanted);
}

#[test]
fn an_address_that_is_not_of_this_machine_fails_requests_and_is_named() {
    let (url, _) = noting();
    let body = "const res = http.get(url); same(res.status, 0); \
        same(res.error.includes('from 192.0.2.1'), true);";
    let script = format!(
        "{}\nexport const options = {{ localIPs: '192.0.2.1' }};",
        once("", body)
    );
    let ran = play(&script, &url);
    assert!(!ran.err.contains("is not"), "{}", ran.err);
    assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
}

#[test]
fn what_scripts_print_goes_to_the_file_that_is_asked_for() {
    let dir = TempDir::create().unwrap();
    let script = "export default function () { console.warn('one\\ntwo', [3]); }";
    let file = dir.path().join("printed.log");
    for _ in 0..2 {
        let ran = play_in(&dir, script, "", |options| {
            options.options.console_output = Some(file.display().to_string());
        });
        assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
    }
    let printed = std::fs::read_to_string(&file).unwrap();
    let line = "level=warning msg=\"one\\ntwo [3]\" source=console\n";
    assert_eq!(printed, line.repeat(2));
    let ran = play_in(&dir, script, "", |options| {
        options.options.console_output = Some("/nowhere/x.log".to_owned());
    });
    assert_eq!(ran.code, exit_code::INVALID, "{}", ran.err);
    assert!(ran.err.contains("/nowhere/x.log"), "{}", ran.err);
}
