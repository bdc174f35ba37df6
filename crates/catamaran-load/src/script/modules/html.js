// The module `k6/html`: what is in a page, found by CSS selectors. Loaded when it is first needed.
//
// Pages are read as browsers forgive them: tags that are not closed, attributes without quotes.
import { host } from "catamaran:host";

const VOID = new Set("area base br col embed hr img input link meta param source track wbr".split(" "));
const RAW = new Set(["script", "style", "textarea", "title"]);
// What a beginning tag closes, if it stands open next to it.
const CLOSES = {
  li: ["li"], dt: ["dt", "dd"], dd: ["dt", "dd"], p: ["p"], option: ["option"], optgroup: ["option", "optgroup"],
  tr: ["tr", "td", "th"], td: ["td", "th"], th: ["td", "th"], thead: ["tr", "td", "th"],
  tbody: ["tr", "td", "th", "thead", "tbody"], tfoot: ["tr", "td", "th", "tbody"],
};
for (const name of "address article aside blockquote div dl fieldset footer form h1 h2 h3 h4 h5 h6 header hr main nav ol pre section table ul".split(" ")) {
  CLOSES[name] = [...(CLOSES[name] ?? []), "p"];
}
const ENTITIES = {
  amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", copy: "\u00a9", reg: "\u00ae", hellip: "\u2026",
  ndash: "\u2013", mdash: "\u2014", lsquo: "\u2018", rsquo: "\u2019", ldquo: "\u201c", rdquo: "\u201d", euro: "\u20ac",
  auml: "\u00e4", ouml: "\u00f6", uuml: "\u00fc", Auml: "\u00c4", Ouml: "\u00d6", Uuml: "\u00dc", szlig: "\u00df",
  laquo: "\u00ab", raquo: "\u00bb", times: "\u00d7", middot: "\u00b7", bull: "\u2022", trade: "\u2122",
};

function decoded(text) {
  return !text.includes("&") ? text : text.replace(/&(?:#x([0-9a-f]+)|#([0-9]+)|([a-z]+));?/gi, (all, hex, decimal, name) => {
    if (name !== undefined) {
      return ENTITIES[name] ?? all;
    }
    const code = hex === undefined ? Number(decimal) : parseInt(hex, 16);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : "\ufffd";
  });
}

const escaped = (text) => text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);
const quoted = (text) => text.replace(/[&"]/g, (c) => (c === "&" ? "&amp;" : "&quot;"));

// Elements have a tag, text has a value; both have a parent.
const element = (tag, attributes, parent) => ({ tag, attributes, parent, children: [] });

function parse(source) {
  const root = element("#document", new Map(), null);
  let open = root;
  const add = (text) => {
    if (text !== "") {
      open.children.push({ value: text, parent: open });
    }
  };
  const TAG = /<!--[^]*?(?:-->|$)|<[!?][^>]*>|<\/([a-z][^\s>/]*)[^>]*>|<([a-z][^\s>/]*)((?:[^>"']|"[^"]*"|'[^']*')*)>/gi;
  let at = 0;
  for (let found = TAG.exec(source); found; found = TAG.exec(source)) {
    add(decoded(source.slice(at, found.index)));
    at = TAG.lastIndex;
    const [, closed, opened, rest] = found;
    if (closed !== undefined) {
      open = closing(open, closed.toLowerCase());
    } else if (opened !== undefined) {
      const tag = opened.toLowerCase();
      while (CLOSES[tag]?.includes(open.tag)) {
        open = open.parent;
      }
      const child = element(tag, attributesOf(rest), open);
      open.children.push(child);
      if (RAW.has(tag)) {
        const end = new RegExp(`</${tag}[^>]*>`, "gi");
        end.lastIndex = at;
        const last = end.exec(source);
        const text = source.slice(at, last ? last.index : source.length);
        if (text !== "") {
          child.children.push({ value: tag === "script" || tag === "style" ? text : decoded(text), parent: child });
        }
        at = last ? end.lastIndex : source.length;
        TAG.lastIndex = at;
      } else if (!VOID.has(tag) && !rest.endsWith("/")) {
        open = child;
      }
    }
  }
  add(decoded(source.slice(at)));
  return root;
}

// The element that is open once a tag was closed; one that was never opened closes nothing.
function closing(open, tag) {
  for (let node = open; node.parent; node = node.parent) {
    if (node.tag === tag) {
      return node.parent;
    }
  }
  return open;
}

function attributesOf(text) {
  const attributes = new Map();
  for (const [, name, , double, single, bare] of text.matchAll(/([^\s=/"'>]+)(\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+)))?/g)) {
    const key = name.toLowerCase();
    if (!attributes.has(key)) {
      attributes.set(key, decoded(double ?? single ?? bare ?? ""));
    }
  }
  return attributes;
}

const elements = (node) => node.children.filter((child) => child.tag !== undefined);

function* within(node) {
  for (const child of node.children) {
    if (child.tag !== undefined) {
      yield child;
      yield* within(child);
    }
  }
}

const textOf = (node) => (node.value ?? node.children.map(textOf).join(""));

function outer(node) {
  if (node.tag === undefined) {
    return RAW.has(node.parent?.tag) ? node.value : escaped(node.value);
  }
  const attributes = [...node.attributes].map(([name, value]) => ` ${name}="${quoted(value)}"`).join("");
  return VOID.has(node.tag) ? `<${node.tag}${attributes}/>` : `<${node.tag}${attributes}>${inner(node)}</${node.tag}>`;
}
const inner = (node) => node.children.map(outer).join("");

// Selectors: lists of chains of simple selectors, each with how it hangs on the one before.
const compiled = new Map();
function compile(selector) {
  let chains = compiled.get(selector);
  if (chains === undefined) {
    const reader = { text: selector, at: 0 };
    chains = readList(reader);
    if (reader.at < selector.length) {
      throw new Error(`"${selector}" is no selector: "${selector.slice(reader.at)}" is not understood`);
    }
    if (compiled.size > 1000) {
      compiled.clear();
    }
    compiled.set(selector, chains);
  }
  return chains;
}

function take(reader, pattern) {
  pattern.lastIndex = reader.at;
  const found = pattern.exec(reader.text);
  if (found) {
    reader.at = pattern.lastIndex;
  }
  return found;
}

function readList(reader) {
  const chains = [];
  do {
    take(reader, /\s*/y);
    const chain = [{ how: " ", tests: readSimple(reader) }];
    for (let how = take(reader, /\s*([>+~])\s*|\s+(?![,)]|$)/y); how; how = take(reader, /\s*([>+~])\s*|\s+(?![,)]|$)/y)) {
      chain.push({ how: how[1] ?? " ", tests: readSimple(reader) });
    }
    chains.push(chain);
    take(reader, /\s*/y);
  } while (take(reader, /,/y));
  return chains;
}

function readSimple(reader) {
  const tests = [];
  const NAME = "((?:[\\w\\u0080-\\uffff-]|\\\\.)+)";
  const plain = (name) => name.replace(/\\(.)/g, "$1");
  for (;;) {
    let found = take(reader, new RegExp(`([.#]?)${NAME}|\\*`, "y"));
    if (found) {
      const name = plain(found[2] ?? "");
      const test = { "#": (node) => node.attributes.get("id") === name, ".": (node) => classes(node).includes(name) }[found[1]]
        ?? (found[2] === undefined ? () => true : (node) => node.tag === name.toLowerCase());
      tests.push(test);
      continue;
    }
    found = take(reader, /\[\s*([\w:-]+)\s*(?:([~|^$*!]?=)\s*(?:"([^"]*)"|'([^']*)'|([^\]\s]+))\s*)?\]/y);
    if (found) {
      tests.push(attributeTest(found[1].toLowerCase(), found[2], found[3] ?? found[4] ?? found[5]));
      continue;
    }
    found = take(reader, /:([a-z-]+)/y);
    if (!found) {
      break;
    }
    tests.push(pseudo(reader, found[1]));
  }
  if (tests.length === 0) {
    throw new Error(`"${reader.text}" is no selector: something is missing at position ${reader.at}`);
  }
  return tests;
}

const classes = (node) => (node.attributes.get("class") ?? "").split(/\s+/);

function attributeTest(name, operator, wanted) {
  const holds = {
    "=": (value) => value === wanted, "!=": (value) => value !== wanted, "^=": (value) => value.startsWith(wanted),
    "$=": (value) => value.endsWith(wanted), "*=": (value) => value.includes(wanted),
    "~=": (value) => value.split(/\s+/).includes(wanted), "|=": (value) => value === wanted || value.startsWith(`${wanted}-`),
  }[operator] ?? (() => true);
  return (node) => (node.attributes.has(name) ? holds(node.attributes.get(name)) : operator === "!=");
}

const siblings = (node) => elements(node.parent ?? { children: [node] });
const alike = (node) => siblings(node).filter((other) => other.tag === node.tag);

function pseudo(reader, name) {
  const argument = () => {
    const found = take(reader, /\(\s*(?:"([^"]*)"|'([^']*)'|([^)]*?))\s*\)/y);
    if (!found) {
      throw new Error(`"${reader.text}" is no selector: :${name} needs something in brackets`);
    }
    return found[1] ?? found[2] ?? found[3];
  };
  const list = () => {
    take(reader, /\(/y);
    const chains = readList(reader);
    take(reader, /\)/y);
    return chains;
  };
  switch (name) {
    case "first-child": return (node) => siblings(node)[0] === node;
    case "last-child": return (node) => siblings(node).at(-1) === node;
    case "only-child": return (node) => siblings(node).length === 1;
    case "first-of-type": return (node) => alike(node)[0] === node;
    case "last-of-type": return (node) => alike(node).at(-1) === node;
    case "empty": return (node) => node.children.length === 0;
    case "checked": return (node) => node.attributes.has("checked") || node.attributes.has("selected");
    case "disabled": return (node) => node.attributes.has("disabled");
    case "enabled": return (node) => !node.attributes.has("disabled");
    case "contains": { const text = argument(); return (node) => textOf(node).includes(text); }
    case "not": { const chains = list(); return (node) => !matches(node, chains); }
    case "has": { const chains = list(); return (node) => [...within(node)].some((child) => matches(child, chains)); }
    case "nth-child": { const at = nth(argument()); return (node) => at(siblings(node).indexOf(node) + 1); }
    case "nth-of-type": { const at = nth(argument()); return (node) => at(alike(node).indexOf(node) + 1); }
    default: throw new Error(`the selector :${name} is not supported; filter with a function`);
  }
}

function nth(text) {
  const [, sign, times, rest] = /^(?:([+-]?)(\d*)n\s*)?((?:[+-]\s*)?\d+)?$/i.exec({ odd: "2n+1", even: "2n" }[text] ?? text) ?? [];
  const offset = Number((rest ?? "0").replace(/\s/g, ""));
  if (times === undefined) {
    return (number) => number === offset;
  }
  const step = Number(times === "" ? 1 : times) * (sign === "-" ? -1 : 1);
  return (number) => (step === 0 ? number === offset : (number - offset) % step === 0 && (number - offset) / step >= 0);
}

const matches = (node, chains) => node.tag !== undefined && chains.some((chain) => hangs(node, chain, chain.length - 1));

function hangs(node, chain, last) {
  const { how, tests } = chain[last];
  if (!node || node.tag === "#document" || !tests.every((test) => test(node))) {
    return false;
  }
  if (last === 0) {
    return true;
  }
  const all = siblings(node);
  const before = all.slice(0, all.indexOf(node));
  switch (how) {
    case ">": return hangs(node.parent, chain, last - 1);
    case "+": return hangs(before.at(-1), chain, last - 1);
    case "~": return before.some((other) => hangs(other, chain, last - 1));
    default:
      for (let up = node.parent; up; up = up.parent) {
        if (hangs(up, chain, last - 1)) {
          return true;
        }
      }
      return false;
  }
}

// In the order of the page, each once.
const unique = (nodes) => [...new Set(nodes)];

export class Selection {
  #nodes;
  #url;
  constructor(nodes, url) {
    this.#nodes = nodes;
    this.#url = url;
  }
  #with(nodes) { return new Selection(unique(nodes), this.#url); }
  // What `filter`, `is` and `not` take: a selector, a function, a selection.
  #test(what) {
    if (typeof what === "function") {
      return (node, index) => what(index, this.#with([node]));
    }
    if (what instanceof Selection) {
      return (node) => what.#nodes.includes(node);
    }
    const chains = compile(String(what));
    return (node) => matches(node, chains);
  }
  #filtered(nodes, what) {
    return this.#with(what === undefined ? nodes : nodes.filter(this.#test(what)));
  }
  #each(step) { return this.#nodes.flatMap(step); }
  #until(step, until) {
    const test = until === undefined ? () => false : this.#test(until);
    return this.#each((node) => {
      const found = [];
      for (let next = step(node); next && next.tag !== "#document" && !test(next, 0); next = step(next)) {
        found.push(next);
      }
      return found;
    });
  }

  static nodes(selection) { return selection.#nodes; }
  static url(selection) { return selection.#url; }
  get length() { return this.#nodes.length; }
  size() { return this.#nodes.length; }

  find(selector) {
    const test = this.#test(selector);
    return this.#with(this.#each((node) => [...within({ children: node.children ?? [] })].filter((child) => test(child, 0))));
  }
  filter(what) { return this.#filtered(this.#nodes, what); }
  not(what) {
    const test = this.#test(what);
    return this.#with(this.#nodes.filter((node, index) => !test(node, index)));
  }
  has(selector) {
    const test = this.#test(selector);
    return this.#with(this.#nodes.filter((node) => [...within(node)].some((child) => test(child, 0))));
  }
  is(what) { return this.#nodes.some(this.#test(what)); }
  first() { return this.eq(0); }
  last() { return this.eq(-1); }
  eq(index) { return this.#with([this.#nodes.at(index)].filter((node) => node !== undefined)); }
  slice(from, to) { return this.#with(this.#nodes.slice(from, to)); }
  get(index) {
    if (index === undefined) {
      return this.toArray().map((one) => one.get(0));
    }
    const node = this.#nodes.at(index);
    return node === undefined ? undefined : new Element(node, this.#url);
  }
  index() { return this.#nodes.length === 0 ? -1 : siblings(this.#nodes[0]).indexOf(this.#nodes[0]); }
  toArray() { return this.#nodes.map((node) => this.#with([node])); }
  each(work) {
    this.#nodes.forEach((node, index) => work(index, new Element(node, this.#url)));
    return this;
  }
  map(work) { return this.#nodes.map((node, index) => work(index, this.#with([node]))); }

  children(what) { return this.#filtered(this.#each(elements), what); }
  contents() { return this.#with(this.#each((node) => node.children ?? [])); }
  parent(what) { return this.#filtered(this.#each((node) => (node.parent?.parent ? [node.parent] : [])), what); }
  parents(what) { return this.#filtered(unique(this.#until((node) => node.parent)), what); }
  parentsUntil(until, what) { return this.#filtered(unique(this.#until((node) => node.parent, until)), what); }
  closest(selector) {
    const test = this.#test(selector);
    return this.#with(this.#each((node) => {
      let up = node;
      while (up && !(up.tag !== undefined && up.parent && test(up, 0))) {
        up = up.parent;
      }
      return up ? [up] : [];
    }));
  }
  siblings(what) { return this.#filtered(this.#each((node) => siblings(node).filter((other) => other !== node)), what); }
  next(what) { return this.#filtered(this.#each((node) => after(node) ?? []), what); }
  prev(what) { return this.#filtered(this.#each((node) => before(node) ?? []), what); }
  nextAll(what) { return this.#filtered(this.#until(after), what); }
  prevAll(what) { return this.#filtered(this.#until(before), what); }
  nextUntil(until, what) { return this.#filtered(this.#until(after, until), what); }
  prevUntil(until, what) { return this.#filtered(this.#until(before, until), what); }

  text() { return this.#nodes.map(textOf).join(""); }
  html() { return this.#nodes.length === 0 ? undefined : inner(this.#nodes[0]); }
  attr(name, usual) { return this.#nodes[0]?.attributes?.get(String(name).toLowerCase()) ?? usual; }
  data(name) {
    const values = {};
    for (const [key, value] of this.#nodes[0]?.attributes ?? []) {
      if (key.startsWith("data-")) {
        values[key.slice(5).replace(/-([a-z])/g, (_, letter) => letter.toUpperCase())] = typed(value);
      }
    }
    return name === undefined ? values : values[String(name).replace(/-([a-z])/g, (_, letter) => letter.toUpperCase())];
  }
  val() { return this.#nodes.length === 0 ? undefined : valueOf(this.#nodes[0]); }
  serializeArray() {
    const forms = this.#each((node) => (FIELDS.includes(node.tag) ? [node] : [...within(node)]));
    const fields = forms.filter(isSent).map((node) => ({ name: node.attributes.get("name"), value: valueOf(node) }));
    return fields.filter(({ value }) => value !== undefined);
  }
  serializeObject() {
    return Object.fromEntries(this.serializeArray().map(({ name, value }) => [name, value]));
  }
  serialize() {
    const coded = (text) => encodeURIComponent(text).replace(/%20/g, "+");
    const pairs = this.serializeArray().flatMap(({ name, value }) => [value].flat().map((one) => [name, one]));
    pairs.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    return pairs.map(([name, value]) => `${coded(name)}=${coded(value)}`).join("&");
  }
}

const after = (node) => siblings(node)[siblings(node).indexOf(node) + 1];
const before = (node) => siblings(node)[siblings(node).indexOf(node) - 1];

function typed(text) {
  if (/^(true|false|null|-?(0|[1-9]\d*)(\.\d+)?|[{[].*)$/s.test(text)) {
    try {
      return JSON.parse(text);
    } catch {
      return text;
    }
  }
  return text;
}

const FIELDS = ["input", "select", "textarea"];

// As k6 has it: boxes count if they say `checked="checked"`, and fields that are disabled count, too.
function isSent(node) {
  if (!FIELDS.includes(node.tag) || !node.attributes.get("name")) {
    return false;
  }
  const type = (node.attributes.get("type") ?? "text").toLowerCase();
  return !(node.tag === "input" && (["submit", "button", "reset", "image", "file"].includes(type)
    || (["checkbox", "radio"].includes(type) && node.attributes.get("checked") !== "checked")));
}

function valueOf(node) {
  switch (node.tag) {
    case "textarea": return textOf(node);
    case "option": return node.attributes.get("value") ?? textOf(node).trim();
    case "select": {
      const options = [...within(node)].filter((child) => child.tag === "option");
      const chosen = options.filter((option) => option.attributes.has("selected"));
      if (node.attributes.has("multiple")) {
        return chosen.map(valueOf);
      }
      const one = chosen[0] ?? options[0];
      return one && valueOf(one);
    }
    case "input": {
      const isBox = ["checkbox", "radio"].includes((node.attributes.get("type") ?? "").toLowerCase());
      return node.attributes.get("value") ?? (isBox ? "on" : "");
    }
    default: return node.attributes?.get("value");
  }
}

// One element, as `each` and `get` give it.
export class Element {
  #node;
  #url;
  constructor(node, url) {
    this.#node = node;
    this.#url = url;
  }
  nodeName() { return this.#node.tag ?? "#text"; }
  nodeType() { return this.#node.tag === undefined ? 3 : 1; }
  nodeValue() { return this.#node.value; }
  id() { return this.getAttribute("id") ?? ""; }
  className() { return this.getAttribute("class") ?? ""; }
  classList() { return classes(this.#node); }
  getAttribute(name) { return this.#node.attributes?.get(String(name).toLowerCase()); }
  hasAttribute(name) { return this.#node.attributes?.has(String(name).toLowerCase()) ?? false; }
  textContent() { return textOf(this.#node); }
  innerHTML() { return this.#node.tag === undefined ? "" : inner(this.#node); }
  value() { return valueOf(this.#node); }
  children() { return elements(this.#node).map((node) => new Element(node, this.#url)); }
  parentElement() { return this.#node.parent?.parent ? new Element(this.#node.parent, this.#url) : null; }
  selection() { return new Selection([this.#node], this.#url); }
}

export function parseHTML(source, url) {
  return new Selection([parse(String(source))], url);
}

// What a form or link of a page asks for, as the arguments of a request: method, URL, fields.
export function formOf(selection, fields, button) {
  const form = selection.closest("form");
  const one = form.size() > 0 ? form : selection.first();
  const sent = one.serializeObject();
  const pressed = one.find(button ?? '[type="submit"]').first();
  if (pressed.attr("name")) {
    sent[pressed.attr("name")] = pressed.val() ?? "";
  }
  return [(one.attr("method") ?? "get").toUpperCase(), one.attr("action") ?? "", { ...sent, ...fields }];
}

// A script that imports this module and one that calls `res.html()` have the same classes.
host.pages = { parseHTML, formOf };

export default { parseHTML };
