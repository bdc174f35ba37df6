//! Every server in a table for each backend: state, load, latency, last check, and what can be done.

import { draw, h } from "./dom.js";
import { count, duration, millis, number } from "./format.js";
import { backendState, serverState } from "./words.js";
import { changed, store } from "./store.js";
import { setAdmin, showServer } from "./dialogs.js";

/// Rows of a backend that are drawn at once.
const MAX_ROWS = 200;

const view = { filter: "", problems: false, sort: "name", falling: false };

const COLUMNS = [
  ["name", "Server", (server) => server.name],
  ["state", "State", (server) => serverState(server).word],
  ["weight", "Weight", (server) => server.weight, true],
  ["in_flight", "In flight", (server) => server.in_flight, true],
  ["connections", "Conns", (server) => server.connections, true],
  ["rate", "Req/s", (server) => server.rates?.requests ?? -1, true],
  ["failures", "Fail/s", (server) => server.rates?.failures ?? -1, true],
  ["latency", "Latency", (server) => server.latency_ms ?? -1, true],
  ["total", "Total", (server) => server.totals.requests, true],
  ["failed", "Failed", (server) => server.totals.failures, true],
  ["check", "Last check", (server) => server.check?.seconds_ago ?? -1],
];

export function drawServers(element) {
  if (!store.state) return;
  const { backends } = store.state;
  draw(element,
    h("div", { class: "section-head" },
      h("h2", {}, "Servers"),
      h("label", { class: "push" }, h("span", { class: "visually-hidden" }, "Filter servers"),
        h("input", {
          id: "filter",
          type: "search",
          placeholder: "Filter (/)",
          autocomplete: "off",
          value: view.filter,
          oninput: (event) => { view.filter = event.currentTarget.value; changed(); },
        })),
      h("label", { class: "check" },
        h("input", {
          id: "problems",
          type: "checkbox",
          checked: view.problems,
          onchange: (event) => { view.problems = event.currentTarget.checked; changed(); },
        }), "problems only")),
    backends.map(backendTable),
    backends.length > 0 && backends.every((backend) => shownOf(backend).length === 0)
      && h("p", { class: "empty" }, "No server matches."));
}

function shownOf(backend) {
  const word = view.filter.trim().toLowerCase();
  const shown = backend.servers.filter((server) =>
    (!view.problems || serverState(server).tone !== "good")
    && (word === "" || `${backend.name}/${server.name} ${server.address} ${serverState(server).word}`.toLowerCase().includes(word)));
  const [, , of] = COLUMNS.find(([id]) => id === view.sort);
  return shown.sort((a, b) => {
    const [x, y] = [of(a), of(b)];
    const order = typeof x === "number" ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true });
    return view.falling ? -order : order;
  });
}

function backendTable(backend) {
  const shown = shownOf(backend);
  if (shown.length === 0) return null;
  const state = backendState(backend);
  const totals = backend.totals;
  const notes = [
    `${backend.balance}, ${number(backend.in_flight)} in flight, ${number(backend.waiting)} waiting`,
    totals.no_server > 0 && `${count(totals.no_server)} found no server`,
    totals.queue_failures > 0 && `${count(totals.queue_failures)} left the queue unserved`,
    totals.retries_refused > 0 && `${count(totals.retries_refused)} retries over budget`,
  ].filter(Boolean).join(" · ");
  return h("div", { key: backend.name, class: "scroll", tabindex: 0, role: "region", "aria-label": `Servers of ${backend.name}` },
    h("table", { class: "servers", role: "table" },
      h("caption", {}, h("strong", {}, backend.name), " ",
        h("span", { class: `state tone-${state.tone}` }, h("span", { class: "sign", "aria-hidden": "true" }, state.sign), state.word), " ",
        h("span", { class: "muted" }, notes)),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, COLUMNS.map(heading),
        h("th", { key: "do", scope: "col", role: "columnheader" }, "Actions"))),
      h("tbody", { role: "rowgroup" }, shown.slice(0, MAX_ROWS).map((server) => row(backend, server))),
      shown.length > MAX_ROWS && h("tfoot", {}, h("tr", {}, h("td", { colspan: COLUMNS.length + 1 },
        `and ${shown.length - MAX_ROWS} more; filter to find them`)))));
}

function heading([id, name, , isNumber]) {
  const isSorted = view.sort === id;
  const order = view.falling ? "descending" : "ascending";
  return h("th", { key: id, scope: "col", role: "columnheader", class: `${isNumber ? "num " : ""}col-${id}`, "aria-sort": isSorted ? order : "none" },
    h("button", {
      class: "sort",
      onclick: () => {
        view.falling = isSorted ? !view.falling : Boolean(isNumber);
        view.sort = id;
        changed();
      },
    }, name, h("span", { "aria-hidden": "true" }, isSorted ? (view.falling ? " ↓" : " ↑") : "")));
}

function row(backend, server) {
  const state = serverState(server);
  const full = server.max_in_flight ? server.in_flight / server.max_in_flight : 0;
  const weight = server.weight === server.configured_weight ? server.weight : `${server.weight} (${server.configured_weight})`;
  const cells = {
    weight: [weight],
    in_flight: [server.max_in_flight ? `${server.in_flight}/${server.max_in_flight}` : server.in_flight, full > 0.9 ? "tone-warn" : ""],
    connections: [number(server.connections)],
    rate: [number(server.rates?.requests)],
    failures: [number(server.rates?.failures), server.rates?.failures > 0 ? "tone-bad" : ""],
    latency: [millis(server.latency_ms)],
    total: [count(server.totals.requests)],
    failed: [count(server.totals.failures)],
  };
  return h("tr", { key: server.name, "data-server": `${backend.name}/${server.name}`, class: `row-${state.tone}`, role: "row" },
    h("th", { scope: "row", role: "rowheader" },
      h("button", { class: "link", onclick: () => showServer(backend.name, server.name) }, server.name),
      server.address !== server.name && h("small", { class: "muted mono" }, server.address)),
    h("td", { class: `state tone-${state.tone}`, role: "cell" },
      h("span", { class: "sign", "aria-hidden": "true" }, state.sign), h("span", { class: "word" }, state.word)),
    Object.entries(cells).map(([id, [text, tone]]) => h("td", { key: id, role: "cell", class: `num col-${id} ${tone ?? ""}` }, text)),
    h("td", { class: "col-check", role: "cell" }, checkText(server.check)),
    h("td", { class: "actions", role: "cell" },
      server.admin === "ready"
        ? h("button", { class: "small", "aria-label": `Drain ${server.name}`, onclick: () => setAdmin(backend.name, server.name, "drain") }, "Drain")
        : h("button", { class: "small primary", "aria-label": `Enable ${server.name}`, onclick: () => setAdmin(backend.name, server.name, "ready") }, "Enable"),
      h("button", { class: "small", "aria-label": `More of ${server.name}`, onclick: () => showServer(backend.name, server.name) }, "More")));
}

/// The last check in words.
export function checkText(check) {
  if (!check) return h("span", { class: "muted" }, "not checked");
  const tone = check.result === "pass" ? "good" : check.result === "fail" ? "bad" : "warn";
  return h("span", { class: tone === "good" ? "muted" : `tone-${tone}`, title: check.reason ?? "" },
    `${check.result}, ${duration(check.seconds_ago)} ago`, check.reason && `: ${check.reason}`);
}
