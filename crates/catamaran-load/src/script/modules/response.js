// What a response of `k6/http` is asked for less: what is taken apart of it, and its methods.
import { host, part, parts } from "catamaran:host";

const headers = (response) => headersOf(response.__head);
const timings = (response) => {
  const [blocked, connecting, tls_handshaking, sending, waiting, receiving] = response.__times;
  const duration = sending + waiting + receiving;
  return { duration, blocked, looking_up: 0, connecting, tls_handshaking, sending, waiting, receiving };
};
const cookies = (response) => {
  const cookies = {};
  for (const [name, value] of linesOf(response.__head)) {
    if (name.toLowerCase() === "set-cookie") {
      const cookie = cookieOf(value);
      (cookies[cookie.name] ??= []).push(cookie);
    }
  }
  return cookies;
};
const request = (response) => {
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
};
const ocsp = () => ({ produced_at: 0, this_update: 0, next_update: 0, revoked_at: 0, revocation_reason: "", status: "unknown" });

// The module `k6/html`, once it is needed.
let loaded;
const pages = () => (loaded ??= host.pages ?? host.loadHtml());

const methods = {
  json(selector) {
    const body = this.body;
    if (body === null || body === undefined || (body === "" && selector === undefined)) {
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
    return Object.fromEntries(part("complete").SHOWN.map((name) => [name, this[name]]));
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
      return parts.http.request(method, target, sent, params);
    }
    return parts.http.request("GET", `${target.split("?")[0]}?${part("params").form(sent)}`, null, params);
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
    return parts.http.request("GET", host.joinUrl(this.url, target), null, params);
  },
};

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
  const value = pair.slice(at + 1).trim().replace(/^"(.*)"$/, "$1");
  const cookie = {
    name: pair.slice(0, at).trim(), value, domain: "", path: "", http_only: false, secure: false, max_age: 0, expires: 0,
  };
  for (const part of rest) {
    const [key, value = ""] = part.split("=").map((text) => text.trim());
    switch (key.toLowerCase()) {
      case "domain": cookie.domain = value; break;
      case "path": cookie.path = value; break;
      case "httponly": cookie.http_only = true; break;
      case "secure": cookie.secure = true; break;
      case "max-age": cookie.max_age = Number(value) > 0 ? Number(value) : -1; break;
      case "expires": cookie.expires = Date.parse(value) || 0; break;
    }
  }
  return cookie;
}

parts.response = { headers, timings, cookies, request, ocsp, methods };
