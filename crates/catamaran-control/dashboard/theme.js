//! Light, dark, or as the system says; remembered in this browser.

const KEPT = "catamaran-theme";
const ALL = ["auto", "light", "dark"];

export const theme = () => document.documentElement.dataset.theme;

export function startTheme() {
  const kept = localStorage.getItem(KEPT);
  document.documentElement.dataset.theme = ALL.includes(kept) ? kept : "auto";
}

export function nextTheme() {
  const next = ALL[(ALL.indexOf(theme()) + 1) % ALL.length];
  document.documentElement.dataset.theme = next;
  localStorage.setItem(KEPT, next);
}
