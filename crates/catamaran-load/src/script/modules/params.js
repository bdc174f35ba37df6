// Bodies and parameters of the requests of `k6/http`, if there is anything unusual about them.
import { bytes } from "catamaran:bytes";
import { flat, host, part, parts } from "catamaran:host";

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

function file(data, filename, contentType) {
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
  const pieces = Object.entries(body).flatMap(([name, value]) => {
    const values = Array.isArray(value) ? value : [value];
    return values.map((one) => [name, one instanceof FileData ? one : text(one)]);
  });
  if (pieces.some(([, value]) => value instanceof FileData)) {
    const boundary = `catamaran${host.toBase64(host.random(18), "rawurl").replace(/[-_]/g, "x")}`;
    headers.push("Content-Type", `multipart/form-data; boundary=${boundary}`);
    return part("formdata").multipart(pieces, boundary);
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

// The arguments of the host's functions: method, URL, body, and what is unusual. As in k6, parameters that
// nobody knows are passed over.
function prepare(method, url, body, params, callback) {
  const fields = flat(params.headers) ?? [];
  let sent = bodyOf(body, fields);
  if (params.compression && sent !== undefined) {
    sent = host.pack(String(params.compression), sent);
    fields.push("Content-Encoding", String(params.compression).split(",").map((kind) => kind.trim()).join(", "));
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

// What `http.url` makes.
class Templated {
  constructor(url, name) {
    this.url = url;
    this.name = name;
  }
  toString() { return this.url; }
}

parts.params = { Templated, file, form, prepare };
