//! What asks for an answer: the login, a server and what can be done with it, confirmations,
//! the list of shortcuts; and what is said aloud.

import { at, draw, h } from "./dom.js";
import { change, get, serverPath, token } from "./api.js";
import { changed, store } from "./store.js";
import { count, millis, number } from "./format.js";
import { serverState } from "./words.js";
import { checkText } from "./servers.js";

/// What draws the open dialog; none when it is closed.
let drawing = null;
let answer = null;

function open(draw_) {
  const dialog = at("dialog");
  drawing = draw_;
  draw(dialog, drawing());
  dialog.onclose = () => {
    drawing = null;
    answer?.(false);
    answer = null;
  };
  // A click on what lies around it closes it.
  dialog.onclick = (event) => { if (event.target === dialog) dialog.close(); };
  if (!dialog.open) dialog.showModal();
  // What had the focus in the dialog before is gone.
  if (!dialog.contains(document.activeElement)) dialog.querySelector("input, button")?.focus();
}

const close = () => at("dialog").close();

/// Draws the open dialog again, with what is known now.
export function drawDialog() {
  if (drawing) draw(at("dialog"), drawing());
}

/// Says something to who cannot see it, and shows it for a while.
export function say(text) {
  at("spoken").textContent = text;
}

/// Tells why something was refused.
export function failed(error) {
  if (error.status === 401) {
    store.locked = true;
    changed();
    return showLogin();
  }
  return open(() => [
    h("h2", { id: "dialog-title" }, "It was refused"),
    h("p", {}, error.message),
    buttons(h("button", { class: "primary", onclick: close }, "Close")),
  ]);
}

const buttons = (...all) => h("div", { class: "buttons" }, all);

/// Asks; resolves to whether the answer was yes.
export function confirm({ title, text, action }) {
  return new Promise((resolve) => {
    answer = null;
    open(() => [
      h("h2", { id: "dialog-title" }, title),
      h("p", {}, text),
      buttons(
        h("button", { onclick: close }, "Cancel"),
        h("button", { id: "confirm", class: "danger", onclick: () => { answer = null; resolve(true); close(); } }, action)),
    ]);
    answer = resolve;
  });
}

export function showLogin() {
  let told = "";
  const enter = async (event) => {
    event.preventDefault();
    token.set(event.currentTarget.elements.token.value.trim());
    try {
      await get("/v1/process");
      location.reload();
    } catch (error) {
      token.forget();
      told = error.status === 401 ? "That is not the token." : error.message;
      drawDialog();
    }
  };
  open(() => h("form", { key: "login", onsubmit: enter },
    h("h2", { id: "dialog-title" }, "Log in"),
    h("p", {}, "The token is what the file under ", h("code", {}, "[admin] token-file"), " holds. It is kept for this tab only."),
    h("label", {}, "Token", h("input", { id: "token", name: "token", type: "password", autocomplete: "off", required: true, autofocus: true })),
    h("p", { class: "tone-bad", role: "alert" }, told),
    buttons(h("button", { type: "button", onclick: close }, "Cancel"), h("button", { class: "primary", type: "submit" }, "Log in"))));
}

const SHORTCUTS = [
  ["?", "this list"],
  ["/", "filter the servers"],
  ["p", "problems only, or everything"],
  ["1 … 7", "go to a section"],
  ["t", "light, dark, or as the system says"],
  ["Esc", "close a dialog, leave the filter"],
];

export function showShortcuts() {
  open(() => [
    h("h2", { id: "dialog-title" }, "Shortcuts"),
    h("dl", { class: "shortcuts" }, SHORTCUTS.map(([key, what]) => [
      h("dt", { key }, h("kbd", {}, key)), h("dd", { key: `${key}?` }, what)])),
    buttons(h("button", { class: "primary", onclick: close }, "Close")),
  ]);
}

const find = (backend, server) =>
  store.state?.backends.find((one) => one.name === backend)?.servers.find((one) => one.name === server);

/// Changes what an operator wants of a server; asks first where it takes traffic away.
export async function setAdmin(backend, name, admin) {
  if (admin !== "ready" && !(await isSure(backend, name, admin))) return;
  await changeServer(backend, name, { admin });
}

function isSure(backend, name, admin) {
  const of = store.state.backends.find((one) => one.name === backend);
  const server = find(backend, name);
  const left = of.servers.filter((one) => one.usable && one.name !== name).length;
  const flight = admin === "drain"
    ? `It finishes what it has (${server.in_flight} in flight) and gets nothing new.`
    : "It gets nothing new.";
  const rest = left === 0
    ? `NO usable server is left in ${backend}: its clients will get errors.`
    : `${count(left)} of ${of.servers.length} servers of ${backend} go on.`;
  return confirm({
    title: admin === "drain" ? `Drain ${name}?` : `${name} into maintenance?`,
    text: `${flight} ${rest}`,
    action: admin === "drain" ? "Drain" : "Maintenance",
  });
}

async function changeServer(backend, name, wanted) {
  try {
    const told = await change("PATCH", serverPath(backend, name), wanted);
    const lasts = told.kept === "in-file" ? "it is in the file" : "until the process ends";
    say(`${name}: ${Object.entries(wanted).filter(([key]) => key !== "persist").map(([, value]) => value).join(", ")}; ${lasts}`);
    const of = store.state.backends.find((one) => one.name === backend);
    const index = of?.servers.findIndex((one) => one.name === name) ?? -1;
    if (index >= 0) of.servers[index] = told.server;
    changed();
  } catch (error) {
    failed(error);
  }
}

/// A server, everything about it, and what can be done with it.
export function showServer(backend, name) {
  open(() => {
    const server = find(backend, name);
    if (!server) return [h("h2", { id: "dialog-title" }, `${backend}/${name}`), h("p", {}, "It is gone."), buttons(h("button", { onclick: close }, "Close"))];
    const state = serverState(server);
    const fact = (what, value) => [h("dt", { key: what }, what), h("dd", { key: `${what}.` }, value)];
    return [
      h("h2", { id: "dialog-title" }, `${backend}/${name}`),
      h("p", { class: `state tone-${state.tone}` }, h("span", { class: "sign", "aria-hidden": "true" }, state.sign), state.word,
        h("span", { class: "muted" }, server.usable ? " · takes traffic" : " · takes no traffic")),
      h("dl", { class: "details" },
        fact("Address", server.address),
        fact("Observed", server.health),
        fact("Last check", checkText(server.check)),
        fact("In flight", server.max_in_flight ? `${server.in_flight} of ${server.max_in_flight}` : server.in_flight),
        fact("Connections", `${server.connections} open, ${count(server.totals.connects)} made, ${count(server.totals.reuses)} reused`),
        fact("Latency", millis(server.latency_ms)),
        fact("Requests", `${count(server.totals.requests)}, ${number(server.rates?.requests)}/s`),
        fact("Failures", `${count(server.totals.failures)}, ${count(server.totals.connect_failures)} connects refused, ${count(server.totals.retries)} retries`)),
      adminButtons(backend, server),
      weightForm(backend, server),
      healthForm(backend, server),
      h("p", { class: "muted" }, "Changes last until the data process ends, over reloads too; a weight can be written into the file."),
      buttons(h("button", { id: "close", class: "primary", onclick: close }, "Close")),
    ];
  });
}

function adminButtons(backend, server) {
  const one = (admin, name, kind) => h("button", {
    key: admin,
    class: kind,
    "aria-pressed": server.admin === admin ? "true" : "false",
    disabled: server.admin === admin,
    onclick: async () => { await setAdmin(backend, server.name, admin); showServer(backend, server.name); },
  }, name);
  return h("div", { class: "group", role: "group", "aria-label": "State" },
    one("ready", "Enable", ""), one("drain", "Drain…", "danger"), one("maintenance", "Maintenance…", "danger"));
}

function weightForm(backend, server) {
  const set = (event) => {
    event.preventDefault();
    const { weight, persist } = event.currentTarget.elements;
    changeServer(backend, server.name, { weight: Number(weight.value), persist: persist.checked });
  };
  return h("form", { key: `weight ${server.name}`, class: "inline", onsubmit: set },
    h("label", {}, `Weight (configured ${server.configured_weight}) `,
      h("input", { id: "weight", name: "weight", type: "number", min: 0, max: 256, required: true, value: server.weight })),
    h("label", { class: "check" }, h("input", { name: "persist", type: "checkbox" }), "write into the file"),
    h("button", { class: "small", type: "submit" }, "Set"));
}

function healthForm(backend, server) {
  const now = server.health_override ?? "auto";
  return h("label", { key: `health ${server.name}`, class: "inline" }, "Health counts as ",
    h("select", {
      id: "health",
      value: now,
      onchange: (event) => changeServer(backend, server.name, { health: event.currentTarget.value }),
    }, ["auto", "up", "down"].map((word) => h("option", { key: word, value: word }, word === "auto" ? "what is observed" : word))));
}
