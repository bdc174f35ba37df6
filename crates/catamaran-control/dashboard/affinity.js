//! The affinity tables: how full they are, and which client goes where.

import { draw, h } from "./dom.js";
import { count, duration } from "./format.js";
import { change, get, tablePath } from "./api.js";
import { changed, store } from "./store.js";
import { confirm, failed, say } from "./dialogs.js";

/// Entries that are shown at once.
const PAGE = 20;

/// The tables as last asked for, and for each backend what was looked up.
const view = { tables: [], pages: new Map(), asked: 0 };

/// Asks for the tables now and then: they are not in the state.
export async function refreshTables() {
  if (!store.state?.backends.some((backend) => backend.stick_entries !== null)) {
    view.tables = [];
    return;
  }
  view.tables = await get("/v1/tables");
  changed();
}

export function drawTables(element) {
  if (!store.state) return;
  draw(element,
    h("h2", {}, "Affinity"),
    view.tables.length === 0
      ? h("p", { class: "empty" }, "No backend keeps its clients on their servers; write `stick` to have one do so.")
      : h("div", { class: "panels" }, view.tables.map(panel)));
}

function panel(table) {
  const shown = view.pages.get(table.backend);
  const every = table.refresh ? `${duration(table.window_seconds)} after the last request` : duration(table.window_seconds);
  return h("div", { key: table.backend, class: "card" },
    h("div", { class: "card-head" },
      h("h3", {}, table.backend), h("span", { class: "tag" }, table.on),
      h("span", { class: "push muted" }, `${count(table.entries)} of ${count(table.max_entries)} entries, ${every}`)),
    h("form", { class: "inline", onsubmit: (event) => { event.preventDefault(); lookUp(table, event.currentTarget.elements.key.value); } },
      h("label", {}, h("span", { class: "visually-hidden" }, `Key in the table of ${table.backend}`),
        h("input", { name: "key", class: "mono", placeholder: table.on === "source-ip" ? "10.0.0.9" : "value", autocomplete: "off" })),
      h("button", { class: "small", type: "submit" }, "Look up"),
      h("button", { class: "small", type: "button", onclick: () => list(table) }, "List"),
      h("button", { class: "small danger", type: "button", "aria-label": `Clear the table of ${table.backend}`, onclick: () => clear(table) }, "Clear…")),
    shown && h("table", {},
      h("caption", { class: "visually-hidden" }, `Entries of ${table.backend}`),
      h("thead", {}, h("tr", {}, ["Key", "Server", "Binds for", ""].map((name) => h("th", { key: name, scope: "col" }, name || h("span", { class: "visually-hidden" }, "Actions"))))),
      h("tbody", {}, shown.entries.map((entry) => h("tr", { key: entry.key },
        h("th", { scope: "row", class: "mono" }, entry.key),
        h("td", {}, entry.server ?? "gone"),
        h("td", {}, duration(entry.seconds_left), !entry.confirmed && " (no connection yet)"),
        h("td", { class: "actions" }, h("button", { class: "small", "aria-label": `Forget ${entry.key}`, onclick: () => forget(table, entry.key) }, "Forget"))))),
      shown.entries.length === 0 && h("tfoot", {}, h("tr", {}, h("td", { colspan: 4, class: "muted" }, "No entry binds now.")))),
    shown?.more && h("p", { class: "muted" }, "There are more; look one up by its key."));
}

async function lookUp(table, key) {
  if (key.trim() === "") return list(table);
  try {
    const entry = await get(`${tablePath(table.backend)}/entry?key=${encodeURIComponent(key.trim())}`);
    view.pages.set(table.backend, { entries: [entry], more: false });
  } catch (error) {
    if (error.status !== 404) return failed(error);
    view.pages.set(table.backend, { entries: [], more: false });
    say(error.message);
  }
  return changed();
}

async function list(table) {
  try {
    const page = await get(`${tablePath(table.backend)}?limit=${PAGE}`);
    view.pages.set(table.backend, { entries: page.entries, more: page.cursor !== null });
    changed();
  } catch (error) {
    failed(error);
  }
}

async function forget(table, key) {
  try {
    await change("DELETE", `${tablePath(table.backend)}/entry?key=${encodeURIComponent(key)}`);
    say(`${key} is forgotten`);
    await list(table);
    await refreshTables();
  } catch (error) {
    failed(error);
  }
}

async function clear(table) {
  const sure = await confirm({
    title: `Clear the table of ${table.backend}?`,
    text: `${count(table.entries)} clients lose their server and get one by the backend's balance. Requests go on.`,
    action: "Clear",
  });
  if (!sure) return;
  try {
    const cleared = await change("DELETE", tablePath(table.backend));
    say(`${count(cleared.forgotten)} entries are forgotten`);
    view.pages.delete(table.backend);
    await refreshTables();
  } catch (error) {
    failed(error);
  }
}
