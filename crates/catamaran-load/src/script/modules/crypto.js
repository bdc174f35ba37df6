// The module `k6/crypto`.
import { bytes, hex } from "catamaran:bytes";
import { host } from "catamaran:host";

function written(digest, format) {
  switch (format) {
    case "hex": return hex(digest);
    case "base64": return host.toBase64(digest, "std");
    case "base64url": return host.toBase64(digest, "url");
    case "base64rawurl": return host.toBase64(digest, "rawurl");
    case "binary": return digest;
    default: throw new Error(`no output is called "${format}"; there are hex, base64, base64url, base64rawurl, binary`);
  }
}

// What is added is put together when the digest is asked for.
class Hasher {
  #parts = [];
  #finish;
  constructor(finish) { this.#finish = finish; }
  update(data) { this.#parts.push(new Uint8Array(host.encode(bytes(data)))); }
  digest(format) {
    const whole = new Uint8Array(this.#parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of this.#parts) {
      whole.set(part, at);
      at += part.length;
    }
    return written(this.#finish(whole.buffer), format);
  }
}

const of = (name) => (data, format) => written(host.digest(name, bytes(data)), format);
export const md4 = of("md4");
export const md5 = of("md5");
export const sha1 = of("sha1");
export const sha256 = of("sha256");
export const sha384 = of("sha384");
export const sha512 = of("sha512");
export const sha512_224 = of("sha512_224");
export const sha512_256 = of("sha512_256");
export const ripemd160 = of("ripemd160");
export const hmac = (name, secret, data, format) => written(host.hmac(name, bytes(secret), bytes(data)), format);
export const createHash = (name) => new Hasher((data) => host.digest(name, data));
export const createHMAC = (name, secret) => new Hasher((data) => host.hmac(name, bytes(secret), data));
export const randomBytes = (size) => host.random(size);
export const hexEncode = (data) => hex(host.encode(bytes(data)));

export default {
  md4, md5, sha1, sha256, sha384, sha512, sha512_224, sha512_256, ripemd160, hmac, createHash, createHMAC,
  randomBytes, hexEncode,
};
