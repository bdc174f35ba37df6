// The module `k6/experimental/csv`: records of files, all at once and shared, or one after the other.
import { host } from "catamaran:host";
import { SharedArray } from "k6/data";
import { File } from "k6/experimental/fs";

const KNOWN = ["delimiter", "skipFirstLine", "fromLine", "toLine", "asObjects"];

function settings(options) {
  for (const key of Object.keys(options ?? {})) {
    if (!KNOWN.includes(key)) {
      throw new TypeError(`csv: no option is called "${key}"; there are ${KNOWN.join(", ")}`);
    }
  }
  const { delimiter = ",", skipFirstLine = false, fromLine = 0, toLine = -1, asObjects = false } = options ?? {};
  if (typeof delimiter !== "string" || delimiter.length !== 1 || /["\r\n]/.test(delimiter)) {
    throw new TypeError("csv: the delimiter must be one character");
  }
  if (asObjects && skipFirstLine) {
    throw new TypeError("csv: asObjects needs the first line, which skipFirstLine leaves out; set one of them");
  }
  if (asObjects && fromLine > 0) {
    throw new TypeError("csv: asObjects needs the first line, which fromLine leaves out; set one of them");
  }
  if (fromLine > 0 && toLine >= 0 && fromLine > toLine) {
    throw new TypeError("csv: fromLine is behind toLine");
  }
  return { delimiter, skipFirstLine, fromLine, toLine: toLine < 0 ? Infinity : toLine, asObjects };
}

// Records of text with quotes as RFC 4180 has them; empty lines are none.
function* records(text, delimiter) {
  const end = text.length;
  let at = text.startsWith("\ufeff") ? 1 : 0;
  let line = 1;
  while (at < end) {
    const record = [];
    for (let isOver = false; !isOver;) {
      let field = "";
      const isQuoted = text[at] === '"';
      if (isQuoted) {
        const from = line;
        for (at += 1; ; at += 1) {
          const close = text.indexOf('"', at);
          if (close < 0) {
            throw new Error(`csv: a quote of line ${from} has no end`);
          }
          field += text.slice(at, close);
          at = close + 1;
          if (text[at] !== '"') {
            break;
          }
          field += '"';
        }
        line += field.split("\n").length - 1;
      }
      let next = at;
      while (next < end && text[next] !== delimiter && text[next] !== "\n") {
        next += 1;
      }
      const rest = text.slice(at, next);
      if (isQuoted ? rest.replace(/\r$/, "") !== "" : rest.includes('"')) {
        throw new Error(`csv: a quote within a field of line ${line} must stand twice, in a field in quotes`);
      }
      field += rest;
      isOver = text[next] !== delimiter;
      record.push(isOver ? field.replace(/\r$/, "") : field);
      at = next + 1;
    }
    line += 1;
    if (record.length > 1 || record[0] !== "") {
      yield record;
    }
  }
}

function* wanted(file, options) {
  const all = records(host.decode(File.dataOf(file)), options.delimiter);
  let header;
  let number = -1;
  for (const record of all) {
    number += 1;
    if (number === 0 && options.asObjects) {
      header = record;
      continue;
    }
    if (number > options.toLine) {
      return;
    }
    if (number < options.fromLine || (number === 0 && options.skipFirstLine)) {
      continue;
    }
    if (header === undefined) {
      yield record;
    } else {
      if (record.length !== header.length) {
        throw new Error(`csv: record ${number} has ${record.length} fields, and the first line ${header.length}`);
      }
      yield Object.fromEntries(header.map((name, index) => [name, record[index]]));
    }
  }
}

export async function parse(file, options) {
  const all = settings(options);
  File.dataOf(file);
  return new SharedArray(`csv ${file.path} ${JSON.stringify(all)}`, () => [...wanted(file, all)]);
}

export class Parser {
  #records;
  constructor(file, options) {
    this.#records = wanted(file, settings(options));
  }
  async next() {
    const { value, done } = this.#records.next();
    return done ? { done: true, value: [] } : { done: false, value };
  }
}

export default { parse, Parser };
