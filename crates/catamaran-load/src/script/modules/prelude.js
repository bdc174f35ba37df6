// What every script finds without importing it.
(() => {
  const host = globalThis.__host;
  host.flat = (map) => {
    const flat = [];
    for (const [name, value] of Object.entries(map ?? {})) {
      flat.push(name, String(value));
    }
    return flat;
  };
  const shown = (value) => {
    if (typeof value === "string") {
      return value;
    }
    if (value instanceof Error) {
      return value.stack ? `${value}\n${value.stack}` : String(value);
    }
    return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
  };
  const log = (level) => (...values) => host.log(level, values.map(shown).join(" "));
  globalThis.console = { log: log("info"), info: log("info"), debug: log("debug"), warn: log("warning"), error: log("error") };
  globalThis.global = globalThis;
  globalThis.open = (path, mode) => {
    if (mode === "b") {
      return new Uint8Array(host.openBytes(String(path))).buffer;
    }
    return host.openText(String(path));
  };
  const later = (name) => () => { throw new Error(`${name} is not supported yet; use sleep`); };
  globalThis.setTimeout = later("setTimeout");
  globalThis.setInterval = later("setInterval");
  globalThis.require = later("require");
})();
