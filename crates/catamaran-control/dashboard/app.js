//! Starts the dashboard: reads the stream, comes back to it when it breaks, and has the views draw
//! what is known.
//!
//! The state comes by the stream every second, the charts every five from `/v1/stats`. Where
//! nothing came for a while the page says that it is stale, and shows what it knew last.

import { at } from "./dom.js";
import { get, stream } from "./api.js";
import { changed, onChange, putEvent, putState, putStats, store } from "./store.js";
import { startTheme } from "./theme.js";
import { startKeys } from "./keys.js";
import { drawAlerts, drawFooter, drawHeader, drawNav } from "./header.js";
import { drawOverview, watchWidth } from "./overview.js";
import { drawTopology, measure } from "./topology.js";
import { drawServers } from "./servers.js";
import { drawOutcomes } from "./outcomes.js";
import { drawNode } from "./node.js";
import { drawTables, refreshTables } from "./affinity.js";
import { announce, drawEvents } from "./events.js";
import { drawDialog, showLogin } from "./dialogs.js";

/// Without a message for this long what is shown is stale, in milliseconds.
const STALE = 3500;
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 8000;

const VIEWS = [
  ["header", drawHeader],
  ["alerts", drawAlerts],
  ["nav", drawNav],
  ["overview", drawOverview],
  ["topology", drawTopology],
  ["servers", drawServers],
  ["outcomes", drawOutcomes],
  ["node", drawNode],
  ["tables", drawTables],
  ["events", drawEvents],
  ["footer", drawFooter],
];

function drawAll() {
  for (const [id, view] of VIEWS) view(at(id));
  drawDialog();
  measure();
  const state = store.state;
  const down = state?.backends.filter((backend) => backend.usable === 0).length ?? 0;
  document.title = `${down > 0 ? `✕ ${down} down · ` : ""}catamaran`;
  document.body.classList.toggle("is-stale", store.link === "stale");
}

const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));

/// Reads the stream, again and again.
async function follow() {
  let wait = FIRST_PAUSE;
  for (;;) {
    // Events of before the page was opened are shown, not said.
    let begun = performance.now();
    try {
      await stream("/v1/stream", (kind, document) => {
        store.heard = performance.now();
        store.link = "live";
        wait = FIRST_PAUSE;
        if (kind === "state") putState(document);
        if (kind === "event" && putEvent(document) && performance.now() - begun > 2000) announce(document);
      }, () => { begun = performance.now(); });
    } catch (error) {
      if (error.status === 401) {
        store.locked = true;
        changed();
        showLogin();
        return;
      }
    }
    store.link = store.state ? "stale" : "connecting";
    changed();
    await pause(wait);
    wait = Math.min(LONGEST_PAUSE, wait * 2);
  }
}

/// Asks for the charts' new points, and for the tables.
async function refresh() {
  let round = 0;
  while (!store.locked) {
    if (store.link === "live" && !document.hidden) {
      try {
        const since = store.times[store.times.length - 1] ?? 0;
        putStats(await get(`/v1/stats?since=${since}`));
        if (round % 2 === 0) await refreshTables();
        round += 1;
      } catch {
        // The stream's reader says what is wrong.
      }
    }
    await pause(store.link === "live" ? store.interval * 1000 : 500);
  }
}

function watchAge() {
  setInterval(() => {
    const age = performance.now() - store.heard;
    if (store.state && age > STALE) {
      store.link = "stale";
      changed();
    }
  }, 1000);
}

startTheme();
startKeys();
watchWidth(at("overview"));
window.addEventListener("resize", changed);
onChange(drawAll);
drawAll();
watchAge();
follow();
refresh();
