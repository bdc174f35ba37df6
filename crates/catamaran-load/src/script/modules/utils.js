// In place of jslib's k6-utils: small things that many scripts use.
import { host } from "catamaran:host";
import exec from "k6/execution";

export const uuidv4 = () => crypto.randomUUID();
export const randomIntBetween = (min, max) => Math.floor(Math.random() * (max - min + 1) + min);
export const randomItem = (list) => list[Math.floor(Math.random() * list.length)];
export function randomString(length, letters = "abcdefghijklmnopqrstuvwxyz") {
  let text = "";
  for (let at = 0; at < length; at++) {
    text += letters[Math.floor(Math.random() * letters.length)];
  }
  return text;
}

export function findBetween(content, left, right, repeat = false) {
  const found = [];
  let at = 0;
  for (;;) {
    const begin = content.indexOf(left, at);
    const end = begin < 0 ? -1 : content.indexOf(right, begin + left.length);
    if (end < 0) {
      return repeat ? found : null;
    }
    const text = content.slice(begin + left.length, end);
    if (!repeat) {
      return text;
    }
    found.push(text);
    at = end + right.length;
  }
}

export function normalDistributionStages(maxVus, duration, count = 10) {
  const bell = (x) => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
  const curve = Array.from({ length: count + 2 }, (_, at) => bell(-2 + (4 / (count + 1)) * at));
  const peak = Math.max(...curve);
  const each = Math.ceil(duration / count);
  const targets = curve.slice(1, count + 1).map((height) => Math.round(maxVus * (height / peak)));
  return [...targets.map((target) => ({ duration: `${each}s`, target })), { duration: `${each}s`, target: 0 }];
}

export function getCurrentStageIndex() {
  const stages = exec.test.options.scenarios[exec.scenario.name]?.stages ?? [];
  const since = Date.now() - exec.scenario.startTime;
  let end = 0;
  for (const [index, stage] of stages.entries()) {
    end += host.millis(stage.duration);
    if (since < end) {
      return index;
    }
  }
  return stages.length - 1;
}
export function tagWithCurrentStageIndex() { exec.vu.tags.stage = String(getCurrentStageIndex()); }
export function tagWithCurrentStageProfile() {
  const stages = exec.test.options.scenarios[exec.scenario.name]?.stages ?? [];
  const index = getCurrentStageIndex();
  const before = index > 0 ? stages[index - 1].target : 0;
  const target = stages[index]?.target ?? 0;
  exec.vu.tags.stage_profile = target > before ? "ramp-up" : target < before ? "ramp-down" : "steady";
}

export function parseDuration(text) {
  const units = { d: 86400000, h: 3600000, m: 60000, s: 1000, ms: 1 };
  let sum = 0;
  for (const [, number, unit] of String(text).matchAll(/([\d.]+)(ms|d|h|m|s)/g)) {
    sum += Number(number) * units[unit];
  }
  return sum;
}

export default { uuidv4, randomIntBetween, randomItem, randomString, findBetween, normalDistributionStages };
