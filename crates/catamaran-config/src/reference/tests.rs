//! The reference says what the program does, and the checked-in files say what the reference says.

use super::{Absent, Kind, ROOT, Section, json_schema, markdown, sections};
use crate::Loaded;
use catamaran_core::model::Config;
use std::path::{Path, PathBuf};

fn parse(text: &str) -> Result<Loaded, crate::Errors> {
    crate::parse(text, "t.toml", &|_| None, &|path: &Path| {
        let ending = path.extension().and_then(|ending| ending.to_str());
        Ok(match ending.unwrap_or_default() {
            "txt" => "192.0.2.1 # a list\n",
            "map" => "example.com api\n",
            "htpasswd" => "ada:$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA\n",
            "json" => concat!(
                r#"{"kty":"OKP","crv":"Ed25519","#,
                r#""x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#
            ),
            "key" => "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n",
            _ => "a-page-or-a-token",
        }
        .into())
    })
}

fn config(text: &str) -> Config {
    match parse(text) {
        Ok(loaded) => loaded.config,
        Err(errors) => panic!("{errors}\n{text}"),
    }
}

/// A configuration that holds `section` with `key`, or without it if that is empty.
fn within(section: &Section, key: &str) -> String {
    let parts = |frontend: &str, backend: &str, rest: &str| {
        format!(
            "[frontend.w]\nlisten = \":80\"\nbackend = \"b\"\n{frontend}\n[backend.b]\nservers = \
             [\"a:1\"]\n{backend}\n{rest}"
        )
    };
    let route = |key: &str| parts(&format!("[[frontend.w.route]]\n{key}"), "", "");
    match section.title {
        "[frontend.NAME]" => parts(key, "", ""),
        "[backend.NAME]" => parts("", key, ""),
        "[admin]" => parts("", "", &format!("[admin]\n{key}")),
        "[process]" => parts("", "", &format!("[process]\n{key}")),
        "[tracing]" => {
            let endpoint = "endpoint = \"http://a:1\"";
            parts("", "", &format!("[tracing]\n{endpoint}\n{key}"))
        }
        "frontend.NAME.timeouts" => parts(&format!("timeouts = {{ {key} }}"), "", ""),
        "frontend.NAME.access-log" => parts(&format!("access-log = {{ {key} }}"), "", ""),
        "rate-limit" => parts(
            &format!("rate-limit = {{ requests = 5{} }}", after(key)),
            "",
            "",
        ),
        "backend.NAME.servers" => format!(
            "[frontend.w]\nlisten = \":80\"\nbackend = \"b\"\n[backend.b]\nservers = [{{ address \
             = \"a:1\"{} }}]",
            after(key)
        ),
        "backend.NAME.balance" => parts(
            "",
            &format!("balance = {{ hash = \"path\"{} }}", after(key)),
            "",
        ),
        "backend.NAME.stick" => parts(
            "",
            &format!(
                "stick = {{ on = \"source-ip\", for = \"2s\"{} }}",
                after(key)
            ),
            "",
        ),
        "backend.NAME.health" => parts(
            "",
            &format!("health = {{ http = \"/\"{} }}", after(key)),
            "",
        ),
        "backend.NAME.agent" => parts("", &format!("agent = {{ port = 9{} }}", after(key)), ""),
        "backend.NAME.outlier" => parts("", &format!("outlier = {{ {key} }}"), ""),
        "backend.NAME.retry" => parts("", &format!("retry = {{ {key} }}"), ""),
        "backend.NAME.queue" => parts("", &format!("queue = {{ {key} }}"), ""),
        "backend.NAME.timeouts" => parts("", &format!("timeouts = {{ {key} }}"), ""),
        "frontend.NAME.route.respond" => route(&format!("respond = {{ {key} }}")),
        "frontend.NAME.route.redirect" => route(&format!(
            "redirect = {{ scheme = \"https\"{} }}",
            after(key)
        )),
        "frontend.NAME.route.mirror" => route(&format!(
            "backend = \"b\"\nmirror = {{ backend = \"b\"{} }}",
            after(key)
        )),
        title => within_others(title, key, parts),
    }
}

/// The same for sections that are not of a frontend or backend alone.
fn within_others(title: &str, key: &str, parts: impl Fn(&str, &str, &str) -> String) -> String {
    let route = |key: &str| parts(&format!("[[frontend.w.route]]\n{key}"), "", "");
    match title {
        "[[frontend.NAME.route]]" => route(&format!("backend = \"b\"\n{key}")),
        "[map.NAME]" => parts(
            "[[frontend.w.route]]\nmap = \"m\"",
            "",
            &format!("[map.m]\n{key}"),
        ),
        "auth.basic" => {
            let file = "users-file = \"u.htpasswd\"";
            parts(
                &format!("auth = {{ basic = {{ {file}{} }} }}", after(key)),
                "",
                "",
            )
        }
        "auth.jwt" => {
            let file = "keys-file = \"k.json\"";
            parts(
                &format!("auth = {{ jwt = {{ {file}{} }} }}", after(key)),
                "",
                "",
            )
        }
        "frontend.NAME.bandwidth" => parts(
            &format!("bandwidth = {{ in = \"1MiB/s\"{} }}", after(key)),
            "",
            "",
        ),
        "frontend.NAME.tarpit" => parts(&format!("tarpit = {{ {key} }}"), "", ""),
        "[cluster]" => parts(
            "",
            "",
            &format!(
                "[cluster]\nnode = \"a\"\npeers = {{ b = \"b:1\" }}\nsecret-file = \"c.key\"\n{key}"
            ),
        ),
        "[etcd]" => parts("", "", &format!("[etcd]\nendpoints = \"e\"\n{key}")),
        "[virtual-ip.NAME]" => parts("", "", &virtual_ip(key)),
        "virtual-ip.NAME.track" => {
            let item = format!("command = [\"/bin/true\"]{}", after(key));
            parts("", "", &virtual_ip(&format!("track = [{{ {item} }}]")))
        }
        "virtual-ip.NAME.routes" => {
            let item = format!("to = \"10.0.0.0/8\"{}", after(key));
            parts("", "", &virtual_ip(&format!("routes = [{{ {item} }}]")))
        }
        title => panic!("this test needs a frame for `{title}`"),
    }
}

fn virtual_ip(key: &str) -> String {
    format!(
        "[virtual-ip.v]\naddresses = \"10.0.0.9/24\"\ninterface = \"e\"\nrouter-id = 1\n\
         secret-file = \"/k\"\non-change = [\"/bin/true\"]\n{key}"
    )
}

fn after(key: &str) -> String {
    if key.is_empty() {
        String::new()
    } else {
        format!(", {key}")
    }
}

#[test]
fn a_written_default_changes_nothing() {
    let mut checked = 0;
    for section in sections() {
        for key in section.keys {
            if let Absent::Default(literal) = key.absent {
                let without = config(&within(section, ""));
                let with = config(&within(section, &format!("{} = {literal}", key.name)));
                assert_eq!(with, without, "{} {}", section.title, key.name);
                assert!(serde_json::from_str::<serde_json::Value>(literal).is_ok());
                checked += 1;
            }
        }
    }
    assert!(checked > 30, "{checked}");
}

#[test]
fn every_example_of_the_documentation_loads_without_warnings() {
    let text = markdown();
    let examples: Vec<&str> = text
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(examples.len() > 10);
    for example in examples {
        match parse(example) {
            Ok(loaded) => assert_eq!(loaded.warnings, [], "{example}"),
            Err(errors) => panic!("{errors}\n{example}"),
        }
    }
}

#[test]
fn every_link_of_the_documentation_leads_to_a_heading() {
    let text = markdown();
    let slugs: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with("##"))
        .map(|line| super::slug(line.trim_start_matches(['#', ' '])))
        .collect();
    for link in text.split("](#").skip(1) {
        let link = link.split(')').next().unwrap();
        assert!(slugs.iter().any(|slug| slug == link), "{link}");
    }
}

#[test]
fn a_section_has_each_key_once_and_says_what_it_does() {
    for section in std::iter::once(&ROOT).chain(sections()) {
        for (index, key) in section.keys.iter().enumerate() {
            let earlier = &section.keys[..index];
            assert!(
                !earlier.iter().any(|known| known.name == key.name),
                "{}",
                key.name
            );
            let later = matches!(key.absent, Absent::Later(_));
            assert!(later || key.doc.ends_with('.'), "{}", key.name);
            assert!(!matches!(key.kind, Kind::Choice([])), "{}", key.name);
        }
    }
}

#[test]
fn the_checked_in_documentation_is_the_reference() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    same(&docs.join("configuration.md"), &markdown());
    same(&docs.join("catamaran.schema.json"), &json_schema());
}

/// Compares a file with what it should be; writes it if `UPDATE_DOCS` is set.
fn same(path: &PathBuf, expected: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, expected).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is not what the reference says; run UPDATE_DOCS=1 cargo test -p catamaran-config",
        path.display()
    );
}
