// The module `k6`.
import { host } from "catamaran:host";

export const check = host.check;

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

export const sleep = host.sleep;

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
