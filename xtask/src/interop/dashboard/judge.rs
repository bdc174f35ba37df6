//! What can be measured of a page: names of controls, contrast, width, what it asks for and from
//! where.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::interop::browser::Browser;

/// Judges the page as it stands, at this width.
pub(super) fn page(browser: &Browser, width: u32) -> Result<()> {
    let wide = browser.run("return document.documentElement.scrollWidth;")?;
    ensure!(
        wide.as_u64() <= Some(width.into()),
        "the page is {wide} wide"
    );
    let poor = browser.run(CONTRAST)?;
    ensure!(poor == json!([]), "too little contrast: {poor:#}");
    let small = browser.run(TARGETS)?;
    ensure!(small == json!([]), "too small to hit: {small:#}");
    names(browser)
}

/// Shows that mistakes made on purpose are noticed.
pub(super) fn is_awake(browser: &Browser, width: u32) -> Result<()> {
    for (what, mistake) in [
        (
            "pale text",
            "e.textContent = 'pale'; e.style.color = '#aaa'; e.style.background = '#fff';",
        ),
        (
            "a button without a name",
            "const b = document.createElement('button'); b.style.width = b.style.height = '40px'; e.append(b);",
        ),
        (
            "a wide page",
            "e.style.width = '3000px'; e.style.height = '1px';",
        ),
    ] {
        let made =
            "const e = document.createElement('p'); e.id = 'mistake'; document.body.append(e);";
        browser.run(&format!("{made} {mistake}"))?;
        ensure!(page(browser, width).is_err(), "{what} was not noticed");
        browser.run("document.getElementById('mistake').remove();")?;
    }
    page(browser, width)
}

/// Every control, picture, table and dialog has a name that is read aloud.
fn names(browser: &Browser) -> Result<()> {
    const ROLES: &[&str] = &[
        "button",
        "link",
        "textbox",
        "searchbox",
        "combobox",
        "checkbox",
        "spinbutton",
        "img",
        "image",
        "dialog",
        "table",
        "region",
        "navigation",
        "columnheader",
    ];
    browser.cdp("Accessibility.enable", &json!({}))?;
    let tree = browser.cdp("Accessibility.getFullAXTree", &json!({}))?;
    let nodes = tree["nodes"].as_array().map_or(&[][..], Vec::as_slice);
    ensure!(nodes.len() > 100, "the tree has only {} nodes", nodes.len());
    let unnamed = nodes.iter().filter(|node| {
        let role = node["role"]["value"].as_str().unwrap_or_default();
        let name = node["name"]["value"].as_str().unwrap_or_default();
        node["ignored"] != true && ROLES.contains(&role) && name.trim().is_empty()
    });
    let unnamed: Vec<&Value> = unnamed.map(|node| &node["role"]["value"]).collect();
    ensure!(unnamed.is_empty(), "without a name: {unnamed:?}");
    let roles = |wanted: &str| {
        nodes
            .iter()
            .filter(|node| node["role"]["value"] == wanted)
            .count()
    };
    for (role, least) in [
        ("main", 1),
        ("banner", 1),
        ("navigation", 1),
        ("heading", 7),
        ("table", 3),
    ] {
        ensure!(roles(role) >= least, "{} of role {role}", roles(role));
    }
    Ok(())
}

/// Nothing was asked for but from where the page came.
pub(super) fn requests(browser: &Browser, base: &str) -> Result<()> {
    let mut count = 0;
    for entry in browser.log("performance")? {
        let message: Value = serde_json::from_str(entry["message"].as_str().unwrap_or("{}"))?;
        let message = &message["message"];
        if message["method"] == "Network.requestWillBeSent" {
            let url = message["params"]["request"]["url"]
                .as_str()
                .unwrap_or_default();
            // The browser's own start page.
            if url.starts_with("data:") || url.starts_with("chrome:") {
                continue;
            }
            ensure!(url.starts_with(base), "the page asks {url}");
            count += 1;
        }
    }
    ensure!(count > 20, "only {count} requests were seen");
    Ok(())
}

/// Errors on the console.
pub(super) fn errors(browser: &Browser) -> Result<Vec<String>> {
    let log = browser.log("browser")?;
    let errors = log.iter().filter(|line| line["level"] == "SEVERE");
    Ok(errors.map(|line| line["message"].to_string()).collect())
}

/// The console says nothing of errors.
pub(super) fn console(browser: &Browser) -> Result<()> {
    let errors = errors(browser)?;
    ensure!(errors.is_empty(), "the console says {errors:#?}");
    Ok(())
}

/// Text whose contrast is below WCAG 2.2 §1.4.3: 4.5, or 3 where it is large.
const CONTRAST: &str = r"
const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
const rgba = (colour) => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
};
const light = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const ground = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const colour = rgba(getComputedStyle(e).backgroundColor);
    if (colour[3] > 0.99) return colour;
  }
  return [255, 255, 255, 1];
};
const poor = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const element = walk.currentNode.parentElement;
  if (!walk.currentNode.data.trim() || !element.checkVisibility({ visibilityProperty: true }) || element.closest('noscript, .skip, .visually-hidden, :disabled')) continue;
  const style = getComputedStyle(element);
  const text = rgba(element.closest('svg') ? style.fill : style.color);
  const [a, b] = [light(text), light(ground(element))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  const size = parseFloat(style.fontSize);
  const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
  if (ratio < least) poor.push(`${walk.currentNode.data.trim().slice(0, 30)} (${element.className || element.tagName}): ${ratio.toFixed(2)}`);
}
return [...new Set(poor)].slice(0, 12);";

/// Controls smaller than 24 by 24 px (WCAG 2.2 §2.5.8), but for links within text.
const TARGETS: &str = r"
const small = [];
for (const one of document.querySelectorAll('button, select, input:not([type=checkbox])')) {
  if (!one.checkVisibility({ visibilityProperty: true }) || one.closest('.visually-hidden') || one.closest('thead')?.offsetHeight <= 1) continue;
  const box = one.getBoundingClientRect();
  if (box.height < 23.5 || (box.width < 23.5 && !one.matches('.link, .sort'))) small.push(`${one.textContent || one.id}: ${box.width.toFixed(0)}x${box.height.toFixed(0)}`);
}
return small.slice(0, 12);";

/// Goes through everything that takes the focus; returns what does not show it.
pub(super) const TAB_STOPS: &str = r"
const unseen = [];
for (const one of document.querySelectorAll('a[href], button, input, select, [tabindex=\'0\']')) {
  if (one.disabled || !one.checkVisibility({ visibilityProperty: true }) || one.closest('dialog')) continue;
  one.focus({ focusVisible: true, preventScroll: true });
  if (document.activeElement !== one) continue;
  const style = getComputedStyle(one);
  if (style.outlineStyle === 'none' || parseFloat(style.outlineWidth) < 1) unseen.push(one.textContent || one.id);
}
document.activeElement.blur();
return unseen.slice(0, 12);";
