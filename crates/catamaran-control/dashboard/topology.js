//! The way of a request: frontends, their routes, backends, servers; with what flows now.
//!
//! Three columns with curves between them where there is room, a list with the names of what comes
//! next where there is not.

import { draw, h } from "./dom.js";
import { millis, number } from "./format.js";
import { backendState, serverState } from "./words.js";
import { changed, store } from "./store.js";
import { showServer } from "./dialogs.js";

/// Servers of a backend that are drawn; the table below has all.
const MAX_SERVERS = 12;

export function drawTopology(element) {
  if (!store.state) return;
  const { frontends, backends } = store.state;
  draw(element,
    h("h2", {}, "Topology"),
    h("div", { class: "topology", id: "topology-map" },
      h("svg", { class: "curves", id: "curves", "aria-hidden": "true" }, curves()),
      h("ul", { class: "column", "aria-label": "Frontends" }, frontends.map(frontendCard)),
      h("ul", { class: "column", "aria-label": "Backends" }, backends.map(backendCard))));
}

function frontendCard(frontend) {
  const rates = frontend.rates;
  const failing = (rates?.failures ?? 0) > 0;
  return h("li", { key: frontend.name, class: "card", "data-frontend": frontend.name },
    h("div", { class: "card-head" },
      h("strong", {}, frontend.name), h("span", { class: "tag" }, frontend.protocol),
      h("span", { class: "push" }, `${number(rates?.exchanges)}/s`)),
    h("p", { class: "muted mono" }, frontend.listeners.map((one) => one.address).join(" ")),
    h("p", { class: "muted" },
      `${number(frontend.connections)} open · p50 ${millis(rates?.latency_ms?.p50)} · p99 ${millis(rates?.latency_ms?.p99)}`,
      failing && h("span", { class: "tone-bad" }, ` · ✕ ${number(rates.failures)}/s fail`)),
    (frontend.routes.length > 0 || frontend.backend) && h("ul", { class: "routes", "aria-label": `Routes of ${frontend.name}` },
      frontend.routes.map((route) => h("li", { key: route.name, "data-route": `${frontend.name}/${route.name}` },
        h("span", {}, route.name), h("span", { class: "to" }, led(route.backends)))),
      frontend.backend && h("li", { key: "\u0000", "data-route": `${frontend.name}/` },
        h("span", {}, frontend.routes.length > 0 ? "else" : "all"), h("span", { class: "to" }, `→ ${frontend.backend}`))));
}

/// Where a route leads, with the shares.
function led(backends) {
  if (backends.length === 0) return "answered here";
  if (backends.length === 1) return `→ ${backends[0].name}`;
  const sum = backends.reduce((total, one) => total + one.weight, 0) || 1;
  return `→ ${backends.map((one) => `${one.name} ${Math.round((one.weight / sum) * 100)} %`).join(", ")}`;
}

function backendCard(backend) {
  const state = backendState(backend);
  const rate = backend.servers.reduce((total, server) => total + (server.rates?.requests ?? 0), 0);
  const most = Math.max(0.001, ...backend.servers.map((server) => server.rates?.requests ?? 0));
  const more = backend.servers.length - MAX_SERVERS;
  return h("li", { key: backend.name, class: "card", "data-backend": backend.name },
    h("div", { class: "card-head" },
      h("strong", {}, backend.name), h("span", { class: "tag" }, backend.balance),
      h("span", { class: "push" }, `${number(rate)}/s`)),
    h("p", { class: `state tone-${state.tone}` },
      h("span", { class: "sign", "aria-hidden": "true" }, state.sign), state.word,
      h("span", { class: "muted" }, ` · ${number(backend.in_flight)} in flight`, backend.waiting > 0 && ` · ${backend.waiting} waiting`)),
    h("ul", { class: "chips", "aria-label": `Servers of ${backend.name}` },
      backend.servers.slice(0, MAX_SERVERS).map((server) => serverChip(backend, server, most)),
      more > 0 && h("li", { key: "\u0000", class: "muted" }, `and ${more} more`)));
}

function serverChip(backend, server, most) {
  const state = serverState(server);
  const rate = server.rates?.requests ?? 0;
  return h("li", { key: server.name },
    h("button", {
      class: `chip tone-${state.tone}`,
      title: `${server.address}: ${state.word}`,
      onclick: () => showServer(backend.name, server.name),
    },
    h("span", { class: "sign", "aria-hidden": "true" }, state.sign),
    h("span", { class: "chip-name" }, server.name),
    h("span", { class: "visually-hidden" }, `, ${state.word},`),
    h("span", { class: "chip-rate" }, `${number(rate)}/s`),
    h("svg", { class: "meter", viewBox: "0 0 100 3", preserveAspectRatio: "none", "aria-hidden": "true" },
      h("rect", { width: 100, height: 3, class: "meter-back" }),
      h("rect", { width: (rate / most) * 100, height: 3, class: "meter-fill" }))));
}

/// The curves from routes to backends, measured after the cards were drawn.
let links = [];

function curves() {
  return links.map((one) => h("path", { key: one.key, d: one.d, class: `curve tone-${one.tone}`, "stroke-width": one.wide }));
}

/// Measures where the curves begin and end; draws again if they moved.
export function measure() {
  const map = document.getElementById("topology-map");
  if (!map || !store.state) return;
  const from = map.getBoundingClientRect();
  const fresh = [];
  const isWide = getComputedStyle(document.getElementById("curves")).display !== "none";
  const most = Math.max(1, ...store.state.frontends.map((one) => one.rates?.exchanges ?? 0));
  for (const frontend of isWide ? store.state.frontends : []) {
    const routes = frontend.routes.map((route) => [`${frontend.name}/${route.name}`, route.backends.map((one) => one.name)]);
    if (frontend.backend) routes.push([`${frontend.name}/`, [frontend.backend]]);
    for (const [route, backends] of routes) {
      for (const name of backends) {
        const start = map.querySelector(`[data-route="${CSS.escape(route)}"]`)?.getBoundingClientRect();
        const end = map.querySelector(`[data-backend="${CSS.escape(name)}"]`)?.getBoundingClientRect();
        if (!start || !end) continue;
        const [x1, y1] = [start.right - from.left, start.top + start.height / 2 - from.top].map(Math.round);
        const [x2, y2] = [end.left - from.left, end.top + 20 - from.top].map(Math.round);
        const bend = (x2 - x1) / 2;
        const backend = store.state.backends.find((one) => one.name === name);
        fresh.push({
          key: `${route} ${name}`,
          d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`,
          tone: backend ? backendState(backend).tone : "off",
          wide: (1.25 + 2 * ((frontend.rates?.exchanges ?? 0) / most)).toFixed(1),
        });
      }
    }
  }
  if (JSON.stringify(fresh) !== JSON.stringify(links)) {
    links = fresh;
    changed();
  }
}
