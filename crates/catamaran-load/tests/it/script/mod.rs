//! Scripts of k6, run as they are.

mod corpus;
mod hostile;
mod hostile_servers;
mod html;
mod modules;
mod network;
mod outputs;
mod record;
mod records;
mod requests;
mod runs;
mod shared;
mod tls;
mod truth;

use std::path::Path;

use catamaran_load::options::Options;
use catamaran_load::plain::Console;
use catamaran_load::script::{ScriptOptions, run};
use catamaran_testkit::{Origin, Reply, TempDir};
use serde_json::Value;

/// What a script came to.
pub(crate) struct Ran {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: u8,
    summary: Value,
}

impl Ran {
    /// The figure of a metric; 0 of one that is not there.
    pub(crate) fn figure(&self, metric: &str, figure: &str) -> f64 {
        self.summary["metrics"][metric][figure]
            .as_f64()
            .unwrap_or(0.0)
    }

    /// Checks that the script ran to its end, once, and threw nothing.
    pub(crate) fn is_well(&self) -> &Self {
        // That this machine is busy is no fault of the script's.
        let said = self.err.lines();
        let said: Vec<_> = said
            .filter(|line| !line.contains("this machine was the limit"))
            .collect();
        assert_eq!((self.code, said), (0, Vec::new()), "{}", self.out);
        assert!(self.figure("iterations", "count") > 0.0);
        self
    }
}

/// Plays a script, with the URL of a server in `__ENV.URL`.
pub(crate) fn play(script: &str, url: &str) -> Ran {
    let dir = TempDir::create().unwrap();
    play_in(&dir, script, url, |_| {})
}

/// As above, in a directory and with options of the command line.
pub(crate) fn play_in(
    dir: &TempDir,
    script: &str,
    url: &str,
    set: impl FnOnce(&mut ScriptOptions),
) -> Ran {
    let path = dir.write("script.js", script).unwrap();
    let exported = dir.path().join("summary.json");
    let mut options = ScriptOptions {
        path,
        options: Options::default(),
        env: vec![("URL".to_owned(), url.to_owned())],
        workers: Some(2),
        summary_export: Some(exported.clone()),
        is_quiet: true,
        ..ScriptOptions::default()
    };
    set(&mut options);
    play_options(options, &exported)
}

fn play_options(options: ScriptOptions, exported: &Path) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console {
        out: &mut out,
        err: &mut err,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let code = runtime.block_on(run(options, &mut console)).unwrap();
    let summary = std::fs::read(exported).map(|bytes| serde_json::from_slice(&bytes).unwrap());
    Ran {
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
        code,
        summary: summary.unwrap_or_default(),
    }
}

/// A script whose only iteration checks that things are as they should be with `same(is, should)`.
pub(crate) fn once(imports: &str, body: &str) -> String {
    format!(
        "import http from 'k6/http';\n{imports}\n\
        const same = (is, should) => {{ const [a, b] = [is, should].map((v) => JSON.stringify(v)); \
        if (a !== b) throw new Error(`${{a}} is not ${{b}}`); }};\n\
        const thrown = (work) => {{ try {{ work(); }} catch (e) {{ return String(e.message); }} return 'nothing'; }};\n\
        const url = __ENV.URL;\n\
        export default function () {{ {body} }}"
    )
}

fn url_of(origin: &Origin) -> String {
    format!("http://{}", origin.addr())
}

/// A server that answers with what it is sent, and a few other things.
fn origin() -> Origin {
    Origin::http(|request| {
        let path = request.target.split('?').next().unwrap_or_default();
        match path {
            "/missing" => Reply::new(404, ""),
            "/to" => {
                let (_, to) = request.target.split_once('?').unwrap_or_default();
                Reply::new(302, "").field("Location", to)
            }
            "/moved" => Reply::new(302, "").field("Location", "/home"),
            "/again" => Reply::new(307, "").field("Location", "/echo"),
            "/loop" => Reply::new(302, "").field("Location", "/loop"),
            "/json" => Reply::new(
                200,
                r#"{"a":{"b":[1,2,"x"]},"l":[{"n":"p","v":1},{"n":"q","v":2}]}"#,
            ),
            "/login" => Reply::new(200, "")
                .field("Set-Cookie", "session=s1; Path=/; HttpOnly")
                .field("Set-Cookie", "other=2; Path=/elsewhere"),
            "/cookies" => Reply::new(200, request.head.field("Cookie").unwrap_or_default()),
            "/head" => {
                let fields = request.head.fields.iter();
                let lines: Vec<String> = fields
                    .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)))
                    .collect();
                Reply::new(200, lines.join("\n"))
            }
            "/digest" => match request.head.field("Authorization") {
                Some(answer) if answer.starts_with("Digest username=\"user\"") => {
                    Reply::new(200, answer)
                }
                _ => Reply::new(401, "").field(
                    "WWW-Authenticate",
                    "Digest realm=\"r\", nonce=\"n\", qop=\"auth\"",
                ),
            },
            _ => Reply::new(200, request.body.content.clone()),
        }
    })
    .start()
    .unwrap()
}
