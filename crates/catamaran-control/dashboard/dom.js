//! A small tree of elements that is brought up to date in place.
//!
//! `h` describes an element, `draw` makes the children of one match a list of descriptions. What is
//! there already is kept, so that focus, selection and scroll positions stay while the numbers
//! change every second. Attributes go through `setAttribute` and handlers through properties:
//! nothing is ever parsed as HTML, so that no name of a server can become markup.

const SVG = "http://www.w3.org/2000/svg";

/// Describes an element. Props that begin with `on` are handlers; `key` ties it to its successor;
/// `value` and `checked` are set as properties and only where they changed in the description.
export function h(tag, props, ...children) {
  return { tag, props: props ?? {}, children: flatten(children) };
}

function flatten(children) {
  const flat = [];
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    flat.push(typeof child === "object" ? child : { text: String(child) });
  }
  return flat;
}

/// Makes the children of `element` what `described` says.
export function draw(element, ...described) {
  patchChildren(element, flatten(described), element.namespaceURI === SVG);
}

function patchChildren(element, wanted, isSvg) {
  const keyed = new Map();
  const loose = new Map();
  for (const node of element.childNodes) {
    const drawn = node.drawn;
    if (!drawn) continue;
    if (drawn.props?.key !== undefined) {
      keyed.set(drawn.props.key, node);
    } else {
      const kind = drawn.tag ?? "#text";
      if (!loose.has(kind)) loose.set(kind, []);
      loose.get(kind).push(node);
    }
  }
  let place = element.firstChild;
  for (const one of wanted) {
    const key = one.props?.key;
    let node = key === undefined ? loose.get(one.tag ?? "#text")?.shift() : keyed.get(key);
    if (node && key !== undefined) {
      keyed.delete(key);
      if (node.drawn.tag !== one.tag) {
        node.remove();
        node = undefined;
      }
    }
    node = node ? patch(node, one, isSvg) : create(one, isSvg);
    if (node === place) {
      place = place.nextSibling;
    } else {
      element.insertBefore(node, place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function create(one, isSvg) {
  if (one.tag === undefined) {
    const node = document.createTextNode(one.text);
    node.drawn = one;
    return node;
  }
  const inSvg = isSvg || one.tag === "svg";
  const node = inSvg ? document.createElementNS(SVG, one.tag) : document.createElement(one.tag);
  node.drawn = { props: {} };
  return patch(node, one, isSvg);
}

function patch(node, one, isSvg) {
  if (one.tag === undefined) {
    if (node.data !== one.text) node.data = one.text;
    node.drawn = one;
    return node;
  }
  const before = node.drawn.props;
  for (const name of Object.keys(before)) {
    if (!(name in one.props)) setProp(node, name, undefined);
  }
  for (const [name, value] of Object.entries(one.props)) {
    if (name !== "value" && before[name] !== value) setProp(node, name, value);
  }
  node.drawn = one;
  patchChildren(node, one.children, isSvg || one.tag === "svg");
  // Last: a select takes a value only of options that it has.
  if (before.value !== one.props.value) setProp(node, "value", one.props.value);
  return node;
}

function setProp(node, name, value) {
  if (name === "key") return;
  if (name.startsWith("on")) {
    node[name] = value ?? null;
  } else if (name === "value" && node.tagName !== "OPTION") {
    node.value = value ?? "";
  } else if (name === "checked" || name === "disabled") {
    node[name] = value ?? false;
  } else if (value === undefined || value === null || value === false) {
    node.removeAttribute(name);
  } else {
    node.setAttribute(name, value === true ? "" : String(value));
  }
}

/// The element of that id.
export const at = (id) => document.getElementById(id);
