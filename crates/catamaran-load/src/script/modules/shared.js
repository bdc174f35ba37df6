// Makes a realm fit for many virtual users: what they share cannot be changed. Evaluated once, before any of
// them is there. `seen` tells which variables of the environment whoever runs sees.
(seen) => {
  "use strict";
  const { getOwnPropertyDescriptor, getPrototypeOf, defineProperty, preventExtensions } = Object;
  const variables = [];
  defineProperty(globalThis, "__ENV", { get: () => variables[seen()], enumerable: true });
  delete globalThis.__seen;

  // The frame that all others lie above is none of a script.
  const last = "    at catamaran (native)\n";
  const stack = getOwnPropertyDescriptor(Error.prototype, "stack");
  defineProperty(Error.prototype, "stack", {
    ...stack,
    get() {
      const text = Reflect.apply(stack.get, this, []);
      return typeof text === "string" && text.endsWith(last) ? text.slice(0, -last.length) : text;
    },
  });

  // Scripts give their own objects properties of the same names as these have. They could not while what is
  // inherited is read-only; so it is read and written by functions, which write to whoever is asked. That
  // makes reading slower: of what has methods that are called often it is for those that are not.
  const seldom = ["toString", "toLocaleString", "valueOf", "toJSON"];
  const inherited = new Map([
    Object, Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError, AggregateError,
  ].map((one) => [one.prototype, undefined]));
  for (const one of [Function, Array, Date, RegExp]) {
    inherited.set(one.prototype, seldom);
  }
  const yields = (owner, key, value) => ({
    get() {
      return value;
    },
    set(given) {
      if (this === owner) {
        throw new TypeError(`'${String(key)}' is read-only`);
      }
      const isNew = getOwnPropertyDescriptor(this, key) === undefined;
      defineProperty(this, key, isNew ? { value: given, writable: true, enumerable: true, configurable: true } : { value: given });
    },
    configurable: false,
  });
  const done = new Set();
  const harden = (...left) => {
    while (left.length > 0) {
      const one = left.pop();
      if ((typeof one !== "object" && typeof one !== "function") || one === null || done.has(one)) {
        continue;
      }
      done.add(one);
      left.push(getPrototypeOf(one));
      for (const key of Reflect.ownKeys(one)) {
        const own = getOwnPropertyDescriptor(one, key);
        left.push(own.value, own.get, own.set);
        // Names and lengths of functions, which are many and bear nothing.
        const isTold = typeof one === "function" && !inherited.has(one) && (key === "name" || key === "length");
        if (!own.configurable || isTold) {
          continue;
        }
        if (own.writable && inherited.has(one) && (inherited.get(one)?.includes(key) ?? true)) {
          const accessor = yields(one, key, own.value);
          left.push(accessor.get, accessor.set);
          defineProperty(one, key, accessor);
        } else {
          defineProperty(one, key, "value" in own ? { writable: false, configurable: false } : { configurable: false });
        }
      }
      preventExtensions(one);
    }
  };
  const iterators = [[].values(), new Map().values(), new Set().values(), "".matchAll(/a/g), ""[Symbol.iterator]()];
  harden(globalThis, ...iterators, function* () {}, async () => {}, async function* () {});
  return {
    harden,
    define(at, values) {
      variables[at] ??= Object.freeze(values);
    },
  };
};
