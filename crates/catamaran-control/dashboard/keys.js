//! Shortcuts: single keys, not while something is written and not with a modifier.

import { at } from "./dom.js";
import { changed } from "./store.js";
import { nextTheme } from "./theme.js";
import { showShortcuts } from "./dialogs.js";

const SECTIONS = ["overview", "topology", "servers", "outcomes", "node", "tables", "events"];

export function startKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || at("dialog").open) return;
    const field = event.target.closest("input, select, textarea");
    if (field) {
      if (event.key === "Escape") field.blur();
      return;
    }
    if (act(event.key)) event.preventDefault();
  });
}

function act(key) {
  const section = SECTIONS[Number(key) - 1];
  if (section) {
    at(section).scrollIntoView();
    at(section).setAttribute("tabindex", "-1");
    at(section).focus({ preventScroll: true });
  } else if (key === "?") {
    showShortcuts();
  } else if (key === "/") {
    at("filter")?.focus();
  } else if (key === "p") {
    at("problems")?.click();
  } else if (key === "t") {
    nextTheme();
    changed();
  } else {
    return false;
  }
  return true;
}
