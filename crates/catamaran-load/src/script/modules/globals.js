// What every script finds without importing it, once it names it: what is neither `console` nor a timer.
import { host, parts } from "catamaran:host";
import { bytes, hex } from "catamaran:bytes";

class TextEncoder {
  get encoding() { return "utf-8"; }
  encode(text = "") { return new Uint8Array(host.encode(String(text))); }
}

class TextDecoder {
  get encoding() { return "utf-8"; }
  decode(data) { return data === undefined ? "" : host.decode(bytes(data)); }
}

const crypto = {
  getRandomValues(array) {
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength).set(new Uint8Array(host.random(array.byteLength)));
    return array;
  },
  randomUUID() {
    const all = new Uint8Array(host.random(16));
    all[6] = (all[6] & 0x0f) | 0x40;
    all[8] = (all[8] & 0x3f) | 0x80;
    const text = hex(all.buffer);
    return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join("-");
  },
};

function open(path, mode) {
  return mode === "b" ? host.openBytes(String(path)) : host.openText(String(path));
}

parts.globals = { open, TextEncoder, TextDecoder, crypto };
