// How scripts of the corpus tell what they saw: the server records it.
import http from 'k6/http';

export const url = __ENV.URL;

// A value as text; what JSON has no word for is named.
const shown = (value) => JSON.stringify(value, (_, inner) => {
  if (inner === undefined) return 'undefined';
  if (typeof inner === 'function') return 'function';
  if (typeof inner === 'number' && !Number.isFinite(inner)) return String(inner);
  if (inner !== null && typeof inner === 'object' && !Array.isArray(inner) && !(inner instanceof ArrayBuffer)) {
    return Object.fromEntries(Object.keys(inner).sort().map((key) => [key, inner[key] === undefined ? 'undefined' : inner[key]]));
  }
  if (inner instanceof ArrayBuffer) return `bytes ${Array.from(new Uint8Array(inner)).join(' ')}`;
  return inner;
});

export const tell = (values) => {
  for (const name of Object.keys(values)) {
    http.post(`${url}/say`, `${name}: ${shown(values[name])}`, { tags: { name: 'tell' } });
  }
};

// What `work` returns, or that it threw: messages are each program's own.
export const tried = (work) => {
  try { return work(); } catch (error) { return 'threw'; }
};
