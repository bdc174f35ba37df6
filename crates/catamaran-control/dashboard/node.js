//! This node: the virtual addresses and who holds them, its peers, the fleet, and the workers.

import { draw, h } from "./dom.js";
import { count, millis } from "./format.js";
import { store } from "./store.js";

const STATES = {
  active: { sign: "●", tone: "good" },
  backup: { sign: "◐", tone: "accent" },
  initialize: { sign: "✕", tone: "bad" },
};

const PEER_STATES = {
  "in-step": { word: "in step", sign: "●", tone: "good" },
  learning: { word: "is being taught", sign: "◐", tone: "accent" },
  away: { word: "away", sign: "✕", tone: "bad" },
};

const FLEET_STATES = {
  connected: { word: "connected", sign: "●", tone: "good" },
  connecting: { word: "connecting", sign: "◐", tone: "accent" },
  away: { word: "etcd is away; what was last known holds", sign: "▲", tone: "warn" },
  "etcd-foreign": { word: "another cluster: nothing is taken away until it is accepted", sign: "✕", tone: "bad" },
};

export function drawNode(element) {
  if (!store.state) return;
  draw(element,
    h("h2", {}, "Node"),
    h("div", { class: "panels" }, virtualIps(store.state.virtual_ips), cluster(store.state.cluster), fleet(store.state.fleet), workers(store.state.workers)));
}

function virtualIps(all) {
  if (all.length === 0) {
    return h("div", { key: "vips", class: "card" }, h("h3", {}, "Virtual addresses"),
      h("p", { class: "empty" }, "None are configured; a [virtual-ip.NAME] keeps an address alive over two nodes."));
  }
  return h("div", { key: "vips", class: "card scroll", tabindex: 0, role: "region", "aria-label": "Virtual addresses" },
    h("table", {},
      h("caption", {}, h("h3", {}, "Virtual addresses")),
      head("Name", "Addresses", "State", "Priority", "Active node", "Became active", "Conflicts"),
      h("tbody", {}, all.map((one) => {
        const state = STATES[one.state];
        const lowered = one.configured_priority !== null && one.priority !== one.configured_priority;
        return h("tr", { key: `${one.name} ${one.family}` },
          h("th", { scope: "row" }, one.name, h("small", { class: "muted" }, ` ${one.interface ?? ""}`)),
          h("td", { class: "mono" }, one.addresses.join(" ")),
          h("td", { class: `state tone-${one.conflict ? "bad" : state.tone}` },
            h("span", { class: "sign", "aria-hidden": "true" }, state.sign), one.conflict ? `${one.state}, and another too` : one.state),
          h("td", { class: `num ${lowered ? "tone-warn" : ""}` }, lowered ? `${one.priority} of ${one.configured_priority}` : one.priority),
          h("td", { class: "mono" }, one.active ?? "unknown"),
          h("td", { class: "num" }, count(one.totals.became_active)),
          h("td", { class: "num" }, count(one.totals.conflicts)));
      }))));
}

function cluster(all) {
  if (all.node === null) {
    return h("div", { key: "peers", class: "card" }, h("h3", {}, "Peers"),
      h("p", { class: "empty" }, "None are configured; a [cluster] shares affinity and limits with other nodes."));
  }
  const told = all.problem ?? (all.current ? "current" : "being told what its peers know");
  return h("div", { key: "peers", class: "card scroll", tabindex: 0, role: "region", "aria-label": "Peers" },
    h("table", {},
      h("caption", {}, h("h3", {}, "Peers"),
        h("p", { class: all.problem ? "tone-bad" : "muted" }, `node ${all.node}: ${told}`)),
      head("Peer", "Address", "State", "Configuration", "Lag", "Waiting", "Sent", "Received", "Lost"),
      h("tbody", {}, all.peers.map((one) => {
        const state = PEER_STATES[one.state];
        return h("tr", { key: one.name },
          h("th", { scope: "row" }, one.name, h("small", { class: "muted" }, ` ${one.program ?? ""}`)),
          h("td", { class: "mono" }, one.address),
          h("td", { class: `state tone-${state.tone}` },
            h("span", { class: "sign", "aria-hidden": "true" }, state.sign), state.word),
          h("td", { class: one.drifted ? "tone-bad" : "" },
            one.drifted === null ? "unknown" : one.drifted ? "▲ another" : "the same"),
          h("td", { class: `num ${one.lag_ms > 1000 ? "tone-warn" : ""}` }, millis(one.lag_ms)),
          h("td", { class: "num" }, count(one.waiting)),
          h("td", { class: "num" }, count(one.totals.sent)),
          h("td", { class: "num" }, count(one.totals.received)),
          h("td", { class: "num" }, count(one.totals.disconnects)));
      }))));
}

function fleet(one) {
  if (!one) return null;
  const state = FLEET_STATES[one.state];
  const revision = (name, number) => number === null ? `no ${name}` : `${name} of revision ${number}`;
  const wrong = [one.last_error, one.foreign, one.config_error, one.state_error].filter((text) => text !== null);
  return h("div", { key: "fleet", class: "card" }, h("h3", {}, "Fleet"),
    h("p", { class: `state tone-${state.tone}` },
      h("span", { class: "sign", "aria-hidden": "true" }, state.sign), state.word),
    h("p", { class: "muted" }, `node ${one.node}, ${one.endpoint === null ? "no etcd reached yet" : `etcd at ${one.endpoint}`}; `,
      `${revision("text", one.fleet_revision)}, ${revision("override", one.node_revision)}; `,
      `${count(one.registered)} servers registered, ${count(one.missing)} missing`),
    wrong.map((text) => h("p", { key: text, class: "tone-bad" }, text)));
}

function workers(all) {
  const most = Math.max(1, ...all.map((worker) => worker.connections));
  return h("div", { key: "workers", class: "card scroll", tabindex: 0, role: "region", "aria-label": "Workers" },
    h("table", {},
      h("caption", {}, h("h3", {}, "Workers")),
      head("Worker", "Connections", "Late at most", "Panics"),
      h("tbody", {}, all.map((worker) => h("tr", { key: worker.index },
        h("th", { scope: "row" }, worker.index),
        h("td", { class: "bar-cell" },
          h("svg", { class: "meter", viewBox: "0 0 100 3", preserveAspectRatio: "none", "aria-hidden": "true" },
            h("rect", { width: 100, height: 3, class: "meter-back" }),
            h("rect", { width: (worker.connections / most) * 100, height: 3, class: "meter-fill tone-accent" })),
          h("span", {}, count(worker.connections))),
        h("td", { class: `num ${worker.lag_ms > 100 ? "tone-warn" : ""}` }, millis(worker.lag_ms)),
        h("td", { class: `num ${worker.panics > 0 ? "tone-bad" : ""}` }, count(worker.panics)))))));
}

function head(...names) {
  return h("thead", {}, h("tr", {}, names.map((name, i) =>
    h("th", { key: name, scope: "col", class: i > 0 && !["Addresses", "State", "Active node", "Address", "Configuration"].includes(name) ? "num" : "" }, name))));
}
