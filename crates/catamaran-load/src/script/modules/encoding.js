// The module `k6/encoding`.
import { bytes } from "catamaran:bytes";
import { host } from "catamaran:host";

export function b64encode(data, kind = "std") {
  return host.toBase64(bytes(data), String(kind));
}

export function b64decode(text, kind = "std", format = "b") {
  const decoded = host.fromBase64(String(text), String(kind));
  return format === "s" ? host.decode(decoded) : decoded;
}

export default { b64encode, b64decode };
