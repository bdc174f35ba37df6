// The module `k6`.
import { host } from "catamaran:host";

export const { check, group, sleep } = host;

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
