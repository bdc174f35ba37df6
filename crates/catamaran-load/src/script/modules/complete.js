// The properties of responses, for scripts that list them or take them apart: as in k6 they are the response's own.
import { host, part, parts } from "catamaran:host";

const SHOWN = [
  "remote_ip", "remote_port", "url", "status", "status_text", "proto", "headers", "cookies", "body", "timings",
  "tls_version", "tls_cipher_suite", "ocsp", "error", "error_code", "request",
];

const own = {};
const set = (name) => function (value) {
  Object.defineProperty(this, name, { value, writable: true, enumerable: true, configurable: true });
};
for (const name of SHOWN) {
  const { get } = Object.getOwnPropertyDescriptor(host.responsePrototype, name);
  own[name] = { get, set: set(name), enumerable: true, configurable: true };
}
for (const name of ["json", "html", "submitForm", "clickLink"]) {
  // They may be taken out and called alone.
  const get = function () { return (...values) => part("response").methods[name].apply(this, values); };
  own[name] = { get, set: set(name), enumerable: true, configurable: true };
}
const complete = (response) => Object.defineProperties(response, own);

parts.complete = { SHOWN, complete };
