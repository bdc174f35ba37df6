//! What valid files mean.

use crate::{config, parse};
use catamaran_core::model::{
    Action, BackendId, Balance, Check, HashKey, HashMethod, HostPattern, LogFormat, LogTarget,
    PathMatch, PathModifier, Protocol, RateKey, ServerAddr, StickKey,
};
use std::path::PathBuf;
use std::time::Duration;

const DESIGN: &str = r#"
[frontend.web]
listen  = ["0.0.0.0:80"]
backend = "api"

[frontend.echo]
protocol = "tcp"                     # "tcp" | "udp" | "http" (default)
listen   = ["127.0.0.1:7878"]
backend  = "echo"

[backend.echo]
balance = "random"
stick   = { on = "source-ip", for = "2s" }       # window opens at the first request; refresh = true slides it
servers = ["127.0.0.1:8080", "127.0.0.1:8081"]

[backend.api]
servers = ["10.0.0.1:8080", { address = "10.0.0.2:8080", weight = 2, name = "b", backup = false }]
health  = { http = "/health", interval = "1s", rise = 2, fall = 3 }
"#;

#[test]
fn the_design_loads_as_written() {
    let loaded = parse(DESIGN).unwrap();
    assert_eq!(loaded.warnings, []);
    let [web, echo] = loaded.config.frontends.as_slice() else {
        panic!("two frontends");
    };
    assert_eq!((web.name.as_str(), web.protocol), ("web", Protocol::Http));
    assert_eq!((echo.name.as_str(), echo.protocol), ("echo", Protocol::Tcp));
    assert_eq!(web.backend, Some(BackendId(1)));
    assert_eq!(echo.backend, Some(BackendId(0)));
    let [echo, api] = loaded.config.backends.as_slice() else {
        panic!("two backends");
    };
    assert_eq!(echo.balance, Balance::Random);
    let stick = echo.stick.as_ref().unwrap();
    assert_eq!(
        (&stick.on, stick.window),
        (&StickKey::SourceIp, Duration::from_secs(2))
    );
    assert!(!stick.refresh);
    assert_eq!(api.servers[1].name.as_str(), "b");
    assert_eq!(api.servers[1].weight.as_u16(), 2);
    let health = api.health.as_ref().unwrap();
    assert!(matches!(&health.check, Check::Http(check) if check.path == "/health"));
    assert_eq!(health.interval, Duration::from_secs(1));
}
