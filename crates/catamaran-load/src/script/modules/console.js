// `console`, once a script names it.
import { host, parts } from "catamaran:host";

const shown = (value) => {
  if (typeof value === "string") {
    return value;
  }
  if (value instanceof Error) {
    return value.stack ? `${value}\n${value.stack}` : String(value);
  }
  if (typeof value === "object" && value !== null) {
    try {
      return JSON.stringify(value);
    } catch {
      return "[object Object]";
    }
  }
  return String(value);
};
const log = (level) => (...values) => host.log(level, values.map(shown).join(" "));

parts.console = {
  console: { log: log("info"), info: log("info"), debug: log("debug"), warn: log("warning"), error: log("error") },
};
