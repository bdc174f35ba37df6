// What the modules share.
// What the host can do: made when it is first asked for.
export const host = globalThis.__host;
delete globalThis.__host;

// What is loaded when it is first needed, by name: each such module puts itself here.
export const parts = {};

// Such a module.
export function part(name) {
  return parts[name] ?? (host.load(name), parts[name]);
}

// Names and values by turns; undefined of nothing.
export function flat(map) {
  if (map === undefined || map === null) {
    return undefined;
  }
  const pairs = [];
  for (const name of Object.keys(map)) {
    pairs.push(name, String(map[name]));
  }
  return pairs;
}
