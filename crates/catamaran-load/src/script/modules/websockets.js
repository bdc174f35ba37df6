// The module `k6/websockets`: sockets whose events come while the script does other things.
import { bytes } from "catamaran:bytes";
import { host } from "catamaran:host";
import { begin } from "catamaran:later";
import { closeText, socketOptions } from "k6/ws";

const [CONNECTING, OPEN, CLOSING, CLOSED] = [0, 1, 2, 3];

class Blob_ {
  #data;
  constructor(parts = [], options = {}) {
    const all = [...parts].map((part) => {
      if (part instanceof Blob_) { return new Uint8Array(part.#data); }
      const data = bytes(part);
      return new Uint8Array(typeof data === "string" ? host.encode(data) : data);
    });
    const joined = new Uint8Array(all.reduce((len, part) => len + part.length, 0));
    let at = 0;
    for (const part of all) {
      joined.set(part, at);
      at += part.length;
    }
    this.#data = joined.buffer;
    Object.defineProperty(this, "type", { value: String(options.type ?? ""), enumerable: true });
  }
  get size() { return this.#data.byteLength; }
  async arrayBuffer() { return this.#data.slice(0); }
  async bytes() { return new Uint8Array(this.#data.slice(0)); }
  async text() { return host.decode(this.#data); }
  slice(from, to, type) { return new Blob_([this.#data.slice(from, to)], { type: type ?? "" }); }
  static bufferOf(blob) { return blob.#data; }
}
Object.defineProperty(Blob_, "name", { value: "Blob" });
export { Blob_ as Blob };

const EVENTS = ["open", "message", "error", "close", "ping", "pong"];

export class WebSocket {
  #number;
  #state = CONNECTING;
  #handlers = new Map();
  #binaryType = "blob";
  #pings = 0;
  #protocol = "";
  constructor(url, protocols, params) {
    this.url = String(url);
    const why = host.socketUrlError(this.url);
    if (why) {
      throw new SyntaxError(why);
    }
    const options = socketOptions(params, ["headers", "tags", "jar"]);
    const wanted = [protocols ?? []].flat().map(String).filter((name) => name !== "");
    if (wanted.length > 0) {
      options.fields.push("Sec-WebSocket-Protocol", wanted.join(", "));
    }
    begin((number) => host.startSocket(number, this.url, options), (opened) => this.#opened(...opened));
  }

  get readyState() { return this.#state; }
  get protocol() { return this.#protocol; }
  get extensions() { return ""; }
  get bufferedAmount() { return this.#number === undefined ? 0 : host.socketWaiting(this.#number); }
  get binaryType() { return this.#binaryType; }
  set binaryType(type) {
    if (type !== "blob" && type !== "arraybuffer") {
      throw new TypeError(`binaryType is "blob" or "arraybuffer", not "${type}"`);
    }
    this.#binaryType = type;
  }

  addEventListener(type, handler) {
    if (!EVENTS.includes(type)) {
      host.log("warning", `no event of WebSockets is called "${type}"; there are ${EVENTS.join(", ")}`);
      return;
    }
    if (!this.#handlers.has(type)) {
      this.#handlers.set(type, []);
    }
    this.#handlers.get(type).push(handler);
  }
  send(data) {
    this.#mustBeOpen("send");
    if (data instanceof Blob_) {
      data = Blob_.bufferOf(data);
    } else if (typeof data !== "string") {
      data = bytes(data);
    }
    host.socketSend(this.#number, "message", data);
  }
  ping() {
    this.#mustBeOpen("ping");
    host.socketSend(this.#number, "ping", String(++this.#pings));
  }
  close(code = 1000, reason = "") {
    if (code !== 1000 && !(code >= 3000 && code <= 4999)) {
      throw new RangeError(`close: the code must be 1000 or from 3000 to 4999, not ${code}`);
    }
    if (this.#state === CLOSING || this.#state === CLOSED) {
      return;
    }
    const wasOpen = this.#state === OPEN;
    this.#state = CLOSING;
    if (wasOpen) {
      host.socketClose(this.#number, code, String(reason));
    }
  }

  #mustBeOpen(what) {
    if (this.#state !== OPEN) {
      const error = new Error(`${what}: the WebSocket is not open`);
      error.name = "InvalidStateError";
      throw error;
    }
  }
  #opened(response, number) {
    if (number === undefined || number === null) {
      this.#state = CLOSED;
      this.#emit("error", { error: response.error });
      this.#emit("close", { reason: "" });
      return;
    }
    this.#number = number;
    this.#protocol = response.headers["Sec-Websocket-Protocol"] ?? "";
    if (this.#state === CLOSING) {
      host.socketClose(number, 1000, "");
    } else {
      this.#state = OPEN;
    }
    this.#next();
    if (this.#state === OPEN) {
      this.#emit("open", {});
    }
  }
  #next() {
    begin((number) => host.startSocketNext(number, this.#number), (event) => this.#take(...event));
  }
  #take(name, value, reason) {
    if (name === "close") {
      this.#state = CLOSED;
      host.socketEnd(this.#number);
      if (value !== 1000) {
        this.#emit("error", { error: closeText(value, reason) });
      }
      this.#emit("close", { code: value, reason: reason ?? "" });
      return;
    }
    this.#next();
    switch (name) {
      case "message": this.#emit("message", { data: value, origin: this.url }); break;
      case "binary":
        this.#emit("message", { data: this.#binaryType === "blob" ? new Blob_([value]) : value, origin: this.url });
        break;
      case "error": this.#emit("error", { error: value }); break;
      default: this.#emit(name, {}); break;
    }
  }
  #emit(type, fields) {
    const event = { type, target: this, timestamp: Date.now(), ...fields };
    this[`on${type}`]?.(event);
    for (const handler of this.#handlers.get(type) ?? []) {
      handler.call(this, event);
    }
  }
}
for (const [name, value] of Object.entries({ CONNECTING, OPEN, CLOSING, CLOSED })) {
  Object.defineProperty(WebSocket, name, { value });
  Object.defineProperty(WebSocket.prototype, name, { value });
}

export default { WebSocket, Blob: Blob_ };
