// The module `k6/http`, as far as most scripts use it: what they use less is in modules of its own, loaded
// when it is first needed, since each virtual user has its own copy of all this.
import { flat, host, part, parts } from "catamaran:host";

// Responses are made by the host; what is taken apart in JavaScript is kept in the response then.
const prototype = host.responsePrototype;
for (const name of ["headers", "timings", "cookies", "request", "ocsp"]) {
  Object.defineProperty(prototype, name, {
    configurable: true,
    enumerable: true,
    get() {
      const value = part("response")[name](this);
      Object.defineProperty(this, name, { value, writable: true, enumerable: true, configurable: true });
      return value;
    },
    set(value) {
      Object.defineProperty(this, name, { value, writable: true, enumerable: true, configurable: true });
    },
  });
}
for (const name of ["json", "toJSON", "html", "submitForm", "clickLink"]) {
  Object.defineProperty(prototype, name, {
    writable: true,
    configurable: true,
    value(...values) { return part("response").methods[name].apply(this, values); },
  });
}

// What `setResponseCallback` was given.
let callback;

// The arguments of the host's functions: method, URL, body, and what is unusual.
function prepare(method, url, body, params) {
  method = String(method);
  if ((params === undefined || params === null) && callback === undefined && typeof url === "string") {
    if (body === undefined || body === null || typeof body === "string") {
      return [method, url, body ?? undefined];
    }
  }
  return part("params").prepare(method, url, body, params ?? {}, callback);
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
const sending = (method) => (url, body, params) => request(method, url, body, params);
export const post = sending("POST");
export const put = sending("PUT");
export const patch = sending("PATCH");
export const del = sending("DELETE");
export const options = sending("OPTIONS");

const seldom = (name) => (...values) => part("seldom")[name](...values);
export const asyncRequest = seldom("asyncRequest");
export const batch = seldom("batch");
export const url = seldom("url");
export const expectedStatuses = seldom("expectedStatuses");
export const setResponseCallback = seldom("setResponseCallback");
export const cookieJar = seldom("cookieJar");
export const file = (...values) => part("params").file(...values);

// Its methods come with the module that makes the first one.
export function CookieJar() {
  if (new.target === undefined) {
    throw new TypeError("class constructors must be invoked with 'new'");
  }
  part("seldom");
  this.number = host.newJar();
}

parts.http = { CookieJar, finish, prepare, request, setCallback: (expected) => { callback = expected; } };

export const TLS_1_0 = "tls1.0", TLS_1_1 = "tls1.1", TLS_1_2 = "tls1.2", TLS_1_3 = "tls1.3";

export default {
  request, get, head, post, put, patch, del, options, asyncRequest, batch, url, file, expectedStatuses,
  setResponseCallback, cookieJar, CookieJar, TLS_1_0, TLS_1_1, TLS_1_2, TLS_1_3, OCSP_STATUS_GOOD: "good",
  OCSP_STATUS_REVOKED: "revoked", OCSP_STATUS_SERVER_FAILED: "server_failed", OCSP_STATUS_UNKNOWN: "unknown",
};
