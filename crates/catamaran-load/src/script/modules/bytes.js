// Bytes, for the modules that have to do with them.
// Bytes or text as the host takes them.
export function bytes(data) {
  if (typeof data === "string" || data instanceof ArrayBuffer) {
    return data;
  }
  if (ArrayBuffer.isView(data)) {
    return data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
  }
  if (Array.isArray(data)) {
    return new Uint8Array(data).buffer;
  }
  return String(data);
}

export function hex(buffer) {
  let text = "";
  for (const byte of new Uint8Array(buffer)) {
    text += byte.toString(16).padStart(2, "0");
  }
  return text;
}
