// The module `k6/metrics`.
const host = globalThis.__host;

class Metric {
  #id;
  constructor(kind, name, isTime) {
    this.name = String(name);
    this.#id = host.declare(kind, this.name, Boolean(isTime));
  }
  add(value, tags) {
    host.add(this.#id, Number(value), host.flat(tags));
    return true;
  }
}

export class Counter extends Metric {
  constructor(name, isTime) {
    super("counter", name, isTime);
  }
}

export class Gauge extends Metric {
  constructor(name, isTime) {
    super("gauge", name, isTime);
  }
}

export class Rate extends Metric {
  constructor(name, isTime) {
    super("rate", name, isTime);
  }
}

export class Trend extends Metric {
  constructor(name, isTime) {
    super("trend", name, isTime);
  }
}

export default { Counter, Gauge, Rate, Trend };
