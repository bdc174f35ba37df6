// In place of jslib's FormData: the parts of a form, sent as multipart/form-data.
import { file } from "k6/http";
import { bytes } from "catamaran:bytes";
import { host, parts } from "catamaran:host";

export class FormData {
  constructor() {
    this.boundary = `----catamaran${host.toBase64(host.random(18), "rawurl").replace(/[-_]/g, "x")}`;
    this.parts = [];
  }
  append(name, value, fileName) {
    if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) {
      value = file(value, fileName ?? "blob");
    }
    this.parts.push([String(name), value]);
  }
  body() { return multipart(this.parts, this.boundary); }
  contentType() { return `multipart/form-data; boundary=${this.boundary}`; }
}

// The body of a form with files, as RFC 7578 has it.
export function multipart(parts, boundary) {
  const quoted = (text) => String(text).replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/[\r\n]/g, " ");
  const pieces = [];
  for (const [name, value] of parts) {
    let head = `--${boundary}\r\nContent-Disposition: form-data; name="${quoted(name)}"`;
    const isFile = typeof value === "object" && value !== null && "data" in value && "filename" in value;
    if (isFile) {
      head += `; filename="${quoted(value.filename)}"\r\nContent-Type: ${value.content_type || "application/octet-stream"}`;
    }
    pieces.push(`${head}\r\n\r\n`, isFile ? bytes(value.data) : String(value), "\r\n");
  }
  pieces.push(`--${boundary}--\r\n`);
  const all = pieces.map((piece) => new Uint8Array(host.encode(piece)));
  const whole = new Uint8Array(all.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of all) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole.buffer;
}

parts.formdata = { multipart };

export default { FormData };
