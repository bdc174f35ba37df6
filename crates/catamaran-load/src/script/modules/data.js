// The module `k6/data`.
import { host } from "catamaran:host";

function frozen(value) {
  if (typeof value === "object" && value !== null) {
    Object.values(value).forEach(frozen);
    Object.freeze(value);
  }
  return value;
}

const refuse = () => { throw new TypeError("a SharedArray cannot be changed"); };

// Made once for all virtual users; each access reads its element anew.
export class SharedArray {
  constructor(name, make) {
    name = String(name);
    if (name === "") {
      throw new TypeError("a SharedArray needs a name");
    }
    if (!host.hasArray(name)) {
      if (typeof make !== "function") {
        throw new TypeError("the second argument of a SharedArray must be a function");
      }
      const made = make();
      if (!Array.isArray(made)) {
        throw new TypeError("the function of a SharedArray must return an array");
      }
      host.keepArray(name, made.map((element) => JSON.stringify(element) ?? "null"));
    }
    const length = host.arrayLen(name);
    const element = host.array(name);
    const at = (index) => frozen(JSON.parse(element(index)));
    const index = (key) => (typeof key === "string" && /^(0|[1-9]\d*)$/.test(key) ? Number(key) : -1);
    return new Proxy([], {
      get(target, key, receiver) {
        if (key === "length") {
          return length;
        }
        const place = index(key);
        if (place >= 0) {
          return place < length ? at(place) : undefined;
        }
        return Reflect.get(target, key, receiver);
      },
      has: (target, key) => (index(key) >= 0 ? index(key) < length : key in target),
      ownKeys: () => [...Array.from({ length }, (_, place) => String(place)), "length"],
      getOwnPropertyDescriptor(target, key) {
        if (index(key) >= 0 && index(key) < length) {
          return { value: at(index(key)), writable: false, enumerable: true, configurable: true };
        }
        return Reflect.getOwnPropertyDescriptor(target, key);
      },
      set: refuse, defineProperty: refuse, deleteProperty: refuse, setPrototypeOf: refuse,
    });
  }
}

export default { SharedArray };
