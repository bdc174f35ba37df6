// The module `k6/experimental/fs`: files that are opened at the top level and read later.
import { host } from "catamaran:host";

export const SeekMode = { Start: 0, Current: 1, End: 2 };

export class File {
  #data;
  #at = 0;
  constructor(path, data) {
    this.path = path;
    this.#data = data;
  }
  static dataOf(file) {
    if (!(file instanceof File)) {
      throw new TypeError("the first argument must be a file that `open` of k6/experimental/fs gave");
    }
    return file.#data;
  }
  async stat() { return { name: this.path.split("/").at(-1), size: this.#data.byteLength }; }
  async read(into) {
    if (!(into instanceof Uint8Array)) {
      throw new TypeError("read takes a Uint8Array");
    }
    if (into.length === 0) {
      throw new TypeError("read takes a Uint8Array that is not empty");
    }
    const part = new Uint8Array(this.#data).subarray(this.#at, this.#at + into.length);
    into.set(part);
    this.#at += part.length;
    return part.length === 0 ? null : part.length;
  }
  async seek(offset, whence) {
    const from = [0, this.#at, this.#data.byteLength][whence];
    if (!Number.isInteger(offset) || from === undefined) {
      throw new TypeError("seek takes a whole number and a SeekMode");
    }
    if (from + offset < 0 || from + offset > this.#data.byteLength) {
      throw new RangeError("seek: that is outside of the file");
    }
    this.#at = from + offset;
    return this.#at;
  }
}

export async function open(path) {
  if (path === undefined || path === null || path === "") {
    throw new TypeError("open takes the path of a file");
  }
  return new File(String(path), host.openBytes(String(path)));
}

export default { open, SeekMode };
