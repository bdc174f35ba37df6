// What every script finds without importing it, and what the modules share.
const native = globalThis.__host;
delete globalThis.__host;

// What the host can do: made when it is first asked for, an own property from then on.
export const host = Object.create(new Proxy({}, {
  get(_, name) {
    const value = native(String(name));
    Object.defineProperty(host, name, { value, writable: true, configurable: true, enumerable: true });
    return value;
  },
}));

// Names and values by turns; undefined of nothing.
export function flat(map) {
  if (map === undefined || map === null) {
    return undefined;
  }
  const pairs = [];
  for (const [name, value] of Object.entries(map)) {
    pairs.push(name, String(value));
  }
  return pairs;
}

// Bytes or text as the host takes them.
export function bytes(data) {
  if (typeof data === "string" || data instanceof ArrayBuffer) {
    return data;
  }
  if (ArrayBuffer.isView(data)) {
    return data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
  }
  if (Array.isArray(data)) {
    return new Uint8Array(data).buffer;
  }
  return String(data);
}

export function hex(buffer) {
  let text = "";
  for (const byte of new Uint8Array(buffer)) {
    text += byte.toString(16).padStart(2, "0");
  }
  return text;
}

// What is under way, by number: what is called when it ends.
const waiting = new Map();
let last = 0;

export function begin(start, done) {
  last = (last + 1) >>> 0;
  start(last);
  waiting.set(last, done);
  return last;
}

export function end(number) {
  if (waiting.delete(number)) {
    host.cancel(number);
  }
}

// Called by the host.
export function complete(number, value) {
  const done = waiting.get(number);
  waiting.delete(number);
  done?.(value);
}

// What an earlier iteration left must not be called in a later one.
export function forget() {
  waiting.clear();
}

function after(name, work, millis, values, again) {
  if (typeof work !== "function") {
    throw new TypeError(`${name}: the first argument must be a function`);
  }
  return begin((number) => host.startTimer(number, Math.max(0, Number(millis) || 0)), again ?? (() => work(...values)));
}

export const setTimeout = (work, millis, ...values) => after("setTimeout", work, millis, values);
export const clearTimeout = (number) => end(intervals.get(number) ?? number);

const intervals = new Map();
export function setInterval(work, millis, ...values) {
  let first;
  const next = () => after("setInterval", work, millis, values, () => {
    intervals.set(first, next());
    work(...values);
  });
  first = next();
  intervals.set(first, first);
  return first;
}
export function clearInterval(number) {
  end(intervals.get(number) ?? number);
  intervals.delete(number);
}

const shown = (value) => {
  if (typeof value === "string") {
    return value;
  }
  if (value instanceof Error) {
    return value.stack ? `${value}\n${value.stack}` : String(value);
  }
  if (typeof value === "object" && value !== null) {
    try {
      return JSON.stringify(value);
    } catch {
      return "[object Object]";
    }
  }
  return String(value);
};
const log = (level) => (...values) => host.log(level, values.map(shown).join(" "));

class TextEncoder {
  get encoding() { return "utf-8"; }
  encode(text = "") { return new Uint8Array(host.encode(String(text))); }
}

class TextDecoder {
  get encoding() { return "utf-8"; }
  decode(data) { return data === undefined ? "" : host.decode(bytes(data)); }
}

const crypto = {
  getRandomValues(array) {
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength).set(new Uint8Array(host.random(array.byteLength)));
    return array;
  },
  randomUUID() {
    const all = new Uint8Array(host.random(16));
    all[6] = (all[6] & 0x0f) | 0x40;
    all[8] = (all[8] & 0x3f) | 0x80;
    const text = hex(all.buffer);
    return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join("-");
  },
};

function open(path, mode) {
  return mode === "b" ? host.openBytes(String(path)) : host.openText(String(path));
}

const globals = {
  console: { log: log("info"), info: log("info"), debug: log("debug"), warn: log("warning"), error: log("error") },
  global: globalThis,
  open, TextEncoder, TextDecoder, crypto, setTimeout, clearTimeout, setInterval, clearInterval,
};
for (const [name, value] of Object.entries(globals)) {
  Object.defineProperty(globalThis, name, { value, writable: true, configurable: true });
}
