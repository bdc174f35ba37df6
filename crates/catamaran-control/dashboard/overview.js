//! The numbers of now, and the charts of the last quarter of an hour.

import { draw, h } from "./dom.js";
import { bytes, millis, number } from "./format.js";
import { chart, sparkline } from "./chart.js";
import { changed, chosenColumns, store } from "./store.js";

/// Width of a chart, as measured.
let width = 460;

export function watchWidth(element) {
  new ResizeObserver(([entry]) => {
    const inside = entry.contentRect.width;
    const columns = inside >= 1080 ? 3 : inside >= 720 ? 2 : 1;
    const wide = Math.floor((inside - (columns - 1) * 12) / columns - 22);
    if (Math.abs(wide - width) > 1) {
      width = Math.max(240, wide);
      changed();
    }
  }).observe(element);
}

export function drawOverview(element) {
  if (!store.state) return;
  const columns = chosenColumns();
  const bars = [
    { name: "server", values: columns.error_server, tone: "bad", kind: "bar" },
    { name: "limit", values: columns.error_limit, tone: "warn", kind: "bar" },
    { name: "client", values: columns.error_client, tone: "off", kind: "bar" },
    { name: "own", values: columns.error_own, tone: "own", kind: "bar" },
  ];
  const rate = (value) => number(value);
  draw(element,
    h("h2", { class: "visually-hidden" }, "Overview"),
    tiles(columns),
    h("div", { class: "section-head" }, h("h3", {}, "Last 15 minutes"), chooser()),
    h("div", { class: "charts" },
      chart({ id: "rate", title: "Exchanges per second", width, format: rate,
        series: [{ name: "ended", values: columns.rate, tone: "accent", kind: "area" }] }),
      chart({ id: "latency", title: store.chosen === "all" ? "Latency, worst frontend" : "Latency", width, format: millis,
        series: [
          { name: "p99", values: columns.p99_ms, tone: "p99", kind: "line" },
          { name: "p90", values: columns.p90_ms, tone: "p90", kind: "line" },
          { name: "p50", values: columns.p50_ms, tone: "p50", kind: "line" },
        ] }),
      chart({ id: "errors", title: "Failures per second, by whose doing", width, format: rate, series: bars }),
      chart({ id: "flight", title: "In flight", width, format: (value) => number(value, 0),
        series: [{ name: "in flight", values: columns.in_flight, tone: "accent", kind: "area" },
          { name: "waiting", values: columns.queue, tone: "warn", kind: "line" }] }),
      chart({ id: "bytes", title: "Traffic", width, format: bytes,
        series: [{ name: "to clients", values: columns.bytes_out, tone: "accent", kind: "area" },
          { name: "from clients", values: columns.bytes_in, tone: "p90", kind: "line" }] }),
      chart({ id: "status", title: "Responses of class 5xx per second", width, format: rate,
        series: [{ name: "5xx", values: columns.error_status_5xx, tone: "bad", kind: "bar" }] })));
}

function tiles(columns) {
  const { frontends, backends } = store.state;
  const sum = (name) => frontends.reduce((total, one) => total + (one.rates?.[name] ?? 0), 0);
  const worst = frontends.map((one) => one.rates?.latency_ms?.p99).filter((value) => value != null);
  const servers = backends.flatMap((backend) => backend.servers);
  const usable = servers.filter((server) => server.usable).length;
  const flight = backends.reduce((total, backend) => total + backend.in_flight, 0);
  const waiting = backends.reduce((total, backend) => total + backend.waiting, 0);
  const failures = sum("failures");
  const share = sum("exchanges") > 0 ? failures / sum("exchanges") : 0;
  const p99 = worst.length > 0 ? Math.max(...worst) : null;
  return h("dl", { class: "tiles" },
    tile("Exchanges", number(sum("exchanges")), "per second", "accent", columns.rate),
    tile("Failures", number(failures), `per second, ${(share * 100).toFixed(share < 0.1 ? 2 : 1)} %`, failures > 0 ? "bad" : "good", columns.error_server),
    tile("Latency p99", millis(p99), "worst frontend", "p99", columns.p99_ms),
    tile("In flight", number(flight), waiting > 0 ? `${waiting} waiting` : "none waiting", waiting > 0 ? "warn" : "accent", columns.in_flight),
    tile("To clients", bytes(sum("bytes_out")), `from them ${bytes(sum("bytes_in"))}`, "accent", columns.bytes_out),
    tile("Servers", `${usable}/${servers.length}`, "usable", usable === servers.length ? "good" : usable === 0 ? "bad" : "warn"));
}

function tile(name, value, note, tone, values) {
  return h("div", { key: name, class: `tile tone-${tone}` },
    h("dt", {}, name), h("dd", {}, h("b", {}, value), h("small", {}, note)),
    values && sparkline(values, tone));
}

function chooser() {
  const { frontends, backends } = store.state;
  const option = (key, name) => h("option", { key, value: key }, name);
  const servers = [...store.series.keys()].filter((key) => key.startsWith("server:"));
  return h("label", { class: "chooser" }, "of ",
    h("select", {
      id: "chosen",
      value: store.chosen,
      onchange: (event) => { store.chosen = event.currentTarget.value; changed(); },
    },
    option("all", "all frontends"),
    h("optgroup", { key: "frontends", label: "Frontends" }, frontends.map((one) => option(`frontend:${one.name}`, one.name))),
    h("optgroup", { key: "backends", label: "Backends" }, backends.map((one) => option(`backend:${one.name}`, one.name))),
    servers.length > 0 && h("optgroup", { key: "servers", label: "Servers" },
      servers.slice(0, 200).map((key) => option(key, key.slice(7))))));
}
