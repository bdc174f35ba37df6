// The module `k6/metrics`.
import { flat, host } from "catamaran:host";

class Metric {
  #id;
  constructor(kind, name, isTime) {
    this.name = String(name);
    this.#id = host.declare(kind, this.name, Boolean(isTime));
  }
  add(value, tags) {
    const number = value === null ? NaN : Number(value);
    if (Number.isNaN(number)) {
      if (host.throws) {
        throw new TypeError(`metric ${this.name}: ${value} is no number`);
      }
      console.warn(`metric ${this.name}: ${value} is no number`);
      return false;
    }
    host.add(this.#id, number, flat(tags));
    return true;
  }
}

export class Counter extends Metric {
  constructor(name, isTime) { super("counter", name, isTime); }
}

export class Gauge extends Metric {
  constructor(name, isTime) { super("gauge", name, isTime); }
}

export class Rate extends Metric {
  constructor(name, isTime) { super("rate", name, isTime); }
}

export class Trend extends Metric {
  constructor(name, isTime) { super("trend", name, isTime); }
}

export default { Counter, Gauge, Rate, Trend };
