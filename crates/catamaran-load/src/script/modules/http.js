// The module `k6/http`.
const host = globalThis.__host;

// What the host gives back, by place.
const STATUS = 0, REASON = 1, URL = 2, ERROR = 3, CODE = 4, IP = 5, PORT = 6, HEAD = 7, BODY = 8, TIMES = 9, REQUEST = 10;

class Timings {
  constructor(times) {
    [this.blocked, this.connecting, this.sending, this.waiting, this.receiving] = times;
    this.duration = this.sending + this.waiting + this.receiving;
    this.looking_up = 0;
    this.tls_handshaking = 0;
  }
}

// Everything is taken apart when it is asked for; most scripts look at the status only.
class Response {
  #raw;
  #headers;
  #timings;
  #request;
  constructor(raw, request) {
    this.#raw = raw;
    this.#request = request;
  }
  get status() { return this.#raw[STATUS]; }
  get status_text() { return this.#raw[STATUS] ? `${this.#raw[STATUS]} ${this.#raw[REASON]}` : ""; }
  get url() { return this.#raw[URL]; }
  get error() { return this.#raw[ERROR]; }
  get error_code() { return this.#raw[CODE]; }
  get proto() { return this.#raw[STATUS] ? "HTTP/1.1" : ""; }
  get remote_ip() { return this.#raw[IP]; }
  get remote_port() { return this.#raw[PORT]; }
  get body() { return this.#raw[BODY]; }
  get tls_version() { return ""; }
  get tls_cipher_suite() { return ""; }
  get ocsp() { return {}; }
  get timings() { return this.#timings ??= new Timings(this.#raw[TIMES]); }
  get headers() { return this.#headers ??= headersOf(this.#raw[HEAD]); }
  get request() {
    const [method, url, body, headers] = this.#request;
    return { method, url: this.#raw[URL] || url, body: body ?? "", headers: headersOf(this.#raw[REQUEST]) ?? headers };
  }
  get cookies() {
    const cookies = {};
    for (const [name, value] of linesOf(this.#raw[HEAD])) {
      if (name.toLowerCase() === "set-cookie") {
        const [pair] = value.split(";");
        const at = pair.indexOf("=");
        const cookie = { name: pair.slice(0, at).trim(), value: pair.slice(at + 1).trim() };
        (cookies[cookie.name] ??= []).push(cookie);
      }
    }
    return cookies;
  }
  json(selector) {
    if (this.body === null || this.body === "") {
      throw new Error("the body is empty, so that no JSON can be read from it");
    }
    const text = typeof this.body === "string" ? this.body : host.decode(Array.from(new Uint8Array(this.body)));
    const value = JSON.parse(text);
    return selector === undefined ? value : select(value, String(selector));
  }
  html() { throw new Error("res.html() is not supported yet; look at res.body"); }
  submitForm() { throw new Error("res.submitForm() is not supported yet; send the form with http.post"); }
  clickLink() { throw new Error("res.clickLink() is not supported yet; get the link with http.get"); }
}

// Paths of keys and numbers, as `a.b.0.c`; `#` is the length of a list.
function select(value, selector) {
  if (/[*?|@(){}\[\]]/.test(selector)) {
    throw new Error(`res.json("${selector}"): only paths such as a.b.0 are supported yet`);
  }
  for (const key of selector.split(".")) {
    if (value === null || value === undefined) {
      return undefined;
    }
    value = key === "#" && Array.isArray(value) ? value.length : value[key];
  }
  return value;
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

function escaped(text) {
  return encodeURIComponent(text).replace(/%20/g, "+")
    .replace(/[!'()*]/g, (c) => "%" + c.charCodeAt(0).toString(16).toUpperCase());
}

function form(fields) {
  return Object.keys(fields).sort().flatMap((name) => {
    const value = fields[name];
    const values = Array.isArray(value) ? value : [value];
    return values.map((one) => `${escaped(name)}=${escaped(one === null || one === undefined ? "" : String(one))}`);
  }).join("&");
}

function bodyOf(body, headers) {
  if (body === null || body === undefined) {
    return undefined;
  }
  if (typeof body === "string" || body instanceof String) {
    return String(body);
  }
  if (body instanceof ArrayBuffer || ArrayBuffer.isView(body)) {
    const bytes = body instanceof ArrayBuffer ? new Uint8Array(body) : new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
    return Array.from(bytes);
  }
  if (typeof body === "object") {
    if (!headers.some((text, index) => index % 2 === 0 && text.toLowerCase() === "content-type")) {
      headers.push("Content-Type", "application/x-www-form-urlencoded");
    }
    return form(body);
  }
  return String(body);
}

const KNOWN = ["headers", "tags", "cookies", "timeout", "redirects", "responseType", "responseCallback", "throw"];
const REMEDIES = {
  auth: "put name and password into the URL, or send the Authorization header",
  jar: "send the cookies with `cookies`",
  compression: "compress the body beforehand and set Content-Encoding",
};

function millis(timeout) {
  if (timeout === undefined || timeout === null) {
    return 60000;
  }
  return typeof timeout === "number" ? timeout : host.millis(String(timeout));
}

// The arguments of the host's function.
function prepare(method, url, body, params) {
  params ??= {};
  for (const key of Object.keys(params)) {
    if (key in REMEDIES) {
      throw new Error(`the parameter "${key}" is not supported yet; ${REMEDIES[key]}`);
    }
    if (!KNOWN.includes(key)) {
      throw new Error(`no parameter of requests is called "${key}"; there are ${KNOWN.join(", ")}`);
    }
  }
  const headers = host.flat(params.headers);
  const cookies = Object.entries(params.cookies ?? {})
    .map(([name, cookie]) => `${name}=${cookie !== null && typeof cookie === "object" ? cookie.value : cookie}`);
  if (cookies.length > 0) {
    headers.push("Cookie", cookies.join("; "));
  }
  const tags = host.flat(params.tags);
  if (url instanceof Templated) {
    tags.unshift("name", url.name);
    url = url.url;
  }
  const expected = params.responseCallback === null ? [] : (params.responseCallback ?? callback);
  return [
    String(method).toUpperCase(), String(url), bodyOf(body, headers), headers, tags, millis(params.timeout),
    params.redirects ?? -1, params.responseType ?? "", expected === undefined ? undefined : expected,
  ];
}

function finish(args, raw, params) {
  if (raw[ERROR] !== "" && (params?.throw ?? host.throws) && raw[STATUS] === 0) {
    throw new Error(raw[ERROR]);
  }
  return new Response(raw, args);
}

export function request(method, url, body, params) {
  const args = prepare(method, url, body, params);
  return finish(args, host.request(args), params);
}

export const get = (url, params) => request("GET", url, null, params);
export const head = (url, params) => request("HEAD", url, null, params);
export const post = (url, body, params) => request("POST", url, body, params);
export const put = (url, body, params) => request("PUT", url, body, params);
export const patch = (url, body, params) => request("PATCH", url, body, params);
export const del = (url, body, params) => request("DELETE", url, body, params);
export const options = (url, body, params) => request("OPTIONS", url, body, params);

export function batch(requests) {
  const keys = Object.keys(requests);
  const parts = keys.map((key) => {
    const one = requests[key];
    if (typeof one === "string" || one instanceof Templated) {
      return ["GET", one];
    }
    return Array.isArray(one) ? one : [one.method ?? "GET", one.url, one.body, one.params];
  });
  const prepared = parts.map((part) => prepare(...part));
  const answers = host.batch(prepared);
  const result = Array.isArray(requests) ? [] : {};
  keys.forEach((key, index) => {
    result[key] = finish(prepared[index], answers[index], parts[index][3]);
  });
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

export function expectedStatuses(...statuses) {
  return statuses.flatMap((status) => typeof status === "number" ? [status, status] : [status.min, status.max]);
}

let callback;
export function setResponseCallback(expected) {
  callback = expected === null ? [] : expected;
}

const missing = (name, remedy) => () => { throw new Error(`http.${name} is not supported yet; ${remedy}`); };
export const asyncRequest = missing("asyncRequest", "use http.request or http.batch");
export const file = missing("file", "write the multipart body as a text");
export const cookieJar = missing("cookieJar", "send cookies with the parameter `cookies`");

export default {
  request, get, head, post, put, patch, del, options, batch, url, expectedStatuses, setResponseCallback,
  asyncRequest, file, cookieJar,
};
