//! What a state is called and how it looks: a word, a sign and a tone, never a colour alone.

/// What an operator wants of a server and what is observed, as one word.
export function serverState(server) {
  if (server.admin === "maintenance") return { word: "maintenance", sign: "■", tone: "off" };
  if (server.admin === "drain") {
    const word = server.in_flight > 0 ? `draining, ${server.in_flight} left` : "drained";
    return { word, sign: "◐", tone: "warn" };
  }
  const health = server.health_override ?? server.health;
  const by = server.health_override ? " (by hand)" : "";
  if (health === "down") return { word: `down${by}`, sign: "✕", tone: "bad" };
  if (health === "refusing") return { word: "refusing", sign: "✕", tone: "bad" };
  if (health === "ejected") return { word: "ejected", sign: "▲", tone: "warn" };
  if (server.weight === 0) return { word: "weight 0", sign: "◐", tone: "warn" };
  return { word: `${server.backup ? "up, backup" : "up"}${by}`, sign: "●", tone: "good" };
}

/// How a backend is as a whole.
export function backendState(backend) {
  const all = backend.servers.length;
  if (all === 0) return { word: "no servers", sign: "✕", tone: "bad" };
  if (backend.usable === 0) return { word: "down", sign: "✕", tone: "bad" };
  if (backend.panic) return { word: "panic: ejections ignored", sign: "▲", tone: "warn" };
  const word = `${backend.usable} of ${all} usable`;
  const well = backend.usable === all;
  return { word, sign: well ? "●" : "▲", tone: well ? "good" : "warn" };
}

export const readiness = {
  ready: { word: "ready", sign: "●", tone: "good" },
  starting: { word: "starting", sign: "◐", tone: "warn" },
  draining: { word: "draining", sign: "◐", tone: "warn" },
};

/// The tone of each kind of event.
export const eventTone = {
  "server-down": "bad",
  "server-refusing": "bad",
  "server-ejected": "warn",
  "server-up": "good",
  "server-accepting": "good",
  "server-readmitted": "good",
  "reload-failed": "bad",
  reloaded: "good",
  "worker-stalled": "bad",
  draining: "warn",
  "virtual-ip": "warn",
  "peer-connected": "good",
  "peer-lost": "bad",
  "replication-current": "good",
  "config-drift": "warn",
  "etcd": "warn",
};

export const eventSign = { good: "●", warn: "▲", bad: "✕", off: "·" };
