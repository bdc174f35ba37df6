// The module `k6/http`.
import { begin, bytes, flat, host } from "catamaran:host";
import { multipart } from "catamaran:formdata";

// Responses are made by the host; what is taken apart here is kept in the response then.
const prototype = host.responsePrototype;

function lazy(name, make) {
  Object.defineProperty(prototype, name, {
    configurable: true,
    enumerable: true,
    get() {
      const value = make(this);
      Object.defineProperty(this, name, { value, writable: true, enumerable: true, configurable: true });
      return value;
    },
  });
}

lazy("headers", (response) => headersOf(response.__head));
lazy("timings", (response) => {
  const [blocked, connecting, tls_handshaking, sending, waiting, receiving] = response.__times;
  const duration = sending + waiting + receiving;
  return { duration, blocked, looking_up: 0, connecting, tls_handshaking, sending, waiting, receiving };
});
lazy("cookies", (response) => {
  const cookies = {};
  for (const [name, value] of linesOf(response.__head)) {
    if (name.toLowerCase() === "set-cookie") {
      const cookie = cookieOf(value);
      (cookies[cookie.name] ??= []).push(cookie);
    }
  }
  return cookies;
});
lazy("request", (response) => {
  const [head, body, method] = response.__request;
  const headers = {};
  for (const [name, value] of linesOf(head)) {
    (headers[canonical(name)] ??= []).push(value);
  }
  const cookies = {};
  for (const pair of (headers.Cookie ?? []).flatMap((line) => line.split("; "))) {
    const [name, value] = [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)];
    (cookies[name] ??= []).push({ name, value, replace: false });
  }
  return { method, url: response.url, headers, body, cookies };
});
lazy("ocsp", () => ({ produced_at: 0, this_update: 0, next_update: 0, revoked_at: 0, revocation_reason: "", status: "unknown" }));

// The module `k6/html`, once it is needed.
let loaded;
const pages = () => (loaded ??= host.pages ?? host.loadHtml());

const SHOWN = [
  "remote_ip", "remote_port", "url", "status", "status_text", "proto", "headers", "cookies", "body", "timings",
  "tls_version", "tls_cipher_suite", "ocsp", "error", "error_code", "request",
];

const methods = {
  json(selector) {
    const body = this.body;
    if (body === null || body === undefined || body === "") {
      throw new Error("the body is null, so that no JSON can be read from it");
    }
    const text = typeof body === "string" ? body : host.decode(body);
    if (selector === undefined) {
      return JSON.parse(text);
    }
    const found = host.select(text, String(selector));
    return found === undefined ? undefined : JSON.parse(found);
  },
  toJSON() {
    return Object.fromEntries(SHOWN.map((name) => [name, this[name]]));
  },
  html(selector) {
    const body = this.body;
    if (body === null || body === undefined) {
      throw new Error("the body is null, so that no page can be read from it");
    }
    const page = pages().parseHTML(typeof body === "string" ? body : host.decode(body), this.url);
    return selector === undefined ? page : page.find(selector);
  },
  submitForm(options) {
    const { formSelector = "form", fields = {}, submitSelector, params } = options ?? {};
    const found = this.html(formSelector);
    if (found.size() === 0) {
      throw new Error(`no form found for selector '${formSelector}' in response '${this.url}'`);
    }
    const [method, action, sent] = pages().formOf(found.first(), fields, submitSelector);
    const target = action === "" ? this.url : host.joinUrl(this.url, action);
    if (method !== "GET") {
      return request(method, target, sent, params);
    }
    return request("GET", `${target.split("?")[0]}?${form(sent)}`, null, params);
  },
  clickLink(options) {
    const { selector = "a[href]", params } = options ?? {};
    const link = this.html(selector).first();
    if (link.size() === 0) {
      throw new Error(`no element found for selector '${selector}' in response '${this.url}'`);
    }
    const target = link.attr("href");
    if (target === undefined) {
      throw new Error(`no valid href attribute value found on element '${selector}' in response '${this.url}'`);
    }
    return request("GET", host.joinUrl(this.url, target), null, params);
  },
};
for (const [name, value] of Object.entries(methods)) {
  Object.defineProperty(prototype, name, { value, writable: true, configurable: true });
}

function linesOf(head) {
  return head.split("\r\n").slice(1).filter((line) => line.includes(":")).map((line) => {
    const at = line.indexOf(":");
    return [line.slice(0, at), line.slice(at + 1).trim()];
  });
}

// As Go writes names: `content-type` becomes `Content-Type`.
function canonical(name) {
  return name.toLowerCase().replace(/(^|-)([a-z])/g, (_, dash, letter) => dash + letter.toUpperCase());
}

function headersOf(head) {
  const headers = {};
  for (const [name, value] of linesOf(head)) {
    const key = canonical(name);
    headers[key] = key in headers ? `${headers[key]}, ${value}` : value;
  }
  return headers;
}

function cookieOf(line) {
  const [pair, ...rest] = line.split(";");
  const at = pair.indexOf("=");
  const cookie = {
    name: pair.slice(0, at).trim(), value: pair.slice(at + 1).trim(), domain: "", path: "", http_only: false,
    secure: false, max_age: 0, expires: 0,
  };
  for (const part of rest) {
    const [key, value = ""] = part.split("=").map((text) => text.trim());
    switch (key.toLowerCase()) {
      case "domain": cookie.domain = value; break;
      case "path": cookie.path = value; break;
      case "httponly": cookie.http_only = true; break;
      case "secure": cookie.secure = true; break;
      case "max-age": cookie.max_age = Number(value); break;
      case "expires": cookie.expires = Date.parse(value) || 0; break;
    }
  }
  return cookie;
}

function escaped(text) {
  return encodeURIComponent(text).replace(/%20/g, "+")
    .replace(/[!'()*]/g, (c) => "%" + c.charCodeAt(0).toString(16).toUpperCase());
}

const text = (value) => (value === null || value === undefined ? "" : String(value));

function form(fields) {
  return Object.keys(fields).sort().flatMap((name) => {
    const values = Array.isArray(fields[name]) ? fields[name] : [fields[name]];
    return values.map((one) => `${escaped(name)}=${escaped(text(one))}`);
  }).join("&");
}

export function file(data, filename, contentType) {
  return new FileData(data, filename ?? String(Date.now() * 1e6), contentType ?? "application/octet-stream");
}

class FileData {
  constructor(data, filename, content_type) {
    Object.assign(this, { data, filename, content_type });
  }
}

function bodyOf(body, headers) {
  if (body === null || body === undefined) {
    return undefined;
  }
  if (typeof body === "string" || body instanceof ArrayBuffer || ArrayBuffer.isView(body)) {
    return bytes(body);
  }
  if (typeof body !== "object" || body instanceof String) {
    return String(body);
  }
  const has = (name) => headers.some((text, index) => index % 2 === 0 && text.toLowerCase() === name);
  const parts = Object.entries(body).flatMap(([name, value]) => {
    const values = Array.isArray(value) ? value : [value];
    return values.map((one) => [name, one instanceof FileData ? one : text(one)]);
  });
  if (parts.some(([, value]) => value instanceof FileData)) {
    const boundary = `catamaran${host.toBase64(host.random(18), "rawurl").replace(/[-_]/g, "x")}`;
    headers.push("Content-Type", `multipart/form-data; boundary=${boundary}`);
    return multipart(parts, boundary);
  }
  if (!has("content-type")) {
    headers.push("Content-Type", "application/x-www-form-urlencoded");
  }
  return form(body);
}

function cookiesOf(cookies) {
  if (cookies === undefined || cookies === null) {
    return undefined;
  }
  return Object.entries(cookies).flatMap(([name, cookie]) => {
    const isObject = cookie !== null && typeof cookie === "object";
    return [name, text(isObject ? cookie.value : cookie), String(isObject && Boolean(cookie.replace))];
  });
}

let callback;

// The arguments of the host's functions: method, URL, body, and what is unusual. As in k6, parameters that
// nobody knows are passed over.
function prepare(method, url, body, params) {
  method = String(method);
  if (params === undefined || params === null) {
    if (body === undefined || body === null || typeof body === "string") {
      if (typeof url === "string" && callback === undefined) {
        return [method, url, body ?? undefined];
      }
    }
    params = {};
  }
  const fields = flat(params.headers) ?? [];
  let sent = bodyOf(body, fields);
  if (params.compression && sent !== undefined) {
    sent = host.pack(String(params.compression), sent);
    fields.push("Content-Encoding", String(params.compression));
  }
  let tags = flat(params.tags);
  if (url instanceof Templated) {
    tags = ["name", url.name, ...(tags ?? [])];
  }
  let { timeout } = params;
  if (typeof timeout === "string") {
    timeout = host.millis(timeout);
  }
  const expected = params.responseCallback === undefined ? callback : params.responseCallback;
  return [method, String(url), sent, {
    fields, tags, timeout, cookies: cookiesOf(params.cookies), jar: params.jar?.number, auth: params.auth,
    redirects: params.redirects === undefined ? undefined : Number(params.redirects), responseType: params.responseType,
    protocol: params.protocol,
    expected: expected === null ? [] : expected?.ranges ?? undefined,
  }];
}

function finish(response, params) {
  if ((params?.throw ?? host.throws) && response.error !== "") {
    throw new Error(response.error);
  }
  return response;
}

export function request(method, url, body, params) {
  return finish(host.request(...prepare(method, url, body, params)), params);
}

export function get(url, params) {
  if (params === undefined && callback === undefined && !host.throws && typeof url === "string") {
    return host.request("GET", url);
  }
  return request("GET", url, null, params);
}
export const head = (url, params) => request("HEAD", url, null, params);
export const post = (url, body, params) => request("POST", url, body, params);
export const put = (url, body, params) => request("PUT", url, body, params);
export const patch = (url, body, params) => request("PATCH", url, body, params);
export const del = (url, body, params) => request("DELETE", url, body, params);
export const options = (url, body, params) => request("OPTIONS", url, body, params);

export function asyncRequest(method, url, body, params) {
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

export function batch(requests) {
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

class Templated {
  constructor(url, name) {
    this.url = url;
    this.name = name;
  }
  toString() { return this.url; }
}

export function url(parts, ...values) {
  const join = (insert) => parts.reduce((text, part, index) => text + insert(index - 1) + part);
  return new Templated(join((index) => String(values[index])), join(() => "${}"));
}

class ExpectedStatuses {
  constructor(ranges) { this.ranges = ranges; }
}

export function expectedStatuses(...statuses) {
  return new ExpectedStatuses(statuses.flatMap((status) => {
    const [min, max] = typeof status === "number" ? [status, status] : [status?.min, status?.max];
    if (!Number.isInteger(min) || !Number.isInteger(max)) {
      throw new TypeError("expectedStatuses takes numbers and objects of min and max");
    }
    return [min, max];
  }));
}

export function setResponseCallback(expected) {
  if (expected !== null && !(expected instanceof ExpectedStatuses)) {
    throw new TypeError("setResponseCallback takes what expectedStatuses returns, or null");
  }
  callback = expected;
}

export class CookieJar {
  constructor() { this.number = host.newJar(); }
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

// The virtual user's own jar, which needs no making.
const own = Object.freeze(Object.assign(Object.create(CookieJar.prototype), { number: 0 }));
export const cookieJar = () => own;

const constants = {
  TLS_1_0: "tls1.0", TLS_1_1: "tls1.1", TLS_1_2: "tls1.2", TLS_1_3: "tls1.3", OCSP_STATUS_GOOD: "good",
  OCSP_STATUS_REVOKED: "revoked", OCSP_STATUS_SERVER_FAILED: "server_failed", OCSP_STATUS_UNKNOWN: "unknown",
};
export const { TLS_1_0, TLS_1_1, TLS_1_2, TLS_1_3 } = constants;

export default {
  request, get, head, post, put, patch, del, options, asyncRequest, batch, url, file, expectedStatuses,
  setResponseCallback, cookieJar, CookieJar, ...constants,
};
