//! The pictures of the documentation, taken of a balancer that has served for some minutes and has
//! seen a few things.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::LIVE;
use super::scene::Scene;
use crate::interop::browser::Browser;
use crate::shell;

/// Takes and writes them.
pub(super) fn write(browser: &Browser) -> Result<()> {
    let mut scene = Scene::start(None)?;
    let minute = Duration::from_secs(60);
    shell::say("the pictures want a history of three minutes");
    std::thread::sleep(minute);
    scene.kill("api", 1)?;
    std::thread::sleep(minute);
    let drain = json!({ "admin": "drain" }).to_string();
    scene.ask("PATCH", "/v1/backends/static/servers/static-2", &drain)?;
    std::thread::sleep(minute);
    fs::create_dir_all("docs/images")?;
    for (name, width, height, scheme) in [
        ("dashboard-light", 1240, 1120, "light"),
        ("dashboard-dark", 1240, 960, "dark"),
        ("dashboard-phone", 360, 1100, "light"),
    ] {
        browser.resize(width, height)?;
        browser.prefer(scheme)?;
        browser.open(&scene.url())?;
        browser.wait("the stream", LIVE)?;
        browser.wait(
            "the charts",
            "document.querySelector('.chart .area')?.getAttribute('d')?.length > 200",
        )?;
        browser.wait(
            "the curves",
            "innerWidth < 861 || document.querySelector('.curve')",
        )?;
        let picture = browser.picture()?;
        ensure!(
            picture.len() < MAX_BYTES,
            "{name} has {} bytes",
            picture.len()
        );
        fs::write(format!("docs/images/{name}.png"), &picture)?;
        shell::say(&format!("docs/images/{name}.png: {} bytes", picture.len()));
    }
    Ok(())
}

/// As `tidy` allows.
const MAX_BYTES: usize = 200 * 1024;
