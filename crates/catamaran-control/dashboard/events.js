//! What happened: health, reloads, failovers, changes of operators; the newest first.

import { draw, h } from "./dom.js";
import { clock } from "./format.js";
import { eventSign, eventTone } from "./words.js";
import { changed, store } from "./store.js";
import { say } from "./dialogs.js";

const view = { only: "all" };

const KINDS = {
  all: () => true,
  problems: (event) => ["bad", "warn"].includes(eventTone[event.kind]),
  health: (event) => event.kind.startsWith("server-"),
  changes: (event) => ["changed", "reloaded", "reload-failed", "draining", "started"].includes(event.kind),
};

/// Says an event that has just come to who does not look at the list.
export function announce(event) {
  const about = event.server ? `${event.backend}/${event.server}` : "";
  say(`${event.kind.replaceAll("-", " ")} ${about} ${event.message}`);
}

export function drawEvents(element) {
  if (!store.state) return;
  const shown = store.events.filter(KINDS[view.only]).reverse();
  draw(element,
    h("div", { class: "section-head" },
      h("h2", {}, "Events"),
      h("label", { class: "push" }, "Show ",
        h("select", {
          id: "events-only",
          value: view.only,
          onchange: (event) => { view.only = event.currentTarget.value; changed(); },
        }, Object.keys(KINDS).map((kind) => h("option", { key: kind, value: kind }, kind))))),
    shown.length === 0
      ? h("p", { class: "empty" }, "Nothing of that kind has happened.")
      : h("ol", { class: "events", tabindex: 0, "aria-label": "Events, the newest first" }, shown.map(line)));
}

function line(event) {
  const tone = eventTone[event.kind] ?? "off";
  return h("li", { key: event.id },
    h("time", { datetime: new Date(event.at * 1000).toISOString(), title: new Date(event.at * 1000).toLocaleString() }, clock(event.at)),
    h("span", { class: `kind tone-${tone}` }, h("span", { class: "sign", "aria-hidden": "true" }, eventSign[tone] ?? "·"), event.kind.replaceAll("-", " ")),
    event.server && h("b", {}, `${event.backend}/${event.server}`),
    event.message && h("span", { class: "message" }, event.message),
    event.by && h("span", { class: "muted" }, `by ${event.by}`));
}
