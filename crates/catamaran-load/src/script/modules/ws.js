// The module `k6/ws`: one socket at a time, whose events are waited for in `connect`.
import { bytes } from "catamaran:bytes";
import { flat, host } from "catamaran:host";
import "k6/http";

export function socketOptions(params, known) {
  for (const key of Object.keys(params ?? {})) {
    if (key === "compression" && params[key]) {
      throw new Error('the parameter "compression" is not supported for WebSockets yet; leave it out');
    }
    if (!known.includes(key) && key !== "compression") {
      throw new Error(`no parameter of WebSockets is called "${key}"; there are ${known.join(", ")}`);
    }
  }
  return { fields: flat(params?.headers) ?? [], tags: flat(params?.tags), jar: params?.jar?.number };
}

const CLOSES = {
  1000: "normal", 1001: "going away", 1002: "protocol error", 1003: "unsupported data", 1005: "no status",
  1006: "abnormal closure", 1007: "invalid payload data", 1008: "policy violation", 1009: "message too big",
  1010: "mandatory extension missing", 1011: "internal server error", 1015: "TLS handshake error",
};

// What a close that is none of the usual is called.
export function closeText(code, reason) {
  const name = code in CLOSES ? ` (${CLOSES[code]})` : "";
  return `websocket: close ${code}${name}${reason ? `: ${reason}` : ""}`;
}

class Socket {
  #number;
  #handlers = {};
  #timers = [];
  #pings = 0;
  #isClosed = false;
  constructor(number) { this.#number = number; }

  on(event, handler) {
    (this.#handlers[String(event)] ??= []).push(handler);
  }
  send(text) { this.#send("text", String(text)); }
  sendBinary(data) {
    if (!(data instanceof ArrayBuffer) && !ArrayBuffer.isView(data)) {
      throw new TypeError("sendBinary takes an ArrayBuffer");
    }
    this.#send("binary", bytes(data));
  }
  ping() { this.#send("ping", String(++this.#pings)); }
  setTimeout(work, millis) { this.#after("setTimeout", work, millis, false); }
  setInterval(work, millis) { this.#after("setInterval", work, millis, true); }
  close(code = 1001) { this.#closed(Number(code), true); }

  #send(kind, data) {
    if (!this.#isClosed) {
      host.socketSend(this.#number, kind, data);
    }
  }
  #after(name, work, millis, isRepeated) {
    const every = Number(millis);
    if (typeof work !== "function" || !(every > 0)) {
      throw new TypeError(`${name} takes a function and a number of milliseconds above 0`);
    }
    this.#timers.push({ due: host.clock() + every, every: isRepeated ? every : 0, work });
  }
  #emit(event, ...values) {
    for (const handler of this.#handlers[event] ?? []) {
      handler(...values);
    }
  }
  #closed(code, isOurs) {
    if (this.#isClosed) {
      return;
    }
    this.#isClosed = true;
    if (isOurs) {
      host.socketClose(this.#number, code, "");
    }
    this.#emit("close", code);
  }

  // Called by `connect`: everything until the socket is closed.
  static run(socket, work) {
    let isDone = false;
    try {
      work(socket);
      socket.#emit("open");
      while (!socket.#isClosed) {
        socket.#turn();
      }
      isDone = true;
    } finally {
      if (!isDone && !socket.#isClosed) {
        host.socketClose(socket.#number, 1001, "");
      }
      host.socketEnd(socket.#number);
    }
  }
  #turn() {
    const next = this.#timers.reduce((first, timer) => (first && first.due <= timer.due ? first : timer), undefined);
    const left = next && next.due - host.clock();
    if (next && left <= 0) {
      if (next.every > 0) {
        next.due = Math.max(next.due + next.every, host.clock());
      } else {
        this.#timers.splice(this.#timers.indexOf(next), 1);
      }
      next.work();
      return;
    }
    const event = host.socketWait(this.#number, left);
    if (event !== undefined) {
      this.#take(...event);
    }
  }
  #take(name, value, reason) {
    switch (name) {
      case "message": this.#emit("message", value); break;
      case "binary": this.#emit("binaryMessage", value); break;
      case "ping": case "pong": this.#emit(name); break;
      case "error": this.#fail(value); break;
      case "close":
        if (value !== 1000 && value !== 1001) {
          this.#fail(closeText(value, reason));
        }
        this.#closed(value, false);
        break;
    }
  }
  #fail(text) {
    this.#emit("error", { error: () => text, toString: () => text });
  }
}

function shown(response, fields) {
  for (const [name, value] of Object.entries({ status_text: "", ...fields })) {
    Object.defineProperty(response, name, { value, configurable: true, enumerable: true });
  }
  return response;
}

export function connect(url, params, work) {
  if (typeof params === "function") {
    [params, work] = [{}, params];
  }
  if (typeof work !== "function") {
    throw new TypeError("connect: the last argument must be a function that takes the socket");
  }
  const [response, number] = host.socketOpen(String(url), socketOptions(params, ["headers", "tags", "jar"]));
  if (number === undefined || number === null) {
    if (host.throws) {
      throw new Error(response.error);
    }
    // An answer that is no handshake is no error, as in k6.
    return response.status > 0 ? shown(response, { url: "", error: "" }) : shown(response, { url: "" });
  }
  Socket.run(new Socket(number), work);
  return shown(response, {});
}

export default { connect };
