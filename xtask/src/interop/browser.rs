//! A headless Chromium, steered through ChromeDriver (<https://www.w3.org/TR/webdriver2/>).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use catamaran_testkit::{Client, Process, Program, TempDir, free_port};
use serde_json::{Value, json};

use crate::shell;

/// Builds the program as the tests do, and says where it is.
pub(super) fn program() -> Result<PathBuf> {
    shell::run(
        "cargo",
        &["build", "--locked", "--quiet", "--package", "catamaran"],
    )?;
    Ok(std::env::current_dir()?.join("target/debug/catamaran"))
}

/// A browser with one page.
pub(super) struct Browser {
    addr: SocketAddr,
    /// Path of the session.
    session: String,
    _driver: Process,
    _profile: TempDir,
}

impl Browser {
    /// Starts one with an empty profile that looks up nothing by itself.
    pub(super) fn start() -> Result<Self> {
        let port = free_port()?;
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let mut driver = Program::new("/usr/bin/chromedriver")?
            .arg(format!("--port={port}"))
            .start()?;
        driver.wait_for_port(addr, PATIENCE)?;
        let profile = TempDir::create()?;
        let mut browser = Self {
            addr,
            session: String::new(),
            _driver: driver,
            _profile: profile,
        };
        let mut flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
        flags.push(format!(
            "--user-data-dir={}",
            browser._profile.path().display()
        ));
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "binary": "/usr/bin/chromium", "args": flags },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let answer = browser.ask("POST", "/session", &wanted)?;
        let id = answer["sessionId"].as_str().context("no session")?;
        browser.session = format!("/session/{id}");
        Ok(browser)
    }

    /// Opens a page.
    pub(super) fn open(&self, url: &str) -> Result<()> {
        self.order("POST", "url", &json!({ "url": url })).map(drop)
    }

    /// What a script returns.
    pub(super) fn run(&self, script: &str) -> Result<Value> {
        self.order(
            "POST",
            "execute/sync",
            &json!({ "script": script, "args": [] }),
        )
    }

    /// Waits until an expression is true; returns how long that took.
    pub(super) fn wait(&self, what: &str, expression: &str) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let is_true = self.run(&format!("return Boolean({expression});"))?;
            if is_true == true {
                return Ok(began.elapsed());
            }
            if began.elapsed() > PATIENCE {
                let text = self.run("return document.body.innerText.slice(0, 3000);")?;
                bail!(
                    "waited in vain for {what}; the page says\n{}",
                    text.as_str().unwrap_or("")
                );
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Clicks as a user does: it must be visible, and nothing may lie over it.
    pub(super) fn click(&self, selector: &str) -> Result<()> {
        let element = self.element(selector)?;
        self.order("POST", &format!("element/{element}/click"), &json!({}))
            .map(drop)
            .with_context(|| format!("click on {selector}"))
    }

    /// Writes into a field.
    pub(super) fn write(&self, selector: &str, text: &str) -> Result<()> {
        let element = self.element(selector)?;
        let path = format!("element/{element}/value");
        self.order("POST", &path, &json!({ "text": text }))
            .map(drop)
    }

    /// Presses a key, wherever the focus is.
    pub(super) fn press(&self, key: &str) -> Result<()> {
        let keys = [
            json!({ "type": "keyDown", "value": key }),
            json!({ "type": "keyUp", "value": key }),
        ];
        let actions = json!({ "actions": [{ "type": "key", "id": "keys", "actions": keys }] });
        self.order("POST", "actions", &actions).map(drop)
    }

    /// Gives an order of the browser's own protocol.
    pub(super) fn cdp(&self, command: &str, params: &Value) -> Result<Value> {
        let order = json!({ "cmd": command, "params": params });
        self.order("POST", "goog/cdp/execute", &order)
    }

    /// Makes the page this large.
    pub(super) fn resize(&self, width: u32, height: u32) -> Result<()> {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.cdp("Emulation.setDeviceMetricsOverride", &size)
            .map(drop)
    }

    /// What the system of the user wants: `light` or `dark`. No motion, in any case: what moves while
    /// it is clicked is missed.
    pub(super) fn prefer(&self, scheme: &str) -> Result<()> {
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.cdp(
            "Emulation.setEmulatedMedia",
            &json!({ "features": features }),
        )
        .map(drop)
    }

    /// What was logged since it was last asked for: `browser` or `performance`.
    pub(super) fn log(&self, kind: &str) -> Result<Vec<Value>> {
        let log = self.order("POST", "se/log", &json!({ "type": kind }))?;
        Ok(log.as_array().cloned().unwrap_or_default())
    }

    /// The page as a PNG.
    pub(super) fn picture(&self) -> Result<Vec<u8>> {
        let shot = self.order("GET", "screenshot", &Value::Null)?;
        decode_base64(shot.as_str().context("no picture")?)
    }

    fn element(&self, selector: &str) -> Result<String> {
        let wanted = json!({ "using": "css selector", "value": selector });
        let found = self.order("POST", "element", &wanted)?;
        let id = found.as_object().and_then(|found| found.values().next());
        let id = id.and_then(Value::as_str);
        Ok(id.with_context(|| format!("no {selector}"))?.to_owned())
    }

    fn order(&self, method: &str, what: &str, body: &Value) -> Result<Value> {
        self.ask(method, &format!("{}/{what}", self.session), body)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let mut client = Client::connect(self.addr)?;
        client.set_patience(PATIENCE)?;
        let host = format!("Host: {}", self.addr);
        let fields = [host.as_str(), "Content-Type: application/json"];
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let response = client.request(method, path, &fields, body.as_bytes())?;
        let answer: Value = serde_json::from_slice(&response.body)?;
        let value = &answer["value"];
        ensure!(response.status == 200, "ChromeDriver: {}", value["message"]);
        Ok(value.clone())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver's end would leave the browser behind.
        let _ = self.ask("DELETE", &self.session, &Value::Null);
    }
}

/// RFC 4648 §4, as ChromeDriver writes it.
fn decode_base64(text: &str) -> Result<Vec<u8>> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let digit = DIGITS.iter().position(|digit| *digit == byte);
        let digit = digit.context("the picture is not in base64")?;
        bits = bits << 6 | u32::try_from(digit)?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff)?);
        }
    }
    Ok(bytes)
}

/// Without them it looks up names and asks for updates at every start.
const FLAGS: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--window-size=1400,1000",
];
/// For whatever is waited for: the machine may be busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_with_and_without_padding() {
        assert_eq!(decode_base64("aGFsbG8=").unwrap(), b"hallo");
        assert_eq!(decode_base64("AP8Q").unwrap(), [0, 255, 16]);
        assert!(decode_base64("a b").is_err());
    }
}
