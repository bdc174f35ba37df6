//! The admin API: asking, changing, and reading the stream of events.
//!
//! The token, where one is set, is kept in sessionStorage: it ends with the tab, and no other
//! origin can read it. Nothing is sent anywhere but to where the page came from.

const TOKEN = "catamaran-token";

/// Why a request failed.
export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (value) => sessionStorage.setItem(TOKEN, value),
  forget: () => sessionStorage.removeItem(TOKEN),
};

function headers(more) {
  const shown = token.get();
  return shown ? { ...more, Authorization: `Bearer ${shown}` } : { ...more };
}

async function request(method, path, body, signal) {
  const wants = body === undefined ? {} : { "Content-Type": "application/json" };
  const response = await fetch(path, {
    method,
    headers: headers(wants),
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
    credentials: "omit",
    signal: signal ?? AbortSignal.timeout(PATIENCE),
  });
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const told = await response.json().catch(() => ({}));
  const error = told.error ?? {};
  return new Refused(response.status, error.code, error.message ?? `status ${response.status}`);
}

export const get = async (path) => (await request("GET", path)).json();
export const change = async (method, path, body) => (await request(method, path, body)).json();

/// The path of a server.
export const serverPath = (backend, server) =>
  `/v1/backends/${encodeURIComponent(backend)}/servers/${encodeURIComponent(server)}`;

/// The path of an affinity table.
export const tablePath = (backend) => `/v1/tables/${encodeURIComponent(backend)}`;

/// Reads the stream until it ends, handing each message to `each(kind, document)`. Ends by an error
/// if nothing comes for a while.
export async function stream(path, each, opened) {
  const ended = new AbortController();
  let watch;
  const alive = () => {
    clearTimeout(watch);
    watch = setTimeout(() => ended.abort(new Error("nothing came")), SILENCE);
  };
  alive();
  try {
    const response = await request("GET", path, undefined, ended.signal);
    opened();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      alive();
      text += value;
      let end;
      while ((end = text.indexOf("\n\n")) >= 0) {
        handle(text.slice(0, end), each);
        text = text.slice(end + 2);
      }
    }
  } finally {
    clearTimeout(watch);
  }
}

function handle(frame, each) {
  let kind = "message";
  let data = "";
  for (const line of frame.split("\n")) {
    if (line.startsWith("event: ")) kind = line.slice(7);
    if (line.startsWith("data: ")) data += line.slice(6);
  }
  if (data) each(kind, JSON.parse(data));
}

/// How long an answer may take.
const PATIENCE = 35_000;
/// How long the stream may say nothing: it says something every second, or every ten.
const SILENCE = 25_000;
