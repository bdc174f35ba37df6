// What there is without importing it.
// The engine knows more of the language than that of k6, and require only in modules of the old kind.
// differs | kinds: 
// differs | require: 
import { tell } from './lib/tell.js';

export default function () {
  const names = ['__ENV', '__VU', '__ITER', 'open', 'console', 'crypto', 'setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'TextEncoder', 'TextDecoder',
    'require', 'global', 'globalThis', 'URL', 'fetch', 'Intl', 'structuredClone', 'atob', 'btoa', 'queueMicrotask', 'performance', 'WebAssembly', 'process',
    'Buffer', 'window', 'self', 'AbortController', 'Blob', 'ReadableStream', 'XMLHttpRequest', 'Map', 'Proxy', 'BigInt', 'WeakRef', 'Symbol', 'SharedArrayBuffer', 'Iterator'];
  const kinds = {};
  for (const name of names) { try { kinds[name] = typeof globalThis[name]; } catch (error) { kinds[name] = 'threw'; } }
  tell({
    kinds, console: Object.keys(console).sort(), require: typeof require, text: new TextDecoder().decode(new TextEncoder().encode('grüße')),
    uuid: /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(crypto.randomUUID()), random: crypto.getRandomValues(new Uint8Array(4)).length,
  });
}
