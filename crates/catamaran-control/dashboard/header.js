//! The head of the page: what runs, how fresh the numbers are, and what is wrong.

import { draw, h } from "./dom.js";
import { clock, counted, duration } from "./format.js";
import { readiness } from "./words.js";
import { store } from "./store.js";
import { token } from "./api.js";
import { nextTheme, theme } from "./theme.js";
import { showLogin, showShortcuts } from "./dialogs.js";
import { changed } from "./store.js";

const THEMES = { auto: "◐ auto", light: "☀ light", dark: "☾ dark" };

export function drawHeader(element) {
  const process = store.state?.process;
  const ready = readiness[process?.readiness];
  draw(element,
    h("h1", {}, h("img", { src: "/favicon.svg", alt: "", width: 24, height: 24 }), "catamaran"),
    process && h("ul", { class: "facts", "aria-label": "Process" },
      h("li", { class: `state tone-${ready.tone}` },
        h("span", { class: "sign", "aria-hidden": "true" }, ready.sign), ready.word),
      h("li", {}, counted(process.connections, "connection")),
      h("li", { class: "wide" }, `up ${duration(process.uptime_seconds)}`),
      h("li", { class: "wide" }, `version ${process.version}, pid ${process.pid}`)),
    h("div", { class: "controls" },
      link(),
      h("button", {
        id: "theme",
        class: "quiet",
        "aria-label": `Colours: ${theme()}`,
        title: "Light, dark, or as the system says (t)",
        onclick: () => { nextTheme(); changed(); },
      }, THEMES[theme()]),
      h("button", { id: "help", class: "quiet", "aria-label": "Keyboard shortcuts", title: "Shortcuts (?)", onclick: showShortcuts }, "?"),
      token.get()
        ? h("button", { id: "logout", class: "quiet", onclick: () => { token.forget(); location.reload(); } }, "Log out")
        : store.locked && h("button", { id: "login", onclick: showLogin }, "Log in")));
}

/// Whether what is shown is what is.
function link() {
  const age = (performance.now() - store.heard) / 1000;
  const shown = store.locked ? ["off", "locked"] : {
    live: ["good", "live"],
    connecting: ["warn", "connecting…"],
    stale: ["bad", store.state ? `stale, ${duration(age)} old` : "no answer"],
  }[store.link];
  return h("span", { id: "link", class: `pill tone-${shown[0]}`, role: "status" },
    h("span", { class: "dot", "aria-hidden": "true" }), shown[1]);
}

/// What an operator must know before anything else.
export function drawAlerts(element) {
  const state = store.state;
  if (!state) return draw(element);
  const config = state.process.config;
  const down = state.backends.filter((backend) => backend.usable === 0);
  const conflicts = state.virtual_ips.filter((one) => one.conflict);
  return draw(element,
    config.last_error && h("div", { key: "config", class: "alert tone-bad" },
      h("strong", {}, "The last reload was refused; the configuration of before goes on."),
      h("pre", { tabindex: 0, "aria-label": "What is wrong with it" }, config.last_error)),
    down.map((backend) => h("div", { key: `down-${backend.name}`, class: "alert tone-bad" },
      h("strong", {}, `Backend ${backend.name} has no usable server.`), " Its clients get errors.")),
    conflicts.map((one) => h("div", { key: `conflict-${one.name}-${one.family}`, class: "alert tone-bad" },
      h("strong", {}, `Another node holds ${one.name} (${one.family}) too.`))));
}

export function drawFooter(element) {
  const config = store.state?.process.config;
  draw(element, config && h("p", {},
    `Configuration ${config.source}`, config.digest && ` (${config.digest})`,
    `, the ${ordinal(config.generation)}, since ${clock(config.served_since)}. Log level ${store.state.process.log_level}. `,
    h("a", { href: "/v1/openapi.json" }, "API description")));
}

function ordinal(n) {
  const ends = { 1: "st", 2: "nd", 3: "rd" };
  return `${n}${n % 100 > 10 && n % 100 < 14 ? "th" : ends[n % 10] ?? "th"}`;
}

const SECTIONS = [
  ["overview", "Overview"],
  ["topology", "Topology"],
  ["servers", "Servers"],
  ["outcomes", "Outcomes"],
  ["node", "Node"],
  ["tables", "Affinity"],
  ["events", "Events"],
];

export function drawNav(element) {
  draw(element, h("ul", {}, SECTIONS.map(([id, name]) =>
    h("li", { key: id }, h("a", { href: `#${id}` }, name)))));
}
