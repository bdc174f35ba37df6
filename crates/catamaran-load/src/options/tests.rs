//! Options from one source and from several.

use serde_json::{Value, json};

use super::*;
use crate::metric::Registry;
use crate::names::{Policy, Select};
use crate::scenario::Executor;

#[expect(
    clippy::needless_pass_by_value,
    reason = "tests write the value in its place"
)]
fn script(value: Value) -> Options {
    Options::from_script(&value).unwrap()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "tests write the value in its place"
)]
fn told(value: Value) -> String {
    let options = Options::from_script(&value);
    let derived = options.and_then(|options| options.derive(&mut Registry::new()));
    derived.unwrap_err().to_string()
}

fn executor(options: &Options) -> Executor {
    options.derive_scenarios().unwrap().remove(0).executor
}

#[test]
fn shortcuts_become_a_scenario() {
    let name = |value| executor(&script(value)).name();
    assert_eq!(name(json!({})), "per-vu-iterations");
    let Executor::SharedIterations {
        vus, iterations, ..
    } = executor(&script(json!({"vus": 3})))
    else {
        panic!("another executor")
    };
    assert_eq!((vus, iterations), (3, 3));
    assert_eq!(name(json!({"vus": 3, "duration": "5s"})), "constant-vus");
    assert_eq!(
        name(json!({"stages": [{"duration": "5s", "target": 3}]})),
        "ramping-vus"
    );
    let both = script(json!({"vus": 2, "iterations": 10, "duration": "5s"}));
    let Executor::SharedIterations { max_duration, .. } = executor(&both) else {
        panic!("another executor")
    };
    assert_eq!(max_duration, Duration::from_secs(5));
}

#[test]
fn two_ways_to_say_how_long_contradict_each_other() {
    let stages = json!([{"duration": "5s", "target": 3}]);
    assert!(told(json!({"stages": stages, "duration": "5s"})).contains("leave one out"));
    assert!(told(json!({"stages": stages, "iterations": 5})).contains("leave one out"));
    assert!(told(json!({"iterations": 2, "vus": 3})).contains("do not suffice"));
    assert!(told(json!({"scenarios": {}})).contains("empty"));
}

#[test]
fn a_higher_source_wipes_how_long_and_leaves_the_rest() {
    let low = script(json!({
        "vus": 7, "userAgent": "low",
        "scenarios": {"a": {"executor": "constant-vus", "duration": "9s"}},
    }));
    let high = Options {
        duration: Some(Duration::from_secs(3)),
        ..Options::default()
    };
    let both = low.clone().with(high);
    assert_eq!(both.user_agent.as_deref(), Some("low"));
    let Executor::ConstantVus { vus, duration } = executor(&both) else {
        panic!("another executor")
    };
    assert_eq!((vus, duration), (7, Duration::from_secs(3)));
    let users_only = low.with(Options {
        vus: Some(4),
        ..Options::default()
    });
    let Executor::SharedIterations {
        vus, iterations, ..
    } = executor(&users_only)
    else {
        panic!("another executor")
    };
    assert_eq!((vus, iterations), (4, 4));
}

#[test]
fn the_environment_is_read() {
    let pairs = [
        ("K6_VUS", "5"),
        ("K6_STAGES", "5s:10,1m:20"),
        ("K6_TAGS", "a:1, b=x"),
        ("K6_NO_SETUP", "true"),
        ("K6_SUMMARY_TREND_STATS", "avg, p(99)"),
        ("PATH", "anything"),
        ("K6_DURATION", ""),
    ];
    let pairs = pairs.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let options = Options::from_environment(pairs.into_iter()).unwrap();
    assert_eq!(options.vus, Some(5));
    assert_eq!(options.stages.unwrap()[1].target, 20.0);
    assert_eq!(options.tags.unwrap()["b"], "x");
    assert_eq!(options.no_setup, Some(true));
    assert_eq!(options.summary_trend_stats.unwrap().len(), 2);
    assert_eq!(options.duration, None);
    let wrong = [("K6_STAGES".to_owned(), "5s".to_owned())];
    assert!(Options::from_environment(wrong.into_iter()).is_err());
}

#[test]
fn numbers_may_be_written_as_text_and_an_empty_one_says_nothing() {
    let options = script(json!({
        "vus": "3", "iterations": "", "rps": "100", "batch": "", "stages": [{"duration": "1s", "target": "2"}],
        "scenarios": {"a": {"executor": "constant-arrival-rate", "rate": "5", "duration": "1s",
            "preAllocatedVUs": "2", "maxVUs": ""}},
    }));
    assert_eq!((options.vus, options.iterations), (Some(3), None));
    assert_eq!((options.rps, options.batch), (Some(100), None));
    assert_eq!(options.stages.unwrap()[0].target, 2.0);
    let executor = &options.scenarios.unwrap()[0].executor;
    assert!(
        matches!(
            executor,
            Executor::ConstantArrivalRate {
                rate: 5.0,
                max_vus: 2,
                ..
            }
        ),
        "{executor:?}"
    );
    for wrong in [" 3", "3.0", "1e1", "0x3", "-1", "null"] {
        assert!(told(json!({"vus": wrong})).contains("is not a whole number"));
    }
    let empty = json!({"executor": "constant-arrival-rate", "rate": "", "duration": "1s", "preAllocatedVUs": 2});
    assert!(told(json!({"scenarios": {"a": empty}})).contains("rate"));
}

#[test]
fn all_executors_are_read() {
    let scenarios = script(json!({"scenarios": {
        "a": {"executor": "shared-iterations", "vus": 2, "iterations": 5},
        "b": {"executor": "per-vu-iterations", "maxDuration": "1m", "exec": "f"},
        "c": {"executor": "constant-vus", "vus": 2, "duration": "2s", "env": {"A": 1}},
        "d": {"executor": "ramping-vus", "startVUs": 0, "stages": [{"duration": 1000, "target": 3}]},
        "e": {"executor": "constant-arrival-rate", "rate": 30, "timeUnit": "1m", "duration": "2s", "preAllocatedVUs": 2},
        "f": {"executor": "ramping-arrival-rate", "stages": [], "preAllocatedVUs": 1, "maxVUs": 9},
    }}))
    .derive_scenarios()
    .unwrap();
    let names: Vec<_> = scenarios
        .iter()
        .map(|scenario| scenario.executor.name())
        .collect();
    assert_eq!(
        names,
        [
            "shared-iterations",
            "per-vu-iterations",
            "constant-vus",
            "ramping-vus",
            "constant-arrival-rate",
            "ramping-arrival-rate"
        ]
    );
    assert_eq!(scenarios[1].exec, "f");
    assert_eq!(scenarios[2].env["A"], "1");
    assert_eq!(
        scenarios[3].executor.regular_duration(),
        Duration::from_secs(1)
    );
    assert_eq!(scenarios[5].executor.max_vus(), 9);
}

#[test]
fn mistakes_in_scenarios_are_named() {
    let of = |scenario: Value| told(json!({"scenarios": {"a": scenario}}));
    assert!(of(json!({"executor": "constant-vus"})).contains("`duration` is missing"));
    assert!(of(json!({"executor": "constant", "vus": 1})).contains("there are shared-iterations"));
    assert!(
        of(json!({"executor": "constant-vus", "duration": "5s", "iterations": 1}))
            .contains("has no `iterations`")
    );
    assert!(of(json!({"executor": "constant-vus", "duration": "5x"})).contains("`5x` is no time"));
    assert!(
        of(json!({"executor": "constant-vus", "duration": "5s", "vus": 0})).contains("above 0")
    );
    assert!(
        of(json!({"executor": "constant-arrival-rate", "rate": 5, "duration": "5s"}))
            .contains("preAllocatedVUs")
    );
    assert!(of(json!({"executor": "constant-arrival-rate", "rate": 5, "duration": "5s", "preAllocatedVUs": 5, "maxVUs": 2})).contains("maxVUs"));
    assert!(told(json!({"scenarios": {"a b": {}}})).contains("no name for a scenario"));
}

#[test]
fn thresholds_are_read_in_both_forms() {
    let mut registry = Registry::new();
    let options = script(json!({"thresholds": {
        "http_req_duration": ["p(95)<500", {"threshold": "max<1000", "abortOnFail": true, "delayAbortEval": "10s"}],
        "checks{group:::front}": "rate>0.9",
    }}));
    let thresholds = options.derive_thresholds(&mut registry).unwrap();
    let of_duration = thresholds
        .iter()
        .find(|guarded| guarded.selector == "http_req_duration");
    let second = &of_duration.unwrap().thresholds[1];
    assert!(second.abort_on_fail);
    assert_eq!(second.delay_abort, Duration::from_secs(10));
    let of = |value: Value| told(json!({"thresholds": value}));
    assert!(of(json!({"nonsense": ["max<5"]})).contains("no metric is called `nonsense`"));
    assert!(of(json!({"checks": ["max<5"]})).contains("does not fit a rate"));
    assert!(of(json!({"checks": ["rate~5"]})).contains("is no threshold"));
    let none = Options {
        no_thresholds: Some(true),
        ..options
    };
    assert!(none.derive_thresholds(&mut registry).unwrap().is_empty());
}

#[test]
fn options_that_are_not_there_say_what_to_do() {
    assert!(told(json!({"paused": true})).contains("when it is to begin"));
    assert!(told(json!({"executionSegment": "0:1/2"})).contains("--agents"));
    assert!(Options::from_script(&json!({"paused": false, "metricSamplesBufferSize": 5})).is_ok());
    let shouted = Options::from_script(&json!({"VUS": 5, "Iterations": 6})).unwrap();
    assert_eq!((shouted.vus, shouted.iterations), (Some(5), Some(6)));
    let odd = Options::from_script(&json!({"vus": 5, "vusss": 5})).unwrap();
    assert_eq!((odd.vus, odd.unknown), (Some(5), vec!["vusss".to_owned()]));
    assert!(told(json!({"vus": "many"})).contains("is not a whole number"));
    assert!(Options::from_script(&json!({"cloud": {}, "vus": null})).is_ok());
    assert!(Options::from_script(&json!([])).is_err());
}

#[test]
fn options_of_names_and_tls_are_read_and_mistakes_in_them_named() {
    let options = script(json!({
        "blockHostnames": ["*.a.test", "b.test"],
        "blacklistIPs": ["10.0.0.0/8"],
        "dns": {"ttl": "inf", "select": "roundRobin", "policy": "any"},
        "rps": 50,
        "summaryTimeUnit": "us",
        "tlsVersion": {"min": "tls1.1", "max": "tls1.2"},
    }));
    assert_eq!(options.block_hostnames.unwrap(), ["*.a.test", "b.test"]);
    assert_eq!(options.blacklist_ips.unwrap()[0].0, "10.0.0.0/8");
    let (dns, _) = options.dns.unwrap();
    assert_eq!(dns.ttl, Duration::MAX);
    assert_eq!((dns.select, dns.policy), (Select::RoundRobin, Policy::Any));
    assert_eq!(options.rps, Some(50));
    assert_eq!(options.summary_time_unit, Some(TimeUnit::Micros));
    let (versions, _) = options.tls_version.unwrap();
    assert!(versions.tls12 && !versions.tls13);
    for (wrong, remedy) in [
        (json!({"blockHostnames": ["a*b"]}), "*.a.test"),
        (json!({"blacklistIPs": ["10.0.0.0/40"]}), "10.0.0.0/8"),
        (json!({"dns": {"policy": "v4"}}), "preferIPv4"),
        (json!({"dns": {"select": "any"}}), "roundRobin"),
        (json!({"dns": {"tll": "1m"}}), "one of ttl"),
        (json!({"dns": {"ttl": "1 minute"}}), "is no time"),
        (json!({"rps": -1}), "a whole number"),
        (json!({"tlsVersion": "tls1.1"}), "tls1.2"),
        (json!({"tlsVersion": "1.3"}), "tls1.3"),
        (json!({"tlsCipherSuites": ["TLS_FAST"]}), "TLS_ECDHE"),
        (json!({"tlsCipherSuites": "TLS_FAST"}), "a list"),
        (json!({"localIPs": "10.0.0.1-"}), "range"),
        (json!({"localIPs": 5}), "a text"),
        (json!({"tlsAuth": [{"cert": "x", "key": "y"}]}), "`cert`"),
        (json!({"tlsAuth": [{"cert": "x"}]}), "tlsAuth.key"),
        (json!({"tlsAuth": [{"password": "x"}]}), "openssl pkey"),
    ] {
        let why = told(wrong);
        assert!(why.contains(remedy), "{why}");
    }
}

#[test]
fn what_the_environment_says_of_logs_and_addresses_is_text() {
    let variables = [
        ("K6_HTTP_DEBUG", "true"),
        ("K6_LOCAL_IPS", "10.0.0.0/30"),
        ("K6_CONSOLE_OUTPUT", "7"),
        ("K6_HANDLE_SUMMARY_TIMEOUT", "5s"),
        (
            "K6_TLS_CIPHER_SUITES",
            "TLS_RSA_WITH_AES_128_CBC_SHA, TLS_AES_128_GCM_SHA256",
        ),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let options = Options::from_environment(variables.into_iter()).unwrap();
    assert_eq!(options.http_debug, Some(HttpDebug::Heads));
    let shown = options.to_json(&[]);
    assert_eq!(shown["localIPs"], "10.0.0.0/30");
    assert_eq!(shown["consoleOutput"], "7");
    assert_eq!(shown["tlsCipherSuites"][1], "TLS_AES_128_GCM_SHA256");
    assert_eq!(shown["handleSummaryTimeout"], "5s");
    let full = script(json!({"httpDebug": "full", "localIPs": ""}));
    assert_eq!(full.http_debug, Some(HttpDebug::Full));
    assert_eq!(full.local_ips, None);
}
