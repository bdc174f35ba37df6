//! What the page knows: the newest state, the last quarter of an hour, the events, and how fresh
//! they are. Views are told when it changes.

/// Points of the charts that are kept: 15 minutes, one every 5 s.
const MAX_POINTS = 180;
const MAX_EVENTS = 200;

export const store = {
  /// The newest state, none before the first.
  state: null,
  /// Of frontends, backends and servers, by `frontend:NAME`, `backend:NAME`, `server:BACKEND/NAME`.
  series: new Map(),
  times: [],
  interval: 5,
  events: [],
  /// `connecting`, `live` or `stale`.
  link: "connecting",
  /// When the last message came, by `performance.now()`.
  heard: 0,
  /// Whether the API asks for a token that we do not have.
  locked: false,
  /// What is shown in the charts: a key of `series`, or `all`.
  chosen: "all",
  /// Index into `times` under the pointer, none outside.
  pointed: null,
};

const listeners = new Set();
let due = false;

/// Calls `draw` after each change, at most once a frame.
export const onChange = (draw) => listeners.add(draw);

export function changed() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    for (const draw of listeners) draw();
  });
}

export function putState(state) {
  const before = store.state?.process;
  if (before && before.pid !== state.process.pid) forget();
  store.state = state;
  changed();
}

/// Another process answers: what was known of the last one ended with it.
function forget() {
  store.events = [];
  store.series.clear();
  store.times = [];
}

export function putEvent(event) {
  if (store.events.some((known) => known.id === event.id)) return false;
  store.events.push(event);
  store.events.sort((a, b) => a.id - b.id);
  store.events.splice(0, store.events.length - MAX_EVENTS);
  changed();
  return true;
}

/// Adds what `/v1/stats` answered to a question for what came after `times`.
export function putStats(stats) {
  store.interval = stats.interval_seconds;
  const already = store.times.length;
  const fresh = stats.times.length;
  store.times.push(...stats.times);
  const known = new Set();
  const put = (key, object) => {
    known.add(key);
    append(key, object.points, already, fresh);
  };
  for (const frontend of stats.frontends) put(`frontend:${frontend.name}`, frontend);
  for (const backend of stats.backends) {
    put(`backend:${backend.name}`, backend);
    for (const server of backend.servers) put(`server:${backend.name}/${server.name}`, server);
  }
  for (const key of store.series.keys()) {
    if (!known.has(key)) store.series.delete(key);
  }
  const over = store.times.length - MAX_POINTS;
  if (over > 0) {
    store.times.splice(0, over);
    for (const columns of store.series.values()) {
      for (const column of Object.values(columns)) column.splice(0, over);
    }
  }
  changed();
}

function append(key, points, already, fresh) {
  const { errors, ...plain } = points;
  const columns = { ...plain };
  for (const [name, values] of Object.entries(errors)) columns[`error_${name}`] = values;
  const kept = store.series.get(key) ?? {};
  for (const [name, values] of Object.entries(columns)) {
    const column = kept[name] ?? new Array(already).fill(null);
    // One value for each time, whatever came.
    for (let i = 0; i < fresh; i += 1) column.push(values[values.length - fresh + i] ?? null);
    kept[name] = column;
  }
  store.series.set(key, kept);
}

/// The columns of what is chosen; of `all`, sums, and the worst of percentiles.
export function chosenColumns() {
  if (store.chosen !== "all") return store.series.get(store.chosen) ?? {};
  const all = [...store.series].filter(([key]) => key.startsWith("frontend:"));
  const combined = {};
  for (const [, columns] of all) {
    for (const [name, values] of Object.entries(columns)) {
      const into = (combined[name] ??= new Array(values.length).fill(null));
      const join = name.endsWith("_ms") ? Math.max : (a, b) => a + b;
      values.forEach((value, i) => {
        if (value !== null) into[i] = into[i] === null ? value : join(into[i], value);
      });
    }
  }
  return combined;
}
