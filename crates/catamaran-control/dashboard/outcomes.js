//! How exchanges ended since the start, by frontend: classes of status, and every outcome.

import { draw, h } from "./dom.js";
import { count, percent } from "./format.js";
import { store } from "./store.js";

/// Outcomes that are nobody's failure.
const WELL = ["done", "answered"];
const CLASS_TONES = { "1xx": "off", "2xx": "good", "3xx": "accent", "4xx": "warn", "5xx": "bad" };

export function drawOutcomes(element) {
  if (!store.state) return;
  draw(element,
    h("h2", {}, "Outcomes"),
    h("div", { class: "panels" }, store.state.frontends.map(panel)));
}

function panel(frontend) {
  const { totals } = frontend;
  const outcomes = Object.entries(totals.outcomes).sort((a, b) => b[1] - a[1]);
  const all = outcomes.reduce((sum, [, n]) => sum + n, 0);
  const statuses = Object.entries(totals.statuses).filter(([, n]) => n > 0);
  const answered = statuses.reduce((sum, [, n]) => sum + n, 0);
  return h("div", { key: frontend.name, class: "card" },
    h("div", { class: "card-head" },
      h("h3", {}, frontend.name),
      h("span", { class: "push muted" }, `${count(all)} ended, ${count(totals.failures)} failed`)),
    answered > 0 && h("div", { class: "statuses" },
      h("svg", { class: "split", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" }, split(statuses, answered)),
      h("ul", { class: "legend", "aria-label": `Statuses of ${frontend.name}` }, statuses.map(([name, n]) =>
        h("li", { key: name, class: `legend-item tone-${CLASS_TONES[name]}` },
          h("span", { class: "swatch", "aria-hidden": "true" }), `${name} `, h("b", {}, percent(n / answered)))))),
    outcomes.length === 0
      ? h("p", { class: "empty" }, "Nothing has ended yet.")
      : h("table", { class: "outcomes" },
        h("caption", { class: "visually-hidden" }, `Outcomes of ${frontend.name} since the start`),
        h("thead", { class: "visually-hidden" }, h("tr", {},
          h("th", { scope: "col" }, "Outcome"), h("th", { scope: "col" }, "Share"), h("th", { scope: "col" }, "Count"))),
        h("tbody", {}, outcomes.map(([name, n]) => h("tr", { key: name },
          h("th", { scope: "row" }, name),
          h("td", { class: "bar-cell" },
            h("svg", { class: "meter", viewBox: "0 0 100 3", preserveAspectRatio: "none", "aria-hidden": "true" },
              h("rect", { width: 100, height: 3, class: "meter-back" }),
              h("rect", { width: Math.max(0.5, (n / all) * 100), height: 3, class: `meter-fill tone-${WELL.includes(name) ? "good" : "warn"}` })),
            h("span", {}, percent(n / all))),
          h("td", { class: "num" }, count(n)))))));
}

function split(statuses, answered) {
  let from = 0;
  return statuses.map(([name, n]) => {
    const width = (n / answered) * 100;
    const part = h("rect", { key: name, x: from, width, height: 6, class: `meter-fill tone-${CLASS_TONES[name]}` });
    from += width;
    return part;
  });
}
