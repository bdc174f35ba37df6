// The module `k6`.
import { flat, host } from "catamaran:host";

// The numbers of checks that came before, by name: most come again and again.
const numbers = { __proto__: null };

function judge(name) {
  if (name.includes("::")) {
    throw new Error(`the name of a check may not contain "::": ${name}`);
  }
}

function note(name, holds, tags) {
  if (tags === undefined) {
    const known = numbers[name];
    if (known !== undefined && host.checkAgain(known, holds)) {
      return;
    }
  }
  const number = host.check(name, holds, tags);
  if (number !== undefined) {
    numbers[name] = number;
  }
}

export function check(value, checks, tags) {
  if (checks === null || typeof checks !== "object") {
    throw new TypeError("check: the second argument must be an object of names and functions");
  }
  const own = flat(tags);
  let all = true;
  const names = Object.keys(checks);
  // By number: this is the most frequent loop of all, and an iterator costs as much as the rest of it.
  for (let at = 0; at < names.length; at++) {
    const name = names[at];
    if (numbers[name] === undefined) {
      judge(name);
    }
    let holds = checks[name];
    if (typeof holds === "function") {
      try {
        holds = holds(value);
      } catch (error) {
        note(name, false, own);
        throw error;
      }
    }
    if (typeof holds === "object" && holds instanceof Promise) {
      throw new Error(`check "${name}" is asynchronous; await the value first and check that`);
    }
    holds = Boolean(holds);
    note(name, holds, own);
    all &&= holds;
  }
  return all;
}

export function group(name, work) {
  name = String(name);
  if (name.includes("::")) {
    throw new Error(`the name of a group may not contain "::": ${name}`);
  }
  if (work?.constructor?.name === "AsyncFunction") {
    throw new Error(`group "${name}" is asynchronous; leave the group out or do without async in it`);
  }
  host.beginGroup(name);
  try {
    return work();
  } finally {
    host.endGroup();
  }
}

export function sleep(seconds) {
  host.sleep(Math.max(0, Number(seconds) || 0));
}

export function fail(message) {
  throw new Error(message === undefined ? "" : String(message));
}

// A small generator (mulberry32), so that runs can be repeated.
export function randomSeed(seed) {
  let state = seed >>> 0;
  Math.random = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export default { check, group, sleep, fail, randomSeed };
