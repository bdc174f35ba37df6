// What few scripts ask of `k6/http`: batches, promises, templates of URLs, expected statuses, cookie jars.
import { host, part, parts } from "catamaran:host";
import { begin } from "catamaran:later";

const { CookieJar, finish, prepare, setCallback } = parts.http;
const { Templated } = part("params");

function asyncRequest(method, url, body, params) {
  return new Promise((resolve, reject) => {
    const args = prepare(method, url, body, params);
    begin((number) => host.startRequest(number, ...args), (response) => {
      try {
        resolve(finish(response, params));
      } catch (error) {
        reject(error);
      }
    });
  });
}

function batch(requests) {
  if (requests === null || typeof requests !== "object") {
    throw new TypeError("batch takes a list or an object of requests");
  }
  const keys = Object.keys(requests);
  const parts = keys.map((key) => {
    const one = requests[key];
    if (typeof one === "string" || one instanceof Templated) {
      return ["GET", one];
    }
    return Array.isArray(one) ? one : [one.method ?? "GET", one.url, one.body, one.params];
  });
  const answers = host.batch(parts.map((part) => prepare(...part)));
  const result = Array.isArray(requests) ? [] : {};
  keys.forEach((key, index) => { result[key] = finish(answers[index], parts[index][3]); });
  return result;
}

function url(parts, ...values) {
  const join = (insert) => parts.reduce((text, part, index) => text + insert(index - 1) + part);
  return new Templated(join((index) => String(values[index])), join(() => "${}"));
}

class ExpectedStatuses {
  constructor(ranges) { this.ranges = ranges; }
}

function expectedStatuses(...statuses) {
  return new ExpectedStatuses(statuses.flatMap((status) => {
    const [min, max] = typeof status === "number" ? [status, status] : [status?.min, status?.max];
    if (!Number.isInteger(min) || !Number.isInteger(max)) {
      throw new TypeError("expectedStatuses takes numbers and objects of min and max");
    }
    return [min, max];
  }));
}

function setResponseCallback(expected) {
  if (expected !== null && !(expected instanceof ExpectedStatuses)) {
    throw new TypeError("setResponseCallback takes what expectedStatuses returns, or null");
  }
  setCallback(expected);
}

class Methods {
  cookiesForURL(url) {
    const flat = host.jarCookies(this.number, String(url));
    const cookies = {};
    for (let at = 0; at < flat.length; at += 2) {
      (cookies[flat[at]] ??= []).push(flat[at + 1]);
    }
    return cookies;
  }
  set(url, name, value, options = {}) {
    const { domain, path, expires, max_age, secure, http_only } = options ?? {};
    let line = `${name}=${value}`;
    if (domain) { line += `; Domain=${domain}`; }
    if (path) { line += `; Path=${path}`; }
    if (expires) { line += `; Expires=${new Date(expires).toUTCString()}`; }
    if (max_age) { line += `; Max-Age=${max_age}`; }
    if (secure) { line += "; Secure"; }
    if (http_only) { line += "; HttpOnly"; }
    host.jarSet(this.number, String(url), line);
    return true;
  }
  clear(url) { host.jarRemove(this.number, String(url), undefined); }
  delete(url, name) { host.jarRemove(this.number, String(url), String(name)); }
}
for (const name of Object.getOwnPropertyNames(Methods.prototype)) {
  if (name !== "constructor") {
    const value = Methods.prototype[name];
    Object.defineProperty(CookieJar.prototype, name, { value, writable: true, configurable: true });
  }
}

// The virtual user's own jar, which needs no making.
const own = Object.freeze(Object.assign(Object.create(CookieJar.prototype), { number: 0 }));
const cookieJar = () => own;

parts.seldom = { asyncRequest, batch, url, expectedStatuses, setResponseCallback, cookieJar };
