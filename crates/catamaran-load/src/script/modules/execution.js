// The module `k6/execution`.
import { host } from "catamaran:host";

function fact(name, what) {
  const value = host.fact(name);
  if (value === undefined || value === null) {
    throw new Error(`${what} is known in scenarios only, not in setup, teardown or the top level`);
  }
  return value;
}

export const scenario = {
  get name() { return named()[0]; },
  get executor() { return named()[1]; },
  get startTime() { return fact("startTime", "exec.scenario.startTime"); },
  get progress() { return fact("progress", "exec.scenario.progress"); },
  get iterationInInstance() { return fact("uniqueHere", "exec.scenario.iterationInInstance"); },
  get iterationInTest() { return fact("unique", "exec.scenario.iterationInTest"); },
};

function named() {
  const found = host.scenario();
  if (!found) {
    throw new Error("exec.scenario is known in scenarios only, not in setup, teardown or the top level");
  }
  return found;
}

export const instance = {
  get currentTestRunDuration() { return host.fact("elapsed"); },
  get iterationsCompleted() { return host.fact("whole"); },
  get iterationsInterrupted() { return host.fact("cut"); },
  get vusActive() { return host.fact("active"); },
  get vusInitialized() { return host.fact("made"); },
};

// Read-only, as in k6.
const frozen = (value) => {
  if (typeof value === "object" && value !== null) {
    Object.values(value).forEach(frozen);
  }
  return Object.freeze(value);
};

let options;
export const test = {
  abort(why) { host.abort(why === undefined ? "" : String(why)); },
  fail(why) {
    if (why !== undefined) {
      console.error(String(why));
    }
    host.markFailed();
  },
  get options() {
    host.mustRun();
    return options ??= frozen(JSON.parse(host.options));
  },
};

// All tags that samples have now, the run's, the scenario's and the group's among them.
function now() {
  const flat = host.tags();
  const all = {};
  for (let at = 0; at < flat.length; at += 2) {
    all[flat[at]] = flat[at + 1];
  }
  return all;
}

const tags = new Proxy({}, {
  get: (_, name) => now()[name],
  has: (_, name) => name in now(),
  ownKeys: () => Object.keys(now()),
  getOwnPropertyDescriptor(_, name) {
    const value = now()[name];
    return value === undefined ? undefined : { value, writable: true, enumerable: true, configurable: true };
  },
  set(_, name, value) {
    if (!["string", "number", "boolean"].includes(typeof value)) {
      throw new TypeError(`the tag ${String(name)} must be a text, a number or a truth`);
    }
    host.setTag(String(name), String(value));
    return true;
  },
  deleteProperty(_, name) {
    host.removeTag(String(name));
    return true;
  },
});

export const vu = {
  get idInInstance() { return host.fact("vuHere"); },
  get idInTest() { return host.fact("vu"); },
  get iterationInInstance() { return host.fact("iteration"); },
  get iterationInScenario() { return host.fact("iteration"); },
  get tags() { return tags; },
  set tags(all) { Object.assign(tags, all); },
  metrics: {
    get tags() { return tags; },
    set tags(all) { Object.assign(tags, all); },
    metadata: {},
  },
};

export default { scenario, instance, test, vu };
