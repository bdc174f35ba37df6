//! The case `dashboard`: the dashboard in a real browser, over a balancer with traffic.
//!
//! With `UPDATE_DOCS=1` it writes the pictures of the documentation too ([`pictures`]), which takes
//! some minutes more: the charts want a history.

mod judge;
mod pictures;
mod scene;

use anyhow::{Context, Result, ensure};
use catamaran_testkit::{Signal, signal_pid};
use serde_json::Value;

use self::scene::Scene;
use super::browser::Browser;
use crate::shell;

/// Runs the case.
pub(super) fn run() -> Result<()> {
    let browser = Browser::start()?;
    everything_is_seen_and_done(&browser)?;
    a_token_is_asked_for(&browser)?;
    if std::env::var_os("UPDATE_DOCS").is_some() {
        pictures::write(&browser)?;
    }
    Ok(())
}

fn everything_is_seen_and_done(browser: &Browser) -> Result<()> {
    let mut scene = Scene::start(None)?;
    browser.resize(1400, 1000)?;
    browser.prefer("light")?;
    browser.open(&scene.url())?;
    browser.wait("the stream", LIVE)?;
    browser.wait(
        "every server",
        "document.querySelectorAll('tr[data-server]').length === 5",
    )?;
    browser.wait(
        "traffic",
        "/[1-9]/.test(document.querySelector('.tile b').textContent)",
    )?;
    let points = browser.wait(
        "the charts",
        "document.querySelector('#rate, .chart .area')?.getAttribute('d')?.length > 20",
    )?;
    shell::say(&format!(
        "the page is live; the charts have points after {points:.1?}"
    ));

    // What an operator wants to see first.
    scene.kill("api", 1)?;
    let took = browser.wait("the dead server", "/down|refusing|ejected/.test(document.querySelector('tr[data-server=\"api/api-2\"] .word').textContent)")?;
    shell::say(&format!("a killed server is seen after {took:.1?}"));
    browser.wait("the event of it", "[...document.querySelectorAll('.events li')].some((li) => /server (down|refusing)/.test(li.textContent) && /api-2/.test(li.textContent))")?;

    drain_by_click(browser, &scene)?;
    weight_by_form(browser, &scene)?;
    keys(browser)?;
    scene.break_configuration()?;
    browser.wait(
        "the error of the configuration",
        "/nonsense/.test(document.querySelector('#alerts pre')?.textContent)",
    )?;

    for (width, height, scheme) in [
        (1400, 1000, "light"),
        (1400, 1000, "dark"),
        (360, 740, "light"),
        (360, 740, "dark"),
    ] {
        browser.resize(width, height)?;
        browser.prefer(scheme)?;
        judge::page(browser, width).with_context(|| format!("at {width} px, {scheme}"))?;
    }
    shell::say("wide and on a phone, light and dark: names, contrasts, no sideways scrolling");
    browser.resize(1400, 1000)?;
    browser.prefer("light")?;

    // A process that hangs is not shown as one that lives.
    signal_pid(scene.data_process()?, Signal::STOP)?;
    let took = browser.wait(
        "that it is stale",
        "/stale/.test(document.getElementById('link').textContent)",
    )?;
    signal_pid(scene.data_process()?, Signal::CONT)?;
    shell::say(&format!(
        "a process that stands still is called stale after {took:.1?}"
    ));
    browser.wait("the stream again", LIVE)?;
    judge::requests(browser, &scene.url())?;
    judge::console(browser)?;
    judge::is_awake(browser, 1400)?;
    // A page whose process ends would complain.
    browser.open("about:blank")
}

/// Drains a server with the mouse, and takes it back.
fn drain_by_click(browser: &Browser, scene: &Scene) -> Result<()> {
    browser.click("button[aria-label='Drain api-1']")?;
    browser.wait("the question", "document.getElementById('dialog').open")?;
    browser.click("#dialog .buttons button:first-child")?;
    browser.wait("no question", "!document.getElementById('dialog').open")?;
    ensure!(
        scene.server("api", "api-1")?["admin"] == "ready",
        "drained though it was cancelled"
    );
    browser.click("button[aria-label='Drain api-1']")?;
    browser.wait("the question", "document.getElementById('dialog').open")?;
    browser.click("#confirm")?;
    browser.wait(
        "the drain",
        "/drain/.test(document.querySelector('tr[data-server=\"api/api-1\"] .word').textContent)",
    )?;
    ensure!(
        scene.server("api", "api-1")?["admin"] == "drain",
        "not drained"
    );
    browser.wait("who did it", "[...document.querySelectorAll('.events li')].some((li) => /drain/.test(li.textContent) && /by tcp 127.0.0.1/.test(li.textContent))")?;
    browser.click("button[aria-label='Enable api-1']")?;
    browser.wait(
        "the return",
        "/up/.test(document.querySelector('tr[data-server=\"api/api-1\"] .word').textContent)",
    )?;
    shell::say("a server is drained and taken back by clicks, and the event says who did it");
    Ok(())
}

fn weight_by_form(browser: &Browser, scene: &Scene) -> Result<()> {
    browser.click("button[aria-label='More of api-3']")?;
    browser.wait("the server's dialog", "document.getElementById('weight')")?;
    browser.run("document.getElementById('weight').select();")?;
    browser.write("#weight", "7")?;
    browser
        .click("#weight ~ button, form.inline button[type='submit']:not(.danger)")
        .or_else(|_| browser.press("\u{e007}"))?;
    browser.wait("the weight", "document.querySelector('tr[data-server=\"api/api-3\"] .col-weight').textContent.startsWith('7')")?;
    ensure!(
        scene.server("api", "api-3")?["weight"] == 7,
        "the weight is another"
    );
    browser.click("#close")?;
    Ok(())
}

/// The keyboard alone.
fn keys(browser: &Browser) -> Result<()> {
    browser.run("document.activeElement.blur(); window.scrollTo(0, 0);")?;
    browser.press("?")?;
    browser.wait("the list of shortcuts", "document.getElementById('dialog').open && /Shortcuts/.test(document.getElementById('dialog').textContent)")?;
    browser.press("\u{e00c}")?;
    browser.wait(
        "the end of the list",
        "!document.getElementById('dialog').open",
    )?;
    browser.press("/")?;
    browser.wait(
        "the focus in the filter",
        "document.activeElement.id === 'filter'",
    )?;
    browser.write("#filter", "static")?;
    browser.wait(
        "the filter",
        "document.querySelectorAll('tr[data-server]').length === 2",
    )?;
    browser.run("const f = document.getElementById('filter'); f.value = ''; f.dispatchEvent(new Event('input')); f.blur();")?;
    browser.wait(
        "all servers",
        "document.querySelectorAll('tr[data-server]').length === 5",
    )?;
    let unseen = browser.run(judge::TAB_STOPS)?;
    ensure!(
        unseen == Value::Array(Vec::new()),
        "focus cannot be seen on {unseen}"
    );
    shell::say("shortcuts work, and the focus can be seen wherever it goes");
    Ok(())
}

fn a_token_is_asked_for(browser: &Browser) -> Result<()> {
    const TOKEN: &str = "a-token-for-the-dashboard-case";
    let scene = Scene::start(Some(TOKEN))?;
    browser.open(&scene.url())?;
    browser.wait("the login", "document.getElementById('token')")?;
    let told = browser.run("return document.querySelectorAll('tr[data-server]').length;")?;
    ensure!(told == 0, "servers are shown without the token");
    browser.write("#token", "another")?;
    browser.press("\u{e007}")?;
    browser.wait(
        "the refusal",
        "/not the token/.test(document.getElementById('dialog').textContent)",
    )?;
    browser.run("document.getElementById('token').value = '';")?;
    browser.write("#token", TOKEN)?;
    browser.press("\u{e007}")?;
    browser.wait("the stream", LIVE)?;
    browser.wait(
        "every server",
        "document.querySelectorAll('tr[data-server]').length === 5",
    )?;
    let kept = browser.run("return [localStorage.length, document.cookie, location.href];")?;
    ensure!(
        !kept.to_string().contains(TOKEN),
        "the token is kept where it should not be: {kept}"
    );
    browser.click("#logout")?;
    browser.wait("the login again", "document.getElementById('token')")?;
    shell::say("with a token nothing is shown before the login, and nothing after the logout");
    // Each 401 is a line of the console; everything else would be a mistake.
    let errors = judge::errors(browser)?;
    let others: Vec<_> = errors.iter().filter(|line| !line.contains("401")).collect();
    ensure!(others.is_empty(), "the console says {others:#?}");
    Ok(())
}

const LIVE: &str = "document.getElementById('link')?.textContent === 'live'";
