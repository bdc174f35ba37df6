//! Charts over the last quarter of an hour, as SVG: lines, areas and stacked bars on one time axis,
//! with a crosshair that all charts share.

import { h } from "./dom.js";
import { changed, store } from "./store.js";
import { clock } from "./format.js";

const HEIGHT = 132;
const LEFT = 58;
const BOTTOM = 18;
const TOP = 8;
/// Shorter histories are stretched to this many seconds, so that the first minutes can be read.
const LEAST_SPAN = 120;
const MOST_SPAN = 900;

/// A chart of `series` (`{ name, values, tone, kind }`, kind `line`, `area` or `bar`; bars are
/// stacked). `format` writes a value with its unit.
export function chart({ id, title, series, format, width }) {
  const times = store.times;
  const stacked = stack(series);
  const top = scale(stacked);
  const now = times.length > 0 ? times[times.length - 1] : 0;
  const span = times.length > 0
    ? Math.min(MOST_SPAN, Math.max(LEAST_SPAN, now - times[0] + store.interval))
    : LEAST_SPAN;
  const inner = Math.max(60, width - LEFT - 6);
  const x = (at) => LEFT + ((at - (now - span)) / span) * inner;
  const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const index = store.pointed ?? times.length - 1;
  const frame = { times, x, y, inner, span, now, width, top, format, index };
  const shown = series.map((one) => ({ ...one, value: one.values?.[index] ?? null }));
  return h("figure", { key: id, class: "chart" },
    h("figcaption", {},
      h("span", { class: "chart-title" }, title),
      h("span", { class: "legend" }, shown.map((one) =>
        h("span", { key: one.name, class: `legend-item tone-${one.tone}` },
          h("span", { class: "swatch", "aria-hidden": "true" }), one.name, " ",
          h("b", {}, format(one.value))))),
      h("span", { class: "chart-time", "aria-hidden": "true" },
        store.pointed === null || times.length === 0 ? "" : clock(times[index]))),
    h("svg", {
      class: "plot",
      viewBox: `0 0 ${width} ${HEIGHT}`,
      height: HEIGHT,
      role: "img",
      "aria-label": spoken(title, series, format),
      onpointermove: (event) => point(event, frame),
      onpointerleave: () => leave(),
    },
    grid(frame),
    stacked.map((one) => draw(one, frame)),
    crosshair(frame, stacked)),
    times.length < 2 && h("p", { class: "waiting" }, "The first points come within ten seconds."));
}

/// Bars lie on those before them; the rest begins at zero.
function stack(series) {
  let base = null;
  return series.map((one) => {
    const values = one.values ?? [];
    if (one.kind !== "bar") return { ...one, values, base: null };
    const below = base ?? values.map(() => 0);
    base = values.map((value, i) => below[i] + (value ?? 0));
    return { ...one, values: base, base: below };
  });
}

/// The end of the scale: round, and above everything.
function scale(series) {
  let most = 0;
  for (const one of series) for (const value of one.values) most = Math.max(most, value ?? 0);
  if (most === 0) return 1;
  const step = 10 ** Math.floor(Math.log10(most));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((n) => n * step).find((end) => end >= most * 1.02)
    ?? 15 * step;
}

function grid({ inner, span, x, y, now, top, format }) {
  const lines = [0, 0.5, 1].map((share) => {
    const at = y(top * share);
    return [
      h("line", { key: `l${share}`, class: share === 0 ? "axis" : "grid", x1: LEFT, x2: LEFT + inner, y1: at, y2: at }),
      h("text", { key: `t${share}`, class: "tick", x: LEFT - 6, y: at + 4, "text-anchor": "end" },
        share === 0 ? "0" : format(top * share)),
    ];
  });
  const minutes = span > 600 ? [15, 10, 5, 0] : span > 240 ? [8, 6, 4, 2, 0] : [3, 2, 1, 0];
  const ticks = minutes.filter((minute) => minute * 60 <= span).map((minute) =>
    h("text", {
      key: `m${minute}`,
      class: "tick",
      x: x(now - minute * 60),
      y: HEIGHT - 4,
      "text-anchor": minute === 0 ? "end" : minute * 60 > span * 0.95 ? "start" : "middle",
    }, minute === 0 ? "now" : `−${minute} min`));
  return [...lines, ...ticks];
}

function draw(one, frame) {
  const { times, x, y, inner, span } = frame;
  if (one.kind === "bar") {
    const wide = Math.max(1, (inner * store.interval) / span - 1);
    const bars = [];
    one.values.forEach((value, i) => {
      const from = one.base[i];
      const left = x(times[i]) - wide;
      if (value > from && left >= LEFT) {
        bars.push(`M${fixed(left)} ${fixed(y(from))}V${fixed(y(value))}h${fixed(wide)}V${fixed(y(from))}z`);
      }
    });
    return h("path", { key: one.name, class: `bar tone-${one.tone}`, d: bars.join("") });
  }
  const runs = [];
  let run = null;
  one.values.forEach((value, i) => {
    if (value === null || x(times[i]) < LEFT) {
      run = null;
      return;
    }
    if (!run) runs.push(run = []);
    run.push(`${fixed(x(times[i]))} ${fixed(y(value))}`);
  });
  const line = runs.map((points) => `M${points.join("L")}`).join("");
  if (one.kind === "line") return h("path", { key: one.name, class: `line tone-${one.tone}`, d: line });
  const floor = fixed(y(0));
  const area = runs.map((points) => {
    const [first, last] = [points[0], points[points.length - 1]].map((point) => point.split(" ")[0]);
    return `M${first} ${floor}L${points.join("L")}L${last} ${floor}z`;
  });
  return h("g", { key: one.name, class: `tone-${one.tone}` },
    h("path", { class: "area", d: area.join("") }), h("path", { class: "line", d: line }));
}

function crosshair({ times, x, y, index }, series) {
  if (store.pointed === null || times[index] === undefined) return [];
  const at = x(times[index]);
  const dots = series.filter((one) => one.kind !== "bar" && (one.values[index] ?? null) !== null);
  return h("g", { key: "crosshair", class: "crosshair" },
    h("line", { x1: at, x2: at, y1: TOP, y2: HEIGHT - BOTTOM }),
    dots.map((one) => h("circle", { key: one.name, class: `tone-${one.tone}`, cx: at, cy: y(one.values[index]), r: 3 })));
}

function point(event, { times, inner, span, now }) {
  if (times.length === 0) return;
  const box = event.currentTarget.getBoundingClientRect();
  const at = now - span + ((event.clientX - box.left - LEFT) / inner) * span;
  let best = 0;
  times.forEach((time, i) => {
    if (Math.abs(time - at) < Math.abs(times[best] - at)) best = i;
  });
  if (store.pointed !== best) {
    store.pointed = best;
    changed();
  }
}

function leave() {
  store.pointed = null;
  changed();
}

/// The chart in words: what is now, and the most there was.
function spoken(title, series, format) {
  const parts = series.map((one) => {
    const values = (one.values ?? []).filter((value) => value !== null);
    if (values.length === 0) return `${one.name}: none`;
    return `${one.name}: now ${format(values[values.length - 1])}, at most ${format(Math.max(...values))}`;
  });
  return `${title}. ${parts.join("; ")}.`;
}

/// A little line without axes.
export function sparkline(values, tone) {
  const points = (values ?? []).slice(-90);
  const most = Math.max(1e-9, ...points.map((value) => value ?? 0));
  const step = 100 / Math.max(1, points.length - 1);
  const line = points.map((value, i) => `${fixed(i * step)} ${fixed(23 - ((value ?? 0) / most) * 21)}`);
  return h("svg", { class: `spark tone-${tone}`, viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" },
    line.length > 1 && h("path", { class: "area", d: `M0 24L${line.join("L")}L100 24z` }),
    line.length > 1 && h("path", { class: "line", d: `M${line.join("L")}` }));
}

const fixed = (value) => value.toFixed(1);
