// What calls a script back later: timers, and requests that promise their answer.
import { host, parts } from "catamaran:host";

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

parts.later = { complete, forget, setTimeout, clearTimeout, setInterval, clearInterval };
